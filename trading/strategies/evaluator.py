"""Asks a strategy, candle by candle, and believes nothing it says unchecked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Any, NamedTuple

from trading.candles import Candle
from trading.plan import NO_PLAN, Lot, Plan
from trading.strategies.contract import FLAT, HOLD, LONG, SHORT, TARGETS, Strategy, StrategyFailed
from trading.strategies.folder import failed_line

__all__ = ["Answer", "Evaluator"]

_MAX_TEXT = 200
# No price is above what int64 holds at 10**-8.
_HIGHEST = 9e10


class Answer(NamedTuple):
    """What a strategy wants at the close of one candle."""

    code: int
    confidence: float
    plan: Plan


_HOLD = Answer(HOLD, 0.0, NO_PLAN)


class Evaluator:
    """One strategy on one lane, with its state if it has one.

    Guarantees: an answer is well formed, or StrategyFailed is raised and the state is what it was. The state changes
    with ``ask`` alone, so it follows from the answers given and not from what warmed the features up.
    """

    __slots__ = ("_asks", "_extras", "_lots", "_params", "_places", "_spot", "_state", "_strategy", "_values")

    def __init__(self, strategy: Strategy, *, spot: bool) -> None:
        self._strategy = strategy
        self._params = strategy.params
        self._spot = spot
        self._state = strategy.start
        self._asks: Callable[[Candle, Any, Any], Answer] = self._rule if strategy.step is None else self._step
        self._extras = any((strategy.entry, strategy.bracket, strategy.sizing, strategy.tag, strategy.reasons))
        fields = () if strategy.start is None else strategy.start._fields
        self._lots = "lots" in fields
        self._places = tuple(place for place, field in enumerate(fields) if field not in ("target", "lots"))

    @property
    def idle(self) -> Plan:
        """The plan of a candle on which the strategy was not asked: its state and lots as they are."""
        if self._state is None:
            return NO_PLAN
        return Plan(
            lots=self._state.lots if self._lots else None, state=tuple(self._state[place] for place in self._places)
        )

    def resume(self, plan: Plan) -> None:
        """Go on from the state that ``plan`` tells; one that fits another state is not taken."""
        if self._state is None or plan.state is None or len(plan.state) != len(self._places):
            return
        start = self._strategy.start
        values = dict(zip(start._fields, start, strict=True))
        for place, value in zip(self._places, plan.state, strict=True):
            # A float that is whole may come back from JSON as an int.
            values[start._fields[place]] = float(value) if isinstance(start[place], float) else value
        if self._lots:
            values["lots"] = plan.lots or ()
        self._state = type(start)(**values)

    def ask(self, candle: Candle, now: Any, prev: Any) -> Answer:
        """The answer for ``candle``, of which ``now`` is the row, and ``prev`` that of the candle before."""
        try:
            return self._asks(candle, now, prev)
        except StrategyFailed as error:
            raise self._failed(candle, now, error.message) from None
        except Exception as error:
            line = failed_line(error, _file_of(self._strategy))
            where = f"line {line}" if line else "in what it calls"
            raise self._failed(candle, now, f"{where}: {type(error).__name__}: {error}") from error

    def _rule(self, candle: Candle, now: Any, prev: Any) -> Answer:
        code = self._strategy.rule(now, prev, self._params)  # type: ignore[misc]
        if code == HOLD:
            return _HOLD
        if code not in TARGETS:
            raise StrategyFailed(f"rule returned {code!r}, which is none of LONG, FLAT, SHORT and HOLD")
        # A spot account cannot be short: below its line it holds cash.
        code = FLAT if self._spot and code == SHORT else code
        confidence = self._confidence(now)
        return Answer(code, confidence, self._plan(code, now) if self._extras else NO_PLAN)

    def _step(self, candle: Candle, now: Any, prev: Any) -> Answer:
        before = self._state
        after = self._strategy.step(before, now, self._params)  # type: ignore[misc]
        if type(after) is not type(before):
            raise StrategyFailed(f"step returned {after!r}, which is no State")
        for place in self._places:
            if not (isinstance(after[place], int | float) and isfinite(after[place])):
                raise StrategyFailed(f"step made {after._fields[place]} {after[place]!r}: a state holds finite numbers")
        lots = None
        if self._lots:
            lots = self._checked_lots(before.lots, after.lots, candle.close_time_ms)
            after = after._replace(lots=lots)
            code = _side(lots)
        else:
            code = after.target
            if code not in TARGETS:
                raise StrategyFailed(f"step made the target {code!r}, which is none of LONG, FLAT, SHORT and HOLD")
        if self._spot and code == SHORT:
            code, lots = FLAT, None if lots is None else ()
        confidence = 0.0 if code == HOLD else self._confidence(now)
        plan = self._plan(code, now) if self._extras and code != HOLD else NO_PLAN
        plan = plan._replace(lots=lots, state=tuple(after[place] for place in self._places))
        self._state = after
        return Answer(code, confidence, plan)

    def _checked_lots(self, before: tuple[Lot, ...], after: Any, close_ms: int) -> tuple[Lot, ...]:
        if not isinstance(after, tuple) or not all(isinstance(lot, Lot) for lot in after):
            raise StrategyFailed(f"step made lots {after!r}: use a tuple of Lot")
        kept = [lot for lot in after if lot.opened_ms]
        if len(set(kept)) != len(kept) or not set(kept) <= set(before):
            raise StrategyFailed("step changed a lot that is held, or named one twice: keep it as it is or drop it")
        fresh = [lot for lot in after if not lot.opened_ms]
        for lot in fresh:
            _check_lot(lot)
        if len({lot.long for lot in after}) > 1:
            raise StrategyFailed("step wants long and short lots at once: close those of one side first")
        return (*kept, *(lot._replace(opened_ms=close_ms, place=place) for place, lot in enumerate(fresh)))

    def _confidence(self, now: Any) -> float:
        if self._strategy.confidence is None:
            return 1.0
        found = self._strategy.confidence(now, self._params)
        if not (isinstance(found, int | float) and 0.0 <= found <= 1.0):
            raise StrategyFailed(f"confidence returned {found!r}, which is no number from 0 to 1")
        return float(found)

    def _plan(self, code: int, now: Any) -> Plan:
        strategy, p = self._strategy, self._params
        stop = profit = entry = None
        share = 1.0
        if code != FLAT:
            if strategy.entry is not None:
                entry = _checked_entry(strategy.entry(now, p))
            if strategy.bracket is not None:
                stop, profit = _checked_bracket(strategy.bracket(now, p))
            if strategy.sizing is not None:
                share = strategy.sizing(now, p)
                if not (isinstance(share, int | float) and 0.0 < share <= 1.0):
                    raise StrategyFailed(f"sizing returned {share!r}, which is no share above 0 and up to 1")
        tag = "" if strategy.tag is None else strategy.tag(now, p)
        reasons = () if strategy.reasons is None else strategy.reasons(now, p)
        for text in (tag, *(reasons if isinstance(reasons, tuple) else [None])):
            if not isinstance(text, str) or len(text) > _MAX_TEXT or not text.isprintable():
                raise StrategyFailed(
                    f"tag and reasons returned {tag!r} and {reasons!r}: use a short text and a tuple of such"
                )
        return Plan(stop, profit, float(share), tag, reasons, entry=entry)

    def _failed(self, candle: Candle, now: Any, what: str) -> StrategyFailed:
        at = datetime.fromtimestamp(candle.close_time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        saw = ", ".join(f"{name}={value!r}" for name, value in zip(now._fields, now, strict=True))
        return StrategyFailed(
            f"Strategy {self._strategy.name} failed on the {candle.interval} candle of {candle.market} that closed"
            f" {at}: {what}. It saw {saw}.",
            field="strategy",
            value=self._strategy.name,
            fix=f"Mend it and try it with `manta strategies check {self._strategy.name}`.",
        )


def _file_of(strategy: Strategy) -> str:
    asked = strategy.rule or strategy.step
    return str(asked.__code__.co_filename) if asked is not None and hasattr(asked, "__code__") else ""


def _side(lots: tuple[Lot, ...]) -> int:
    if not lots:
        return FLAT
    return LONG if lots[0].long else SHORT


def _check_lot(lot: Lot) -> None:
    good = (
        0.0 < lot.share <= 1.0
        and lot.quote >= 0.0
        and all(isfinite(value) for value in (lot.share, lot.quote, lot.price))
        and _is_distance(lot.stop_distance)
        and _is_distance(lot.profit_distance)
    )
    if not good:
        raise StrategyFailed(f"step wants {lot}: a share is above 0 and up to 1, an amount and a distance above 0")


def _checked_entry(found: Any) -> float | None:
    if found is None:
        return None
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 < found <= _HIGHEST:
        raise StrategyFailed(f"entry returned {found!r}: use a price above 0, or None for the next open")
    return float(found)


def _checked_bracket(found: Any) -> tuple[float | None, float | None]:
    if not isinstance(found, tuple) or len(found) != 2 or not all(map(_is_distance, found)):
        raise StrategyFailed(f"bracket returned {found!r}: use two distances above 0, or None for no such exit")
    return found


def _is_distance(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and isfinite(value) and value > 0)
