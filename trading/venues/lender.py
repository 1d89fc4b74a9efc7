"""Minutes of one market that another one lends, each marked with where it comes from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from trading.candles import Candle, Hole, HoleReason
from trading.events import start_ms
from trading.intervals import MINUTE_MS
from trading.jumps import Doubts
from trading.markets import split_market
from trading.spans import Span, add_span, runs_between, without
from trading.venues.adapter import History, Page, adapter

__all__ = ["Lender", "Lent", "first_shown"]


class Lent(NamedTuple):
    """What one question brought: candles in [from, ``through_ms``), which is the end of what is known so far, and the
    open times of minutes that the lender shows but nobody can use.
    """

    candles: tuple[Candle, ...]
    through_ms: int
    unusable: tuple[int, ...] = ()


class Lender:
    """``other`` (venue:symbol) lends ``market`` minutes. ``history`` is that venue's and its opener's to close.

    Raises what ``History`` raises: ConfigError, with the nearest names, when the venue does not know the symbol.
    """

    def __init__(self, market: str, other: str, history: History) -> None:
        self.market = market
        self.other = other
        self._history = history
        self._closed_by_ms = 0
        self._symbol: str | None = None
        self._doubts = Doubts()

    async def minutes(self, from_ms: int, to_ms: int) -> Lent:
        """Ask once for closed minutes in [``from_ms``, ``to_ms``); one whose price jumps and comes back is left out."""
        venue, asked = split_market(self.other)
        if self._symbol is None:
            self._symbol = (await self._history.market(asked)).symbol
        if to_ms >= self._closed_by_ms:
            # Near the present only the venue itself knows what has closed.
            self._closed_by_ms = (await self._history.time()).venue_ms - adapter(venue).doubt_ms
        page = await self._history.page(self._symbol, "1m", from_ms, to_ms, self._closed_by_ms)
        origin = f"{venue}:{self._symbol}"
        rows = self._believed(page)
        odd = {*page.unusable, *(row.open_time_ms for row in page.candles)} - {row.open_time_ms for row in rows}
        lent = [row._replace(market=self.market, origin=origin) for row in rows if from_ms <= row.open_time_ms < to_ms]
        return Lent(tuple(lent), max(from_ms, min(page.through_ms, to_ms)), tuple(sorted(odd)))

    async def past(self, from_ms: int, to_ms: int) -> AsyncIterator[list[Candle | Hole]]:
        """All minutes of [``from_ms``, ``to_ms``) in order, from the first candle that there is; those between candles
        that the lender has not are absent. Ends where the lender has no more.
        """
        at_ms, begun = from_ms, False
        while at_ms < to_ms:
            lent = await self.minutes(at_ms, to_ms)
            if lent.through_ms <= at_ms:
                return
            opens = [row.open_time_ms for row in lent.candles]
            if begun or opens:
                first_ms = at_ms if begun else opens[0]
                begun = True
                yield sorted([*lent.candles, *self._holes(lent, first_ms)], key=start_ms)
            at_ms = lent.through_ms

    def _holes(self, lent: Lent, from_ms: int) -> list[Hole]:
        odd: list[Span] = []
        for opened in lent.unusable:
            odd = add_span(odd, opened, opened + MINUTE_MS)
        opens = [row.open_time_ms for row in lent.candles]
        runs = list(runs_between(opens, from_ms, lent.through_ms, MINUTE_MS))
        nothing = without(runs, odd)
        absent = f"nothing at {self.other}, which lends these minutes"
        missing = f"not usable at {self.other}, which lends these minutes"
        return [
            *(Hole(self.market, low, high, HoleReason.ABSENT.value, absent) for low, high in nothing),
            *(Hole(self.market, low, high, HoleReason.MISSING.value, missing) for low, high in without(runs, nothing)),
        ]

    def _believed(self, page: Page) -> list[Candle]:
        rows = list(page.candles)
        while (doubtful := self._doubts.first(None, rows)[0]) is not None:
            rows.remove(doubtful)
        return rows


async def first_shown(history: History, symbol: str, from_ms: int, now_ms: int) -> int | None:
    """Open time of the first minute from ``from_ms`` on that ``history`` shows; None when it shows none."""
    horizon_ms = history.horizon_ms("1m")
    at_ms = from_ms
    if horizon_ms is not None:
        # Two minutes late: the horizon moves on while we ask.
        at_ms = max(from_ms, (now_ms - horizon_ms) // MINUTE_MS * MINUTE_MS + 2 * MINUTE_MS)
    while at_ms < now_ms:
        page = await history.page(symbol, "1m", at_ms, None, now_ms)
        if page.candles:
            return page.candles[0].open_time_ms
        if not page.more or page.through_ms <= at_ms:
            return None
        at_ms = page.through_ms
    return None
