"""The feed's pure core: every minute of one market told once, in order, whatever the stream loses, repeats or mangles.

The stream says what is new, REST says what was missed. One rule serves reconnects, jumps in the stream and candles
that never closed: ask REST for the rows from the high water on. A minute is *absent* only when REST shows a later row
and not this one; when REST cannot say, the minute is told as *missing*, newer candles follow at once, and a Heal comes
later. Where the stream does not prove a candle closed, REST confirms it some minutes later, or corrects it by a Heal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trading.candles import Candle, Hole, HoleReason
from trading.confirmations import Confirmations
from trading.events import Heal, StreamItem
from trading.feed_events import (
    Alive,
    Anomaly,
    Connected,
    ConnectFailed,
    Disconnected,
    Emit,
    FeedCounters,
    FeedEvent,
    Fetch,
    Fetched,
    Final,
    Forget,
    Found,
    Garbage,
    Instruction,
    QualityNote,
    Refetch,
    Resume,
    Retiring,
    Tick,
)
from trading.intervals import MINUTE_MS
from trading.jumps import Doubts, jump_anomaly, jumps
from trading.links import Links, full_jitter
from trading.spans import add_span, cut_span, runs_between

__all__ = ["BUFFER", "FeedState"]

BUFFER = 1000
"""Candles held at most while a fetch is under way, and items in one Emit."""

_HEAL_MINUTES = 900
_UNPROVEN_LIMIT = 3
_RETRY_CAP_S = 60.0
_LEAST_RETRY_S = 0.5
_FACTS = 12


class FeedState:
    """One market's feed, without I/O.

    Guarantees: after any sequence of events the candles and holes emitted so far cover [first, high water) exactly
    once in ascending order; a Heal covers only minutes emitted before as missing, asked for by Refetch, told by Found,
    or told by a stream that does not ``proves_close``, and by REST otherwise. Nothing here is durable: after a restart,
    Resume with the high water that storage holds continues without loss, because REST is asked from there.
    ``grace_ms`` and ``future_ms`` are venue time. ``random`` returns numbers in [0, 1).
    """

    def __init__(
        self,
        market: str,
        random: Callable[[], float],
        *,
        silence_timeout_s: float | None = 15.0,
        grace_ms: int = 5_000,
        future_ms: int = 60_000,
        proves_close: bool = True,
    ) -> None:
        self.market = market
        self.counters = FeedCounters()
        self.links = Links(silence_timeout_s, random, self.counters)
        self._random = random
        self._grace_ms = grace_ms
        self._future_ms = future_ms
        self._high = 0
        self._placed = False
        self._resumed_ms = 0
        self._first = True
        self._warming = False
        self._pending: dict[int, Candle] = {}
        self._recent: dict[int, Candle] = {}
        self._last: Candle | None = None
        self._doubts = Doubts()
        self._confirmations = Confirmations(market, needed=not proves_close)
        self._missing: list[tuple[int, int]] = []
        self._in_flight: Fetch | None = None
        self._catch_up = False
        self._overdue = False
        self._overflowing = False
        self._error: str | None = None
        self._failures = self._heal_failures = self._confirm_failures = self._heal_cursor = 0
        self._fetch_at = self._heal_at = self._confirm_at = self._blocked_until = float("-inf")
        self._items: list[StreamItem] = []
        self._out: list[Instruction] = []
        self._handlers: dict[type, Callable[[Any], None]] = {
            Resume: self._on_resume,
            Refetch: self._on_refetch,
            Forget: self._on_forget,
            Found: self._on_found,
            Connected: self._on_connected,
            ConnectFailed: lambda e: self._out.extend(self.links.connect_failed(e.mono, e.reason, e.retry_after_s)),
            Disconnected: lambda e: self._out.extend(self.links.lost(e.mono, e.conn, e.reason)),
            Retiring: lambda e: self._out.extend(self.links.retiring(e.mono, e.conn, e.reason)),
            Alive: lambda e: self._out.extend(self.links.data(e.mono, e.conn)),
            Final: self._on_final,
            Garbage: lambda e: self._note(e.anomaly),
            Fetched: self._on_fetched,
            Tick: self._on_tick,
        }

    @property
    def high_water_ms(self) -> int | None:
        """Close time up to which every minute has been emitted; None before the first."""
        return self._high if self._placed else None

    @property
    def warming(self) -> bool:
        """Whether the first history is still being fetched."""
        return self._warming

    @property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """Minutes that are still to be healed."""
        return tuple(self._missing)

    @property
    def unconfirmed(self) -> int:
        """How many minutes only the stream has told so far, though it proves none closed."""
        return len(self._confirmations)

    @property
    def rest_error(self) -> str | None:
        """Why the last REST request failed; None after an answer."""
        return self._error

    def handle(self, event: FeedEvent) -> list[Instruction]:
        """Take one event; return what to do, in order."""
        self._out = []
        self._handlers[type(event)](event)
        self._schedule(event.mono)
        self._flush()
        return self._out

    def validate(self) -> None:
        """Raise AssertionError if an invariant is broken."""
        self.links.validate()
        high = self._high
        gaps = zip(self._missing, self._missing[1:], strict=False)
        for held, what in (
            (len(self._pending) <= BUFFER, "too many candles are held"),
            (len(self._recent) <= BUFFER, "too many candles are remembered"),
            (not self._items, "items were not flushed"),
            (high % MINUTE_MS == 0, "the high water is not aligned"),
            (all(t > high for t in self._pending), "a held candle could be told"),
            (all(start < end <= high for start, end in self._missing), "a missing minute was not told yet"),
            (all(a[1] < b[0] for a, b in gaps), "missing spans overlap"),
        ):
            if not held:
                raise AssertionError(f"{self.market}: {what} (high water {high}, missing {self._missing})")

    # Events

    def _on_resume(self, event: Resume) -> None:
        start = event.high_water_ms if event.high_water_ms is not None else event.warmup_from_ms
        self._first = event.high_water_ms is None
        self._warming = self._first and start is not None
        self._placed = start is not None
        self._high = (start or 0) // MINUTE_MS * MINUTE_MS
        self._resumed_ms = self._high
        self._recent.clear()
        self._last = None
        self._in_flight = None
        self._catch_up = start is not None
        self._fetch_at = event.mono
        self._missing = []
        self._confirmations.begin(self._high, event.unconfirmed)
        for from_ms, to_ms in event.missing:
            self._missing = add_span(self._missing, from_ms, min(to_ms, self._resumed_ms))
        self._drain()
        self._out += self.links.start(event.mono, "start")

    def _on_refetch(self, event: Refetch) -> None:
        if self._placed:
            self._missing = add_span(self._missing, event.from_ms, min(event.to_ms, self._high))

    def _on_forget(self, event: Forget) -> None:
        self._missing = cut_span(self._missing, event.from_ms, event.to_ms)

    def _on_found(self, event: Found) -> None:
        run: list[Candle] = []
        for candle in event.candles:
            if candle.close_time_ms > self._high:
                break
            if run and run[-1].close_time_ms != candle.open_time_ms:
                self._tell_found(run)
                run = []
            run.append(candle)
        if run:
            self._tell_found(run)

    def _tell_found(self, run: Sequence[Candle]) -> None:
        from_ms, to_ms = run[0].open_time_ms, run[-1].close_time_ms
        self._missing = cut_span(self._missing, from_ms, to_ms)
        self.counters.healed += len(run)
        self._items.append(Heal(self.market, from_ms, to_ms, tuple(run), ()))

    def _on_connected(self, event: Connected) -> None:
        self.links.connected(event.mono, event.conn)
        self._catch_up = self._placed
        self._fetch_at = event.mono

    def _on_tick(self, event: Tick) -> None:
        self._out += self.links.tick(event.mono)
        if event.venue_ms is not None and self._placed:
            self._overdue = event.venue_ms >= self._high + MINUTE_MS + self._grace_ms

    def _on_final(self, event: Final) -> None:
        self._out += self.links.data(event.mono, event.conn)
        self.counters.finals += 1
        candle = event.candle
        opened = candle.open_time_ms
        if event.venue_ms is not None and candle.close_time_ms > event.venue_ms + self._future_ms:
            detail = f"closed at {candle.close_time_ms}, but the venue's time is {event.venue_ms}"
            self._note(Anomaly(self.market, "future", detail, opened, candle.close_time_ms))
            return
        if opened >= self._high and jumps(self._before(opened), candle):
            # REST has the next candle soon, which bears it out or does not.
            self._note(jump_anomaly(candle))
            self._catch_up = True
            return
        if not self._placed:
            self._placed, self._high = True, opened
        if opened < self._high:
            self._compare_old(candle)
        elif opened in self._pending:
            self._compare(self._pending[opened], candle)
        elif opened == self._high:
            self._tell(candle)
            self._drain()
            if self._error is None:
                self._failures = 0
        else:
            self._hold(candle)

    def _on_fetched(self, event: Fetched) -> None:
        asked = self._in_flight
        if asked is None or asked.from_ms != event.from_ms:
            return
        self._in_flight = None
        for anomaly in event.anomalies:
            self._note(anomaly)
        self._error = event.error
        if event.error is not None:
            self.counters.fetch_failures += 1
            if event.retry_after_s is not None:
                self._blocked_until = event.mono + event.retry_after_s
        if asked.to_ms is not None:
            (self._on_confirmed if asked.confirms else self._on_healed)(event, asked.to_ms)
        elif event.error is not None:
            self._catch_up = True
            self._back_off(event.mono)
            self._heal_at = max(self._heal_at, self._fetch_at)
            self._tell_missing(event.error)
        else:
            self._on_rows(event)

    # REST answers

    def _on_rows(self, event: Fetched) -> None:
        before = self._high
        doubtful = self._doubtful(self._last, [row for row in event.candles if row.open_time_ms >= self._high])
        if doubtful is not None:
            event = event.until(doubtful.open_time_ms)
        rows = {row.open_time_ms: row for row in event.candles}
        if self._first and rows:
            # History that begins later than asked is no hole: there is nothing before a market's first candle.
            self._high = max(self._high, min(rows))
        self._apply(rows, event)
        if self._high > before:
            self._failures = 0
            self._heal_at = event.mono
        overdue = self._overdue and self._high == before
        self._overdue = False
        if doubtful is not None:
            self._catch_up = True
            self._back_off(event.mono)
            return
        if event.more:
            self._catch_up = True
            return
        self._warming = False
        if self._pending or overdue:
            # REST does not show yet what the stream or the clock says there is.
            self._back_off(event.mono)
        if self._pending and self._failures >= _UNPROVEN_LIMIT:
            self._tell_missing("REST shows no later row")

    def _doubtful(self, before: Candle | None, rows: Sequence[Candle]) -> Candle | None:
        """The first of ``rows`` that must not be told yet, because its price jumps and nothing bears it out."""
        found, is_new = self._doubts.first(before, rows)
        if found is not None and is_new:
            self._note(jump_anomaly(found))
        return found

    def _apply(self, rows: dict[int, Candle], event: Fetched) -> None:
        """Tell what is known of the minutes before ``event.through_ms``."""
        for opened, row in rows.items():
            if opened < self._high:
                self._compare_old(row)
            elif opened in self._pending:
                self._compare(self._pending[opened], row)
        merged: dict[int, Candle | None] = {**dict.fromkeys(event.unusable), **rows, **self._pending}
        for opened in sorted(t for t in merged if self._high <= t < event.through_ms):
            self._tell_absent(opened)
            candle = merged[opened]
            if candle is not None:
                self._tell(candle)
            else:
                self._tell_hole(opened + MINUTE_MS, "REST has no usable row")
        self._tell_absent(event.through_ms)
        self._drain()

    def _proven(self, event: Fetched, to_ms: int) -> tuple[set[int], int]:
        """The minutes before ``to_ms`` of which the answer has no row to believe, and how far it is beyond doubt."""
        bad = {opened for opened in event.unusable if event.from_ms <= opened < to_ms}
        doubtful = self._doubtful(self._recent.get(event.from_ms - MINUTE_MS), event.candles)
        if doubtful is not None and doubtful.open_time_ms < to_ms:
            bad.add(doubtful.open_time_ms)
        return bad, min(event.through_ms, to_ms, *bad)

    def _on_confirmed(self, event: Fetched, to_ms: int) -> None:
        bad, upto = self._proven(event, to_ms)
        if event.error is not None or upto <= event.from_ms:
            self._confirm_at = event.mono + self._delay(self._confirm_failures)
            self._confirm_failures += 1
            for anomaly in self._confirmations.refused(bad) if bad else ():
                self._note(anomaly)
            return
        self._confirm_failures = 0
        waiting = len(self._confirmations)
        rows = {row.open_time_ms: row for row in event.candles}
        corrected, notes = self._confirmations.answered(rows, upto)
        self.counters.confirmed += waiting - len(self._confirmations) - len(corrected) - len(notes)
        self.counters.corrected += len(corrected)
        for anomaly in notes:
            self._note(anomaly)
        for row in corrected:
            opened, closed = row.open_time_ms, row.close_time_ms
            self._items.append(Heal(self.market, opened, closed, (row,), (), self._confirmations.why))
            if opened in self._recent:
                self._recent[opened] = row
            if self._last is not None and self._last.open_time_ms == opened:
                self._last = row

    def _on_healed(self, event: Fetched, to_ms: int) -> None:
        bad, upto = self._proven(event, to_ms)
        if event.error is not None or upto <= event.from_ms:
            self._heal_at = event.mono + self._delay(self._heal_failures)
            self._heal_failures += 1
            if bad:
                # On to what follows the first run of them.
                self._heal_cursor = min(bad)
                while self._heal_cursor in bad:
                    self._heal_cursor += MINUTE_MS
            return
        self._heal_failures = 0
        self._heal_cursor = upto
        candles = tuple(row for row in event.candles if event.from_ms <= row.open_time_ms < upto)
        present = [row.open_time_ms for row in candles]
        absent = tuple(
            Hole(self.market, start, end, HoleReason.ABSENT.value)
            for start, end in runs_between(present, event.from_ms, upto, MINUTE_MS)
        )
        self._missing = cut_span(self._missing, event.from_ms, upto)
        self.counters.healed += (upto - event.from_ms) // MINUTE_MS
        self._items.append(Heal(self.market, event.from_ms, upto, candles, absent, self._confirmations.why))

    # Telling

    def _tell(self, candle: Candle) -> None:
        self._first = False
        self._last = candle
        self._items.append(candle)
        self.counters.emitted += 1
        self._high = candle.close_time_ms
        self._recent[candle.open_time_ms] = candle
        if len(self._recent) > BUFFER:
            del self._recent[next(iter(self._recent))]
        self._confirmations.wait_for(candle)

    def _tell_absent(self, to_ms: int) -> None:
        if self._high < to_ms:
            self.counters.holes_absent += 1
            self._items.append(Hole(self.market, self._high, to_ms, HoleReason.ABSENT.value))
            self._high = to_ms

    def _tell_hole(self, to_ms: int, why: str) -> None:
        hole = Hole(self.market, self._high, to_ms, HoleReason.MISSING.value, why)
        last = self._items[-1] if self._items else None
        if isinstance(last, Hole) and last.to_ms == hole.from_ms and last[3:] == hole[3:]:
            # Minutes that a venue keeps no more come by the thousand: they are one hole.
            self._items[-1] = last._replace(to_ms=to_ms)
        else:
            self.counters.holes_missing += 1
            self._items.append(hole)
        self._missing = add_span(self._missing, self._high, to_ms)
        self._high = to_ms

    def _tell_missing(self, why: str) -> None:
        """Give up waiting: tell the gaps before the held candles as missing. Not before the first history is there."""
        while self._pending and not self._warming:
            to_ms = min(self._pending)
            if self._first:
                self._high = to_ms
            else:
                self._tell_hole(to_ms, why)
            self._drain()

    def _hold(self, candle: Candle) -> None:
        self._pending[candle.open_time_ms] = candle
        if len(self._pending) <= BUFFER:
            return
        oldest = self._pending.pop(min(self._pending))
        self.counters.overflowed += 1
        if not self._overflowing:
            self._overflowing = True
            detail = f"more than {BUFFER} candles wait for REST; the oldest are dropped and fetched again"
            self._note(Anomaly(self.market, "overflow", detail, oldest.open_time_ms, oldest.close_time_ms))

    def _before(self, opened: int) -> Candle | None:
        """The newest known candle before the minute ``opened``: a held one, or the one told last."""
        held = max((each for each in self._pending if each < opened), default=None)
        return self._last if held is None else self._pending[held]

    def _drain(self) -> None:
        """Tell held candles that follow the high water without a gap; forget those before it."""
        if not self._pending or not self._placed:
            return
        while (candle := self._pending.pop(self._high, None)) is not None:
            self._tell(candle)
        if self._pending and min(self._pending) < self._high:
            self._pending = {t: candle for t, candle in self._pending.items() if t > self._high}
        self._overflowing = self._overflowing and bool(self._pending)

    # Comparing

    def _compare_old(self, candle: Candle) -> None:
        known = self._recent.get(candle.open_time_ms)
        if known is not None:
            self._compare(known, candle)
        elif candle.open_time_ms < self._resumed_ms or candle.source != "live":
            self.counters.duplicates += 1
        else:
            detail = f"closed after {self._high} was told"
            self._note(Anomaly(self.market, "out_of_order", detail, candle.open_time_ms, candle.close_time_ms))

    def _compare(self, known: Candle, again: Candle) -> None:
        self.counters.duplicates += 1
        if known[:_FACTS] != again[:_FACTS]:
            detail = f"{known.source} said {known[4:_FACTS]}, {again.source} says {again[4:_FACTS]}"
            self._note(Anomaly(self.market, "revised", detail, known.open_time_ms, known.close_time_ms))

    def _note(self, anomaly: Anomaly) -> None:
        self.counters.anomalies[anomaly.reason] = self.counters.anomalies.get(anomaly.reason, 0) + 1
        self._out.append(QualityNote(anomaly))

    # Asking

    def _delay(self, failures: int) -> float:
        return _LEAST_RETRY_S + full_jitter(failures, self._random, _RETRY_CAP_S)

    def _back_off(self, mono: float) -> None:
        self._fetch_at = mono + self._delay(self._failures)
        self._failures += 1

    def _schedule(self, mono: float) -> None:
        """Have one question under way at a time: for what comes next, then to heal, then to confirm."""
        asked = self._in_flight
        if not self._placed or (asked is not None and asked.to_ms is None):
            return
        allowed = mono >= self._blocked_until
        if self._catch_up or self._pending or self._overdue:
            if not allowed or mono < self._fetch_at:
                if self._error is not None:
                    self._tell_missing(self._error)
            elif asked is None:
                self._catch_up = False
                self._ask(Fetch(self._high))
                return
        if self._missing and asked is None and allowed and mono >= self._heal_at:
            # Round and round, so that minutes the venue cannot give do not keep the others waiting.
            ahead = [span for span in self._missing if span[1] > self._heal_cursor]
            if not ahead:
                self._heal_cursor = 0
            from_ms, to_ms = (ahead or self._missing)[0]
            from_ms = max(from_ms, self._heal_cursor)
            self._ask(Fetch(from_ms, min(to_ms, from_ms + _HEAL_MINUTES * MINUTE_MS)))
        elif asked is None and allowed and mono >= self._confirm_at and not (self._catch_up or self._pending):
            due = self._confirmations.due(self._high)
            if due is not None:
                self._ask(Fetch(*due, confirms=True))

    def _ask(self, fetch: Fetch) -> None:
        self._in_flight = fetch
        self.counters.fetches += 1
        self._out.append(fetch)

    def _flush(self) -> None:
        items = self._items
        if not items:
            return
        self._items = []
        emits: list[Instruction] = []
        for start in range(0, len(items), BUFFER):
            chunk = tuple(items[start : start + BUFFER])
            last = chunk[-1]
            if start + BUFFER >= len(items):
                upto = self._high
            else:
                upto = last.close_time_ms if isinstance(last, Candle) else last.to_ms  # type: ignore[union-attr]
            emits.append(Emit(chunk, upto))
        self._out[:0] = emits
