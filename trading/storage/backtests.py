"""Rows of backtest runs: queued, running with their progress, done with results, or failed with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, Transfer
from trading.config.model import Book
from trading.errors import BadInput
from trading.storage import records
from trading.storage.database import Connection
from trading.storage.jobs import Jobs

__all__ = ["JOBS", "queue", "store_report", "store_result"]

JOBS = Jobs("backtest_runs")


async def queue(
    connection: Connection,
    run_id: UUID,
    *,
    book: str,
    strategy: str,
    market: str,
    intervals: Iterable[str],
    config: dict[str, Any],
) -> None:
    """Make the row that says a run is wanted."""
    await connection.execute(
        "insert into backtest_runs (run_id, book, strategy, market, intervals, config, status)"
        " values ($1, $2, $3, $4, $5, $6::text::jsonb, 'queued') on conflict do nothing",
        run_id,
        book,
        strategy,
        market,
        list(intervals),
        # As text: whoever asks, serve's plain connections too, can send it.
        json.dumps(config),
    )


async def store_result(  # noqa: PLR0913 - one transaction stores all that a run made
    connection: Connection,
    run_id: UUID,
    *,
    book: str,
    settings: Book,
    decisions: Iterable[Decision],
    orders: Iterable[Order],
    fills: Iterable[Fill],
    transfers: Iterable[Transfer],
    positions: Iterable[Position],
    equity: Iterable[EquityMark],
    results: dict[str, Any],
) -> None:
    """Store a finished run with everything it did, in a book of its own, in one transaction.

    BadInput when the run was deleted meanwhile: nothing of it is stored.
    """
    if not await connection.fetchval("select true from backtest_runs where run_id = $1 for update", run_id):
        raise BadInput(f"Backtest {run_id} was deleted while it ran.", field="run_id", value=str(run_id))
    await connection.execute(
        "insert into books (book, mode, capital, currency, config) values ($1, 'backtest', $2, $3, $4)"
        " on conflict do nothing",
        book,
        settings.capital,
        settings.currency,
        settings.model_dump(mode="json"),
    )
    await records.insert_decisions(connection, decisions)
    await records.upsert_orders(connection, orders)
    await records.insert_fills(connection, fills)
    await records.insert_transfers(connection, transfers)
    await records.upsert_positions(connection, positions)
    await records.upsert_equity(connection, equity)
    await connection.execute(
        "update backtest_runs set status = 'done', progress = 1, results = $2, finished_at = clock_timestamp()"
        " where run_id = $1",
        run_id,
        results,
    )


async def store_report(
    connection: Connection, run_id: UUID, provenance: dict[str, Any], report: dict[str, Any]
) -> None:
    """What the run was made of, and what its report shows."""
    await connection.execute(
        "update backtest_runs set provenance = $2, report = $3 where run_id = $1", run_id, provenance, report
    )
