"""Single runs of a search in the reference engine, wherever they are done."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from backtest.run import BacktestRequest, Source, simulate
from backtest.sources import cut_for
from trading.accounts.records import Fill, Transfer
from trading.accounts.trades import Trade

__all__ = ["Job", "Outcome", "run_job"]


@dataclass(frozen=True, slots=True)
class Job:
    """One run: ``request`` over a part of the candles. ``details`` asks for its trades, money movements and twin."""

    number: int
    request: BacktestRequest
    details: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """``equity`` is the capital and then the end of each UTC day, ``held`` the value of what is held at the end.

    ``exposure`` is the share of minutes with a position; ``twin`` the pessimistic total return. Without details there
    are no trades, fills, transfers and twin.
    """

    number: int
    equity: list[Decimal]
    start_ms: int
    end_ms: int
    held: Decimal
    exposure: float | None
    trades: list[Trade]
    fills: list[Fill]
    transfers: list[Transfer]
    twin: float | None


def run_job(source: Source, job: Job) -> Outcome:
    """Run one job over its range and the history that warms it up."""
    request = job.request
    own = cut_for(request, source)
    if not own.candles or own.candles[-1].close_time_ms <= (request.start_ms or 0):
        # A window in which the market did not trade at all: the money stayed where it was.
        at_ms = request.start_ms or 0
        return Outcome(job.number, [request.capital], at_ms, at_ms, Decimal(0), None, [], [], [], 0.0)
    result = simulate(request, [own], "walkforward", twin=job.details)
    marks = result.records.equity
    return Outcome(
        number=job.number,
        equity=result.equity.daily,
        start_ms=result.equity.start_ms,
        end_ms=result.equity.last_ms,
        held=marks[-1].position_value if marks else Decimal(0),
        exposure=result.score.exposure,
        trades=result.trades if job.details else [],
        fills=result.records.fills if job.details else [],
        transfers=result.records.transfers if job.details else [],
        twin=result.twin.total_return if result.twin is not None else None,
    )
