"""The supervisor's nightly duty: hand each day that is over to the reference backtest, beside all trading."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from ray.exceptions import RayError

from trading.nightly import BookReach, DueDay, NightlyPlan
from trading.storage import parity
from trading.storage.database import Connection

__all__ = ["CheckDay", "Nightly"]

CheckDay = Callable[[DueDay], Awaitable[str]]
"""Starts the comparison of one day and waits for its status; the result is in the database, but for ``away``."""

Read = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]

log = structlog.get_logger("nightly")


class Nightly:
    """Finds the days that are due and has them checked, one at a time, in processes of their own.

    Nothing here is durable: results are, and a day without one is due. A check that a crash interrupted is carried out
    again; that it was done twice does not show.
    """

    def __init__(self, at_ms: int, read: Read, check_day: CheckDay) -> None:
        self._plan = NightlyPlan(at_ms)
        self._read = read
        self._check_day = check_day

    async def work(self) -> None:
        """Check every day that is due now."""
        while (day := await self._next()) is not None:
            began = time.monotonic()
            try:
                status = await self._check_day(day)
            except RayError as error:
                # What failed in it is stored; a worker that died, or the end of Ray, is seen only here.
                log.error("nightly check lost", book=day.book, day=parity.day_text(day.day_ms), error=str(error))
                self._plan.tried(day)
                return
            if status == "away":
                return
            self._plan.tried(day)
            told = log.info if status in ("identical", "explained") else log.warning
            told(
                "nightly check", book=day.book, day=parity.day_text(day.day_ms), status=status,
                seconds=round(time.monotonic() - began, 1),
            )  # fmt: skip

    async def _next(self) -> DueDay | None:
        reaches, checked = await self._read(_standing)
        return self._plan.next(reaches, checked)


async def _standing(connection: Connection) -> tuple[list[BookReach], dict[DueDay, str]]:
    return await parity.read_reaches(connection), await parity.read_statuses(connection)
