"""Rows of backtest runs: queued, running with their progress, done with results, or failed with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, Transfer
from trading.config.model import Book
from trading.storage import records
from trading.storage.database import Connection

__all__ = ["fail_interrupted", "queue", "set_failed", "set_progress", "store_result"]


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
        " values ($1, $2, $3, $4, $5, $6, 'queued') on conflict do nothing",
        run_id,
        book,
        strategy,
        market,
        list(intervals),
        config,
    )


async def set_progress(connection: Connection, run_id: UUID, share: float) -> None:
    """Say that the run is on its way, ``share`` of one done."""
    await connection.execute(
        "update backtest_runs set status = 'running', progress = greatest(progress, $2)"
        " where run_id = $1 and status in ('queued', 'running')",
        run_id,
        share,
    )


async def set_failed(connection: Connection, run_id: UUID, error: str) -> None:
    await connection.execute(
        "update backtest_runs set status = 'failed', error = $2, finished_at = clock_timestamp() where run_id = $1",
        run_id,
        error,
    )


async def fail_interrupted(connection: Connection) -> None:
    """Runs that were under way when their process ended will never end: say so."""
    await connection.execute(
        "update backtest_runs set status = 'failed', error = 'interrupted by a restart',"
        " finished_at = clock_timestamp() where status in ('queued', 'running')"
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
    """Store a finished run with everything it did, in a book of its own, in one transaction."""
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
