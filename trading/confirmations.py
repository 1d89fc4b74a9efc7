"""Minutes that only a stream told which does not say when one is closed, until REST has told them too. Pure.

If such a stream leaves out the last frames of a minute, what was seen before looks like the minute. REST is asked some
minutes later, for all that wait at once, and what it tells is what counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from trading.candles import UNIT, Candle, Source
from trading.feed_events import Anomaly
from trading.intervals import MINUTE_MS
from trading.spans import Span

__all__ = ["CONFIRM_AFTER_MS", "MOST_WAITING", "Confirmations"]

CONFIRM_AFTER_MS = 5 * MINUTE_MS
"""How much later the newest told minute is when the oldest that waits is asked for."""

MOST_WAITING = 900
"""Minutes that wait at most, and that one request covers."""

_SETTLED_MS = 2 * MINUTE_MS
_TRIES = 10


class Confirmations:
    """The minutes of one market that still want REST's word.

    Guarantees: a minute waits from when the stream told it until an answer covers it; candle time alone decides when
    it is asked for, so that a replay does as life does. Bounded: while REST is away for long, the oldest give way.
    Nothing here is durable: ``begin`` takes what storage has from the stream. Where the stream proves a candle closed
    (not ``needed``), nothing ever waits.
    """

    def __init__(self, market: str, *, needed: bool) -> None:
        self._market = market
        self._needed = needed
        self._waiting: dict[int, Candle] = {}
        self._tries = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def why(self) -> str:
        """Why REST's word replaces a candle at this venue; empty where it does not."""
        return "REST tells it otherwise than the stream did" if self._needed else ""

    def begin(self, high_ms: int, stored: Iterable[Candle]) -> None:
        """Go on from ``high_ms`` with the ``stored`` minutes before it that only the stream told."""
        known = {candle.open_time_ms: candle for candle in stored} | self._waiting
        self._waiting = {}
        self._tries = 0
        for opened in sorted(known):
            if known[opened].close_time_ms <= high_ms:
                self.wait_for(known[opened])

    def wait_for(self, candle: Candle) -> None:
        """Note that ``candle``, newer than all before, is told."""
        if self._needed and candle.source == Source.LIVE:
            self._waiting[candle.open_time_ms] = candle
            if len(self._waiting) > MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]

    def due(self, high_ms: int) -> Span | None:
        """[from, to) of the minutes to ask for, now that every minute before ``high_ms`` is told."""
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None or oldest.close_time_ms + CONFIRM_AFTER_MS > high_ms:
            return None
        from_ms = oldest.open_time_ms
        return from_ms, min(high_ms - _SETTLED_MS, from_ms + MOST_WAITING * MINUTE_MS)

    def answered(self, rows: Mapping[int, Candle], to_ms: int) -> tuple[list[Candle], list[Anomaly]]:
        """REST has told of every minute before ``to_ms``, by open time in ``rows``: what it tells otherwise, and notes
        on what it does not show at all.
        """
        told = [opened for opened in self._waiting if opened < to_ms]
        corrected, notes = [], []
        for opened in told:
            candle, row = self._waiting.pop(opened), rows.get(opened)
            if row is None:
                notes.append(self._unconfirmed(candle, "the stream told it, and REST does not show it"))
            elif not _agree(candle, row):
                corrected.append(row)
        self._tries = 0 if told else self._tries
        return corrected, notes

    def refused(self, bad: Collection[int]) -> list[Anomaly]:
        """An answer said nothing that is of use, because of the rows at ``bad``: after some tries they wait no more."""
        self._tries += 1
        if self._tries < _TRIES:
            return []
        self._tries = 0
        given_up = [self._waiting.pop(opened) for opened in list(self._waiting) if opened in bad]
        return [self._unconfirmed(candle, "REST has no usable row of it") for candle in given_up]

    def _unconfirmed(self, candle: Candle, detail: str) -> Anomaly:
        return Anomaly(self._market, "unconfirmed", detail, candle.open_time_ms, candle.close_time_ms)


def _agree(told: Candle, row: Candle) -> bool:
    """Whether both are the same in storage, which keeps floats."""
    firm = [tuple(units / UNIT for units in each[4:9]) for each in (told, row)]
    counts = told.trade_count, row.trade_count
    return firm[0] == firm[1] and (None in counts or counts[0] == counts[1])
