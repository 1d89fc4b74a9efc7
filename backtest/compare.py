"""Compares two runs over the same candles, value by value: equal means equal to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import localcontext
from operator import attrgetter
from typing import Any

from backtest.reference import RunRecords
from trading.accounts.books import MONEY
from trading.accounts.decisions import Outcome
from trading.accounts.records import Fill
from trading.intervals import parse_interval

__all__ = ["Comparison", "compare"]

_SUPPRESSED = {Outcome.LATE, Outcome.STALE, Outcome.RISK}
_DECISION_FIELDS = (
    "outcome", "actions", "target", "confidence", "price", "position_before", "features", "candle_revision", "close_ms",
)  # fmt: skip
_SIGNAL_FIELDS = (
    "target", "confidence", "status", "warm_have", "warm_need", "price", "features", "candle_revision", "plan",
)  # fmt: skip
_FILL_FIELDS = (
    "time_ms", "side", "price", "quantity", "fee", "realized_pnl", "role", "trade_no", "reason", "slippage",
    "stop_distance", "target_distance", "trail_distance", "tag", "highest", "lowest",
)  # fmt: skip
_ORDER_FIELDS = (
    "action", "side", "type", "quantity", "quote_amount", "price", "expires_ms", "status", "reason", "created_ms",
    "updated_ms", "leg",
)  # fmt: skip
_POSITION_FIELDS = ("quantity", "entry_price", "entry_ms", "cash", "mark", "equity")
_MARK_FIELDS = ("cash", "position_value", "equity")


@dataclass(slots=True)
class Comparison:
    """``decisions`` acted or were suppressed, ``holds`` are the others. ``explained`` counts the suppressed ones.

    ``first_difference`` says what differs earliest: kind, key, field, both values and the likely cause.
    """

    decisions: int = 0
    holds: int = 0
    fills: int = 0
    features: int = 0
    marks: int = 0
    explained: int = 0
    mismatches: int = 0
    first_difference: dict[str, Any] | None = None
    _earliest: int = field(default=1 << 62, repr=False)

    def differs(self, time_ms: int, **difference: Any) -> None:
        self.mismatches += 1
        if time_ms < self._earliest:
            self._earliest = time_ms
            self.first_difference = {"time": time_ms, **{key: _shown(value) for key, value in difference.items()}}


def compare(live: RunRecords, reference: RunRecords, found: Comparison | None = None) -> Comparison:
    """Compare features, signals, decisions, orders, fills, transfers, equity marks and final positions exactly.

    What one order got at one time counts as one fill, in however many parts the venue told it; a part that is there
    twice is a difference.
    Decisions that were suppressed live are counted as explained, never as equal. What follows from them is compared
    like everything else: give the reference run ``live.suppressed()``, or it counts as different. ``found`` is told of
    each difference and returned; by default one that keeps the first.
    """
    found = found or Comparison()
    explained = {item.decision_id for item in live.decisions if item.outcome in _SUPPRESSED}
    found.explained = len(explained)
    found.decisions = sum(1 for item in live.decisions if item.actions)
    found.holds = len(live.decisions) - found.decisions
    found.features, found.marks = len(live.features), len(live.equity)
    live_fills, reference_fills = _executed(live.fills), _executed(reference.fills)
    found.fills = len(live_fills)

    def by(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, Any]:
        return {key(item): item for item in items}

    def lane(item: Any) -> tuple[Any, ...]:
        return item.instance_id, item.market, item.interval, item.open_time_ms

    def value(item: Any) -> tuple[Any, ...]:
        return item.market, item.interval, item.name, item.open_time_ms

    _each(found, "feature", by(live.features, value), by(reference.features, value), ("value",), _close_ms)
    _each(found, "signal", by(live.signals, lane), by(reference.signals, lane), _SIGNAL_FIELDS, "close_time_ms")
    _each(
        found,
        "decision",
        {key: item for key, item in by(live.decisions, _decision).items() if key not in explained},
        {key: item for key, item in by(reference.decisions, _decision).items() if key not in explained},
        _DECISION_FIELDS,
        "close_ms",
    )
    _each(found, "order", live.orders, reference.orders, _ORDER_FIELDS, "created_ms")
    _each(found, "fill", live_fills, reference_fills, _FILL_FIELDS, "time_ms")
    _each(found, "transfer", by(live.transfers, _transfer), by(reference.transfers, _transfer), ("amount",), "time_ms")
    _each(found, "equity", by(live.equity, _mark), by(reference.equity, _mark), _MARK_FIELDS, "time_ms")
    # A position row is as of its last candle: one that moved on since is no difference.
    standing = {(*_sleeve(item), item.as_of_ms): item for item in live.positions}
    ended = {(*_sleeve(item), item.as_of_ms): item for item in reference.positions}
    both = standing.keys() & ended.keys()
    _each(
        found,
        "position",
        {key: standing[key] for key in both},
        {key: ended[key] for key in both},
        _POSITION_FIELDS,
        "as_of_ms",
    )
    return found


def _each(
    found: Comparison,
    kind: str,
    live: Mapping[Any, Any],
    reference: Mapping[Any, Any],
    names: tuple[str, ...],
    time_of: str | Callable[[Any], int],
) -> None:
    when = attrgetter(time_of) if isinstance(time_of, str) else time_of
    for key, theirs in reference.items():
        ours = live.get(key)
        if ours is None:
            found.differs(
                when(theirs), kind=kind, key=key, field=None, live=None, reference=theirs,
                cause="the live run never made it",
            )  # fmt: skip
            continue
        for name in names:
            left, right = getattr(ours, name), getattr(theirs, name)
            if left != right:
                found.differs(
                    when(theirs), kind=kind, key=key, field=name, live=left, reference=right,
                    cause=_cause(kind, name),
                )  # fmt: skip
                break
    for key in (key for key in live if key not in reference):
        found.differs(
            when(live[key]), kind=kind, key=key, field=None, live=live[key], reference=None,
            cause="the reference never made it",
        )  # fmt: skip


def _cause(kind: str, name: str) -> str:
    if kind == "feature" or name in ("features", "price", "confidence"):
        return "the candles or the feature's state differ"
    if kind == "signal" or name in ("warm_have", "status"):
        return "the histories before the first decision differ"
    if kind == "decision" and name == "position_before":
        return "an earlier fill differs"
    return "the books differ"


def _executed(fills: Iterable[Fill]) -> dict[tuple[str, int, str], Fill]:
    """What each order got at one time for one lot, added up exactly; the price of several parts is their mean."""
    found: dict[tuple[str, int, str], Fill] = {}
    with localcontext(MONEY):
        for fill in fills:
            key = fill.order_id, fill.time_ms, fill.lot
            found[key] = _together(found[key], fill) if key in found else fill
    return found


def _together(one: Fill, other: Fill) -> Fill:
    quantity = one.quantity + other.quantity
    value = one.quantity * one.price + other.quantity * other.price
    return replace(
        one,
        price=one.price if one.price == other.price else value / quantity,
        quantity=quantity,
        fee=one.fee + other.fee,
        slippage=one.slippage + other.slippage,
        realized_pnl=one.realized_pnl + other.realized_pnl,
    )


def _close_ms(item: Any) -> int:
    # What storage gives back of a feature does not say when its candle closed.
    return parse_interval(item.interval).close_of(item.open_time_ms)


def _decision(item: Any) -> str:
    return str(item.decision_id)


def _transfer(item: Any) -> str:
    return str(item.transfer_id)


def _sleeve(item: Any) -> tuple[str, str, str]:
    return item.instance_id, item.market, item.interval


def _mark(item: Any) -> tuple[str, int]:
    return item.market, item.time_ms


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)
