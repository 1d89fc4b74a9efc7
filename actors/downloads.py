"""The supervisor's duty to keep candle files up to date, if the configuration wants it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from actors.session import Session
from trading.downloads import ScheduledDownloads, logging_to
from trading.markets import split_market
from trading.venues.adapter import History

__all__ = ["Downloads"]


class Downloads:
    """Brings the files of ``session.config.downloads`` up to date when they are due, by the venue's time.

    ``history`` gives a venue's REST side, which is not closed here. A download that fails is logged there and in the
    actor's log, and tried again; it harms nothing else.
    """

    def __init__(
        self, session: Session, history: Callable[[str], History], now_ms: Callable[[], Awaitable[int]]
    ) -> None:
        settings = session.config.downloads
        self._history = history
        self._now_ms = now_ms
        self._folder = Path(session.log_dir).parent / settings.data_dir
        self._markets = [ScheduledDownloads(name, self._folder, settings.timeframes) for name in settings.markets]

    async def work(self) -> None:
        """Download what is due now."""
        now_ms = await self._now_ms()
        for downloads in self._markets:
            if not downloads.schedule.due(now_ms):
                continue
            venue = split_market(downloads.market)[0]
            with logging_to(self._folder, venue):
                await downloads.work(self._history(venue), now_ms)
