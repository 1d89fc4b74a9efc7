"""Rows of walk-forwards: queued, running with their progress, done with results, or failed with a reason."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from trading.storage.database import Connection
from trading.storage.jobs import Searches

__all__ = ["JOBS", "set_done"]

JOBS = Searches("walkforwards")


async def set_done(connection: Connection, run_id: UUID, results: dict[str, Any], provenance: dict[str, Any]) -> None:
    await connection.execute(
        "update walkforwards set status = 'done', progress = 1, results = $2, provenance = $3,"
        " finished_at = clock_timestamp() where run_id = $1",
        run_id,
        results,
        provenance,
    )
