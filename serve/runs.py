"""What backtests, walk-forwards and sweeps share: room for one, its start, and its end."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from starlette.responses import JSONResponse, Response

from serve.paging import Listing
from serve.parameters import Paging
from serve.problems import NotFound, Refused
from serve.services import Launch, Services, json_text
from trading.storage.jobs import Jobs
from trading.storage.searches import Searches

__all__ = ["UNFINISHED", "Runs"]

UNFINISHED = ("queued", "running")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one kind: their ``table`` and ``jobs``, what one is called, the command for it, and the ``most`` that may
    wait or run at once.
    """

    table: str
    jobs: Jobs
    name: str
    command: str
    most: int
    status: str = "status"
    """The column, or an expression over the row ``s`` where the column alone does not tell."""

    @property
    def path(self) -> str:
        return f"/api/v1/{self.name.replace('-', '')}s"

    async def room(self, service: Services, launch: Launch | None) -> Launch:
        """How to start one; Refused when this server starts none, or too many wait."""
        if launch is None:
            raise Refused(f"This server cannot run {self.name}s.", fix=f"Use `{self.command}`.")
        waiting = await service.database.fetchval(
            f"select count(*) from {self.table} s where {self.status} = any($1)",  # noqa: S608 - our name
            UNFINISHED,
        )
        if waiting >= self.most:
            raise Refused(
                f"{waiting} {self.name}s are waiting or running.", fix="Wait for one to finish, or delete one."
            )
        return launch

    async def launched(
        self, service: Services, launch: Launch, run_id: UUID, request: dict[str, Any], **links: str
    ) -> Response:
        """Start the run whose row is queued, and answer; when that fails its row says so, and the error is raised."""
        try:
            started = launch(run_id, request)
            if inspect.isawaitable(started):
                await started
        except Exception as error:
            _log.error("launch_failed", table=self.table, run_id=str(run_id), exc_info=error)
            async with service.database.connection() as connection:
                await self.jobs.set_failed(connection, run_id, f"It could not be started: {type(error).__name__}")
            raise
        path = f"{self.path}/{run_id}"
        accepted = {"run_id": str(run_id), "status": "queued", "links": {"self": path, **links}}
        return JSONResponse(accepted, 202, headers={"Location": path})

    async def shown(self, service: Services, listing: Listing, run_id: UUID) -> Response:
        """Answer with the one row of ``listing``, that of ``run_id``; NotFound if there is none."""
        page = await listing.page(service.database, Paging(1, None), forward=False, reverse=False)
        if not page.items:
            raise self.unknown(run_id)
        return json_text(page.items[0])

    async def stop(self, service: Services, run_id: UUID) -> None:
        """Stop one that waits or runs, which is a search; Refused when it is neither."""
        if not isinstance(self.jobs, Searches):
            raise TypeError(f"{self.name}s cannot be stopped")
        async with service.database.connection() as connection, connection.transaction():
            before = await self.jobs.stop(connection, run_id)
        if before is None:
            raise self.unknown(run_id)
        if before not in (*UNFINISHED, "stopped"):
            raise Refused(
                f"This {self.name} is {before}.", field="run_id", fix="Only one that waits or runs can be stopped."
            )

    async def remove(self, connection: Any, run_id: UUID, *, force: bool) -> Any:
        """Delete its row and return it, within a transaction; Refused while it has not finished, unless ``force``."""
        row = await connection.fetchrow(
            f"select * from {self.table} where run_id = $1 for update",  # noqa: S608 - our name
            run_id,
        )
        if row is None:
            raise self.unknown(run_id)
        if row["status"] in UNFINISHED and not force:
            raise Refused(
                f"This {self.name} is {row['status']}.", field="run_id", fix="Wait until it is done, or use force=true."
            )
        await connection.execute(f"delete from {self.table} where run_id = $1", run_id)  # noqa: S608 - our name
        return row

    def unknown(self, run_id: UUID) -> NotFound:
        return NotFound(
            f"There is no {self.name} {run_id}.", field="run_id", value=str(run_id), fix=f"GET {self.path} lists them."
        )
