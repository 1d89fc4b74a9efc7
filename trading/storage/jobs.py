"""Rows of work that is queued, running with its progress, done, or failed with a reason: what their tables share."""

from __future__ import annotations

from uuid import UUID

from trading.storage.database import Connection

__all__ = ["Jobs"]


class Jobs:
    """The rows of ``table``, a name of ours, whose key is ``run_id``."""

    def __init__(self, table: str) -> None:
        self._table = table

    async def set_progress(self, connection: Connection, run_id: UUID, share: float) -> None:
        """Say that it is on its way, ``share`` of one done."""
        await connection.execute(
            f"update {self._table} set status = 'running', progress = greatest(progress, $2)"  # noqa: S608 - our name
            " where run_id = $1 and status in ('queued', 'running')",
            run_id,
            share,
        )

    async def set_failed(self, connection: Connection, run_id: UUID, error: str) -> None:
        await connection.execute(
            f"update {self._table} set status = 'failed', error = $2, finished_at = clock_timestamp()"  # noqa: S608
            " where run_id = $1",
            run_id,
            error,
        )

    async def fail_interrupted(self, connection: Connection) -> None:
        """Those that were under way when their process ended will never end: say so."""
        await connection.execute(
            f"update {self._table} set status = 'failed', error = 'interrupted by a restart',"  # noqa: S608
            " finished_at = clock_timestamp() where status in ('queued', 'running')"
        )
