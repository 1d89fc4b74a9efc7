"""Folds the minutes of one market into every configured interval, live.

A minute is present (a 1m candle), absent (the venue has none; it is skipped) or missing (unknown). A missing minute
makes everything after it wait until it is healed, or until ``heal_wait_minutes`` of event time have passed after the
hole; then the hole is told and the candles around it are incomplete. A later heal recomputes them from storage and
raises their revision.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from trading.candles import UNIT, Candle, Hole, HoleReason, Source
from trading.events import Heal, Rebuild, StreamItem
from trading.intervals import MINUTE_MS, Interval, parse_interval
from trading.invariants import require
from trading.natives import holds, is_native

__all__ = ["Refold", "TimeframeState"]

_DERIVED = Source.DERIVED.value
_MISSING = HoleReason.MISSING.value
_NEVER_MS = 1 << 62


class Refold(NamedTuple):
    """Load minutes and holes of [``from_ms``, ``to_ms``) and the derived candles opening there; call ``refolded``."""

    market: str
    from_ms: int
    to_ms: int


class _Fold:
    """The open candle of one interval. ``cut``: its first minutes lie before the history, so it is never told."""

    __slots__ = (
        "close", "close_ms", "count", "cut", "high", "interval", "low", "missing", "open", "open_ms", "origins",
        "quote_volume", "taker_buy_volume", "trade_count", "volume", "width",
    )  # fmt: skip

    def __init__(self, interval: Interval, at_ms: int, first_ms: int) -> None:
        self.interval = interval
        self.width = interval.typical_ms
        self.begin(at_ms, first_ms, missing=False)

    def begin(self, at_ms: int, first_ms: int, *, missing: bool) -> None:
        """Start the candle that holds ``at_ms``; its minutes before that were not present."""
        self.open_ms = self.interval.open_of(at_ms)
        self.close_ms = self.interval.close_of(self.open_ms)
        self.cut = self.open_ms < first_ms
        self.missing = missing and self.open_ms < at_ms
        self.count = 0
        self.open = self.high = self.low = self.close = self.volume = 0
        self.quote_volume: int | None = 0
        self.trade_count: int | None = 0
        self.taker_buy_volume: int | None = 0
        self.origins: set[str] = set()

    def add(self, minute: Candle) -> None:
        """Add a present minute; minutes come in order."""
        if self.count:
            # Comparisons, not max() and min(): this is the inner loop of every warm-up.
            if minute.high > self.high:  # noqa: PLR1730
                self.high = minute.high
            if minute.low < self.low:  # noqa: PLR1730
                self.low = minute.low
        else:
            self.open, self.high, self.low = minute.open, minute.high, minute.low
        self.count += 1
        self.close = minute.close
        self.volume += minute.volume
        self.quote_volume = _plus(self.quote_volume, minute.quote_volume)
        self.trade_count = _plus(self.trade_count, minute.trade_count)
        self.taker_buy_volume = _plus(self.taker_buy_volume, minute.taker_buy_volume)
        if minute.origin is not None:
            self.origins.add(minute.origin)

    def told(self, market: str, received_ns: int) -> Candle | None:
        """The candle as it stands; None when it has no minute or is cut."""
        if self.cut or not self.count:
            return None
        return Candle(
            market,
            self.interval.name,
            self.open_ms,
            self.close_ms,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.quote_volume,
            self.trade_count,
            self.taker_buy_volume,
            _DERIVED,
            0,
            not self.missing,
            received_ns,
            ",".join(sorted(self.origins)) or None,
        )


class TimeframeState:
    """One market's minutes in, minutes and derived candles out. Pure: no clock, no I/O.

    Guarantees: each 1m candle and each derived candle comes out once, derived ones right after the minute that closed
    them, by close time, then width. Repeats of what was told are ignored. What one call returns belongs together: a
    batch must not be cut inside it. Nothing here is durable: after a restart give the committed ``position_ms``, then
    ``seed``, then tell every minute from ``position_ms`` again. A ``Heal`` without contents for minutes before the
    position asks for them to be folded anew: so heals are made good that were recorded while nobody listened.
    """

    def __init__(
        self, market: str, intervals: Sequence[str], heal_wait_minutes: int, position_ms: int | None = None
    ) -> None:
        self.market = market
        parsed = {parse_interval(name).name: parse_interval(name) for name in intervals}
        parsed.pop("1m", None)
        self._intervals = sorted(parsed.values(), key=lambda interval: interval.typical_ms)
        self._wait_ms = heal_wait_minutes * MINUTE_MS
        self._folds: list[_Fold] = []
        self._next_close_ms = _NEVER_MS
        self._pending: deque[Candle | Hole] = deque()
        self._healed: tuple[int, int] | None = None
        self._natives: dict[tuple[str, int], Candle] = {}
        self._position_ms: int | None = None
        self._told_ms = 0
        self._first_ms = 0
        if position_ms is not None:
            self._start(position_ms)

    @property
    def position_ms(self) -> int | None:
        """Close time up to which every minute is handled and emitted; None before the first."""
        return self._position_ms

    @property
    def told_ms(self) -> int | None:
        """Close time up to which every minute was told to this state; past the position while a hole is waited for."""
        return None if self._position_ms is None else self._told_ms

    @property
    def waiting(self) -> Hole | None:
        """The missing minutes that hold everything up, if any."""
        return self._pending[0] if self._pending and isinstance(self._pending[0], Hole) else None

    @property
    def seed_from_ms(self) -> int | None:
        """Open time of the oldest unfinished candle: from there to the position ``seed`` wants the minutes."""
        return min((fold.open_ms for fold in self._folds), default=self._position_ms)

    def seed(self, candles: Iterable[Candle], holes: Iterable[Hole] = (), first_ms: int | None = None) -> None:
        """Refill the unfinished candles after a restart, telling nothing.

        ``candles`` and ``holes`` cover [``seed_from_ms``, ``position_ms``); ``first_ms`` is the first minute of all
        that is recorded (default: the first one given), before which nothing is known.
        """
        position_ms = self._position_ms
        if position_ms is None:
            raise ValueError("seed needs the position that was committed")
        minutes, known_holes = list(candles), list(holes)
        given = [*(c.open_time_ms for c in minutes[:1]), *(h.from_ms for h in known_holes), position_ms]
        self._first_ms = min(given) if first_ms is None else first_ms
        opens = [minute.open_time_ms for minute in minutes]
        for fold in self._folds:
            fold.begin(position_ms, self._first_ms, missing=False)
            self._fill(fold, minutes, opens, known_holes)

    def know(self, natives: Iterable[Candle]) -> None:
        """Tell these candles of the venue in their place, should minutes be lacking for a complete one."""
        self._natives.update({(native.interval, native.open_time_ms): native for native in natives})

    def handle(self, item: StreamItem) -> list[StreamItem | Refold]:
        """What to emit because of one 1m Candle, Hole or Heal.

        After a ``Refold`` the next call must be ``refolded``.
        """
        if self._healed is not None:
            raise RuntimeError(f"{self.market}: the refold of {self._healed} was not answered")
        if isinstance(item, Candle):
            if item.interval != "1m" or item.market != self.market:
                raise ValueError(f"{self.market}: takes its own 1m candles, not {item.market} {item.interval}")
            return self._tell(item, item.open_time_ms, item.close_time_ms)
        if isinstance(item, Hole):
            return self._tell(item, item.from_ms, item.to_ms)
        if isinstance(item, Heal):
            return self._heal(item)
        raise TypeError(f"{self.market}: a timeframe takes no {type(item).__name__}")

    def refolded(
        self, candles: Iterable[Candle], holes: Iterable[Hole] = (), stored: Iterable[Candle] = ()
    ) -> list[StreamItem | Refold]:
        """Answer a ``Refold``: derived candles that changed, their revision raised, ``Rebuild``, then what had waited.

        ``candles`` and ``holes`` are the minutes of its range as they are known now, ``stored`` its derived candles as
        they are stored.
        """
        if self._healed is None or self._position_ms is None:
            raise RuntimeError(f"{self.market}: no refold was asked for")
        from_ms, to_ms = self._healed
        self._healed = None
        minutes, known_holes = list(candles), list(holes)
        opens = [minute.open_time_ms for minute in minutes]
        before = {(candle.interval, candle.open_time_ms): candle for candle in stored}
        revised: list[tuple[int, int, Candle]] = []
        for live in self._folds:
            at_ms = live.interval.open_of(from_ms)
            while at_ms < to_ms:
                fold = live if at_ms == live.open_ms else _Fold(live.interval, at_ms, self._first_ms)
                fold.begin(at_ms, self._first_ms, missing=False)
                self._fill(fold, minutes, opens, known_holes)
                candle = None if fold is live else fold.told(self.market, 0)
                if candle is not None:
                    old = before.get((candle.interval, candle.open_time_ms))
                    if old is None or (holds(candle, old) if is_native(old) else _told(old) != _told(candle)):
                        revision = old.revision + 1 if old is not None else 0
                        revised.append((fold.close_ms, fold.width, candle._replace(revision=revision)))
                at_ms = fold.close_ms
        revised.sort(key=lambda entry: entry[:2])
        return [*(entry[2] for entry in revised), Rebuild(self.market, from_ms), *self._drain()]

    def validate(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        at_ms = self._position_ms
        if at_ms is None:
            require(not self._pending, self._pending)
            return
        require(at_ms % MINUTE_MS == 0, at_ms)
        for fold in self._folds:
            require(fold.open_ms <= at_ms < fold.close_ms, fold.interval.name, fold.open_ms, at_ms)
        next_close_ms = min((fold.close_ms for fold in self._folds), default=_NEVER_MS)
        require(self._next_close_ms == next_close_ms, self._next_close_ms, next_close_ms)
        for item in self._pending:
            start_ms, end_ms = _span(item)
            require(start_ms == at_ms < end_ms, at_ms, item)
            at_ms = end_ms
        require(at_ms == self._told_ms, at_ms, self._told_ms)
        if self._pending and self._healed is None:
            head = self.waiting
            if head is None or head.reason != _MISSING:
                raise AssertionError(self._pending[0])
            require(self._told_ms < head.to_ms + self._wait_ms, self._told_ms, head)

    def _start(self, at_ms: int) -> None:
        self._position_ms = self._told_ms = self._first_ms = at_ms
        self._folds = [_Fold(interval, at_ms, at_ms) for interval in self._intervals]
        self._next_close_ms = min((fold.close_ms for fold in self._folds), default=_NEVER_MS)

    def _tell(self, item: Candle | Hole, start_ms: int, end_ms: int) -> list[StreamItem | Refold]:
        if self._position_ms is None:
            self._start(start_ms)
        if end_ms <= self._told_ms:
            return []
        if start_ms > self._told_ms:
            # Minutes that nobody told of are unknown to us, which is what missing means.
            self._pending.append(Hole(self.market, self._told_ms, start_ms, _MISSING, "not told"))
        elif start_ms < self._told_ms and isinstance(item, Hole):
            item = item._replace(from_ms=self._told_ms)
        self._told_ms = end_ms
        if not self._pending and isinstance(item, Candle):
            out: list[StreamItem | Refold] = []
            self._present(item, out)
            return out
        self._pending.append(item)
        return self._drain()

    def _drain(self) -> list[StreamItem | Refold]:
        out: list[StreamItem | Refold] = []
        pending = self._pending
        while pending:
            item = pending[0]
            if isinstance(item, Candle):
                self._present(item, out)
            elif item.reason != _MISSING:
                self._skip(item.to_ms, out, missing=False)
            elif self._told_ms >= item.to_ms + self._wait_ms:
                out.append(item)
                self._skip(item.to_ms, out, missing=True)
            else:
                break
            pending.popleft()
        return out

    def _present(self, minute: Candle, out: list[StreamItem | Refold]) -> None:
        out.append(minute)
        for fold in self._folds:
            fold.add(minute)
        self._position_ms = minute.close_time_ms
        if minute.close_time_ms >= self._next_close_ms:
            self._close(minute.close_time_ms, minute.received_ns, out, missing=False)

    def _skip(self, to_ms: int, out: list[StreamItem | Refold], *, missing: bool) -> None:
        if missing:
            for fold in self._folds:
                fold.missing = True
        self._position_ms = to_ms
        if to_ms >= self._next_close_ms:
            self._close(to_ms, 0, out, missing=missing)

    def _close(self, at_ms: int, received_ns: int, out: list[StreamItem | Refold], *, missing: bool) -> None:
        """Tell every candle that has closed by ``at_ms`` and begin the one that holds ``at_ms``."""
        closed: list[tuple[int, int, Candle]] = []
        for fold in self._folds:
            if fold.close_ms <= at_ms:
                candle = fold.told(self.market, received_ns)
                native = self._natives.pop((fold.interval.name, fold.open_ms), None)
                if native is not None and (candle is None or holds(native, candle)):
                    candle = native
                if candle is not None:
                    closed.append((fold.close_ms, fold.width, candle))
                fold.begin(at_ms, self._first_ms, missing=missing)
        closed.sort(key=lambda entry: entry[:2])
        out.extend(entry[2] for entry in closed)
        self._next_close_ms = min(fold.close_ms for fold in self._folds)

    def _heal(self, heal: Heal) -> list[StreamItem | Refold]:
        if self._position_ms is None:
            return []
        patched: deque[Candle | Hole] = deque()
        known = {candle.open_time_ms: candle for candle in heal.candles}
        for item in self._pending:
            if isinstance(item, Hole) and item.reason == _MISSING:
                patched.extend(_healed(item, heal))
            elif isinstance(item, Candle):
                patched.append(_repaired(item, known.get(item.open_time_ms), heal.why))
            else:
                patched.append(item)
        self._pending = patched
        to_ms = min(heal.to_ms, self._position_ms)
        if heal.from_ms >= to_ms:
            return self._drain()
        self._healed = (heal.from_ms, to_ms)
        opens = [fold.interval.open_of(heal.from_ms) for fold in self._folds]
        closes = [fold.interval.close_of(fold.interval.open_of(to_ms - 1)) for fold in self._folds]
        until_ms = min(self._position_ms, max([to_ms, *closes]))
        return [Refold(self.market, min([heal.from_ms, *opens]), until_ms)]

    def _fill(self, fold: _Fold, minutes: list[Candle], opens: list[int], holes: list[Hole]) -> None:
        """Add to ``fold`` its minutes before the position, and whether one of them is missing."""
        end_ms = min(fold.close_ms, self._position_ms or 0)
        for minute in minutes[bisect_left(opens, fold.open_ms) : bisect_left(opens, end_ms)]:
            fold.add(minute)
        fold.missing = any(
            hole.reason == _MISSING and hole.from_ms < end_ms and hole.to_ms > fold.open_ms for hole in holes
        )


def _healed(hole: Hole, heal: Heal) -> Iterable[Candle | Hole]:
    """The minutes of ``hole`` in order as they are known after ``heal``; what it does not cover stays missing."""
    told: list[Candle | Hole] = [*heal.candles, *heal.absent]
    known = [item for item in told if _span(item)[0] < hole.to_ms and _span(item)[1] > hole.from_ms]
    at_ms = hole.from_ms
    for item in sorted(known, key=_span):
        start_ms, end_ms = _span(item)
        if start_ms > at_ms:
            yield hole._replace(from_ms=at_ms, to_ms=start_ms)
        end_ms = min(end_ms, hole.to_ms)
        yield item._replace(from_ms=max(start_ms, at_ms), to_ms=end_ms) if isinstance(item, Hole) else item
        at_ms = end_ms
    if at_ms < hole.to_ms:
        yield hole._replace(from_ms=at_ms)


def _repaired(waiting: Candle, again: Candle | None, why: str) -> Candle:
    """A minute that waits, as storage has it once the heal that tells it ``again`` is stored."""
    takes_place = again is not None and again.origin is None and bool(why or waiting.origin)
    if again is None or not takes_place or _told(again) == _told(waiting):
        return waiting
    return again._replace(revision=waiting.revision + 1, received_ns=waiting.received_ns)


def _span(item: Candle | Hole) -> tuple[int, int]:
    return (item.open_time_ms, item.close_time_ms) if isinstance(item, Candle) else (item.from_ms, item.to_ms)


def _told(candle: Candle) -> tuple[object, ...]:
    """What storage keeps of a candle: floats, in which a large volume is not the integer that it came from."""
    prices = [None if units is None else units / UNIT for units in (*candle[4:10], candle.taker_buy_volume)]
    return (*prices, candle.trade_count, candle.complete, candle.origin)


def _plus(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more
