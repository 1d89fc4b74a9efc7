"""A small market in a file, sweeps over it, and what a test wants to know of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from backtest.requests import BacktestRequest
from backtest.sweep.request import SweepRequest, read_sweep
from tests.trading.series import MARKET, at
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage import sweeps
from trading.storage.database import Database

START = at("2025-06-02 00:00")
DAYS = 22


def market_file(path: Path, days: int = DAYS, seed: int = 4) -> Path:
    """Every 24th minute of some days, at random."""
    source, price, rows = random.Random(seed), 100.0, ["open_time,open,high,low,close,volume"]
    for n in range(days * DAY_MS // (24 * MINUTE_MS)):
        opened, price = price, price * (1 + source.gauss(0, 0.004))
        figures = (opened, max(opened, price), min(opened, price), price, 1.0)
        rows.append(",".join([str(START + n * 24 * MINUTE_MS), *(f"{value:.8f}" for value in figures)]))
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def wanted(strategy: str = "ma44", *, intervals: tuple[str, ...] = ("24m", "48m"), **changes: Any) -> SweepRequest:
    """Of two intervals, which only the reference engine does: nothing is compiled."""
    base = BacktestRequest(strategy=strategy, market=MARKET, intervals=intervals)
    return read_sweep({"backtest": base, "grid": {"period": [3, 6, 12, 24, 48]}, **changes})


async def queued(database: Database, request: SweepRequest) -> UUID:
    run_id = uuid4()
    await database.run(lambda connection: sweeps.JOBS.queue(connection, run_id, request.model_dump(mode="json")))
    return run_id


async def row_of(database: Database, run_id: UUID) -> dict[str, Any]:
    row = await database.run(lambda connection: connection.fetchrow("select * from sweeps where run_id = $1", run_id))
    assert row is not None
    return dict(row)


async def scores_of(database: Database, run_id: UUID) -> dict[tuple[int, int], tuple[Any, ...]]:
    """By stage and number: parameters, metrics and trades."""
    rows = await database.run(lambda connection: sweeps.JOBS.read_results(connection, run_id))
    return {(row["stage"], row["number"]): (row["params"], row["metrics"], row["trades"]) for row in rows}
