"""Rows of walk-forwards: queued, running with their progress, done with results, or failed with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from trading.storage.database import Connection
from trading.storage.jobs import Jobs

__all__ = ["JOBS", "queue", "set_done"]

JOBS = Jobs("walkforwards")


async def queue(
    connection: Connection,
    run_id: UUID,
    *,
    strategy: str,
    market: str,
    intervals: Iterable[str],
    config: dict[str, Any],
) -> None:
    """Make the row that says a walk-forward is wanted."""
    await connection.execute(
        "insert into walkforwards (run_id, strategy, market, intervals, config, status)"
        " values ($1, $2, $3, $4, $5::text::jsonb, 'queued') on conflict do nothing",
        run_id,
        strategy,
        market,
        list(intervals),
        # As text: whoever asks, serve's plain connections too, can send it.
        json.dumps(config),
    )


async def set_done(connection: Connection, run_id: UUID, results: dict[str, Any], provenance: dict[str, Any]) -> None:
    await connection.execute(
        "update walkforwards set status = 'done', progress = 1, results = $2, provenance = $3,"
        " finished_at = clock_timestamp() where run_id = $1",
        run_id,
        results,
        provenance,
    )
