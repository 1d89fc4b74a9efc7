"""Rows of searches, and of what each set of parameters scored. One process at a time owns a search and may write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from trading.errors import Halt
from trading.storage.database import Connection
from trading.storage.jobs import Jobs

__all__ = ["CHANNEL", "SILENT_S", "SPAN", "STATUS", "ResultRow", "Searches"]

CHANNEL = "manta_runs"
"""Where searches tell how far they are."""

SILENT_S = 15
"""A running search whose process was not heard of for so long counts as interrupted."""
STATUS = (
    f"case when s.status = 'running' and s.heartbeat_at < clock_timestamp() - interval '{SILENT_S} seconds'"
    " then 'interrupted' else s.status end"
)
"""The status of a search ``s`` as it is: a running one whose process has not been heard of was interrupted."""

SPAN = (
    "coalesce(s.results ->> 'start', s.config #>> '{backtest,start_ms}')::bigint as \"start\","
    " coalesce(s.results ->> 'end', s.config #>> '{backtest,end_ms}')::bigint as \"end\""
)
"""The range of a search ``s``, UTC ms: what it covered, before it is done what was asked for; null is not known."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One set of parameters in one stage, what it scored, and its daily returns if the engine gave them."""

    stage: int
    number: int
    params: Mapping[str, int | float]
    metrics: Mapping[str, float | None]
    trades: int
    returns: Sequence[float] | None = None


class Searches(Jobs):
    """The searches of ``table``, whose scores are in ``results``; ``name`` is what one is called.

    Where sets go through ``stages``, ``tried`` counts those of stage 0, in which every set is run, and ``runs`` also
    those of the stages up to ``final_stage``; what is kept of later ones was run on what is held out. Elsewhere
    ``tried`` counts all that is kept.

    Guarantees: a score is kept once, however often it is stored; whoever takes a search over is the only one whose
    writes count from then on.
    """

    def __init__(self, table: str, results: str, name: str, *, stages: bool = False) -> None:
        super().__init__(table)
        self.results, self._name = results, name
        self._counted = "stage = 0" if stages else "true"
        self._runs = ", runs = runs + (select count(*) from kept where stage <= final_stage)" if stages else ""

    async def queue(
        self, connection: Connection, run_id: UUID, config: dict[str, Any], files: Mapping[str, str] | None = None
    ) -> None:
        """Make the row that says one is wanted; ``config`` is its request, with the ``backtest`` that is tried.

        ``files`` are the candle files by market, kept as the first of its provenance: it can be resumed from now on.
        """
        base = config["backtest"]
        await connection.execute(
            f"insert into {self._table} (run_id, strategy, market, intervals, config, provenance, status)"  # noqa: S608
            " values ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, 'queued') on conflict do nothing",
            run_id,
            base["strategy"],
            base["market"],
            list(base["intervals"]),
            # As text: whoever asks, serve's plain connections too, can send it.
            json.dumps(config),
            json.dumps({"files": dict(files)}) if files else None,
        )

    async def fail_interrupted(self, connection: Connection) -> None:
        """Those whose process has ended without a word, or never began: say so. They can be resumed."""
        await connection.execute(
            f"update {self._table} set status = 'failed', error = 'interrupted by a restart',"  # noqa: S608
            " finished_at = clock_timestamp() where status in ('queued', 'running') and (heartbeat_at is null"
            f" or heartbeat_at < clock_timestamp() - interval '{SILENT_S} seconds')"
        )

    async def take(self, connection: Connection, run_id: UUID, owner: UUID) -> Any:
        """Become the owner of a search and return its row, None if there is none; an owner before us writes no more."""
        return await connection.fetchrow(
            f"update {self._table} set owner = $2, status = 'running', error = '',"  # noqa: S608 - our name
            " heartbeat_at = clock_timestamp(), finished_at = null where run_id = $1 returning *",
            run_id,
            owner,
        )

    async def alive(self, connection: Connection, run_id: UUID, owner: UUID) -> None:
        """Say that the owner lives, whatever it is at; nothing when another took the search over."""
        await connection.execute(
            f"update {self._table} set heartbeat_at = clock_timestamp()"  # noqa: S608 - our name
            " where run_id = $1 and owner = $2 and status = 'running'",
            run_id,
            owner,
        )

    async def begin(
        self,
        connection: Connection,
        run_id: UUID,
        *,
        config: dict[str, Any],
        provenance: dict[str, Any],
        engine: tuple[str, str],
        combos: int,
        final_stage: int,
    ) -> None:
        """Say what it runs on and how much there is to do. ``engine`` is its name and why it is that one."""
        await connection.execute(
            f"update {self._table} set config = $2, provenance = $3, engine = $4, engine_why = $5,"  # noqa: S608
            " combos = $6, final_stage = $7 where run_id = $1",
            run_id,
            config,
            provenance,
            *engine,
            combos,
            final_stage,
        )

    async def store(self, connection: Connection, run_id: UUID, rows: Sequence[ResultRow]) -> None:
        """Keep ``rows``, in the transaction of a ``beat``."""
        await connection.execute(
            f"""
            with kept as (
                insert into {self.results} (run_id, stage, number, params, metrics, trades, returns)
                select $1, stage, number, params::jsonb, metrics::jsonb, trades, returns::float8[]
                from unnest($2::int[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[])
                    as fresh (stage, number, params, metrics, trades, returns)
                on conflict do nothing
                returning stage
            )
            update {self._table} set tried = tried + (select count(*) from kept where {self._counted}){self._runs}
            where run_id = $1
            """,  # noqa: S608 - our names
            run_id,
            [row.stage for row in rows],
            [row.number for row in rows],
            [json.dumps(row.params) for row in rows],
            [json.dumps(row.metrics) for row in rows],
            [row.trades for row in rows],
            [None if row.returns is None else "{" + ",".join(map(repr, row.returns)) + "}" for row in rows],
        )

    async def beat(
        self,
        connection: Connection,
        run_id: UUID,
        owner: UUID,
        *,
        refused: int,
        progress: float,
        news: Mapping[str, Any],
    ) -> bool:
        """Say that the owner lives and how far it is; whether the search is to go on. Halt if another took it over.

        ``news`` go to whoever listens, as the payload of a notification: at most 8,000 bytes as JSON.
        """
        row = await connection.fetchrow(
            f"update {self._table} set heartbeat_at = clock_timestamp(), refused = $3,"  # noqa: S608 - our name
            " progress = greatest(progress, $4) where run_id = $1 and owner = $2 returning status",
            run_id,
            owner,
            refused,
            progress,
        )
        if row is None:
            raise Halt(
                f"The {self._name} {run_id} was resumed by another process, or deleted.",
                fix=f"`manta {self._name.replace('-', '')} show` tells how far it is.",
            )
        await self.tell(connection, run_id, {**news, "status": row["status"], "progress": progress})
        return bool(row["status"] == "running")

    async def tell(self, connection: Connection, run_id: UUID, news: Mapping[str, Any]) -> None:
        """Notify whoever listens, such as pages that are open: nothing is lost when nobody does."""
        told = {"run_id": str(run_id), "kind": self._name, **news}
        await connection.execute(f"select pg_notify('{CHANNEL}', $1)", json.dumps(told))

    async def status(self, connection: Connection, run_id: UUID) -> str | None:
        """``STATUS`` of one; None if there is none of this id."""
        found: str | None = await connection.fetchval(
            f"select {STATUS} from {self._table} s where run_id = $1",  # noqa: S608 - our name
            run_id,
        )
        return found

    async def stop(self, connection: Connection, run_id: UUID, owner: UUID | None = None) -> str | None:
        """Stop one that waits or runs; its status before, None if there is none of this id, or of this ``owner``."""
        before: str | None = await connection.fetchval(
            f"select status from {self._table} where run_id = $1"  # noqa: S608 - our name
            " and ($2::uuid is null or owner = $2) for update",
            run_id,
            owner,
        )
        if before in ("queued", "running"):
            await connection.execute(
                f"update {self._table} set status = 'stopped' where run_id = $1",  # noqa: S608 - our name
                run_id,
            )
            await self.tell(connection, run_id, {"status": "stopped"})
        return before

    async def set_done(self, connection: Connection, run_id: UUID, owner: UUID, results: dict[str, Any]) -> None:
        await connection.execute(
            f"update {self._table} set status = 'done', progress = 1, results = $3,"  # noqa: S608 - our name
            " finished_at = clock_timestamp() where run_id = $1 and owner = $2",
            run_id,
            owner,
            results,
        )
        await self.tell(connection, run_id, {"status": "done", "progress": 1})

    async def set_ended(self, connection: Connection, run_id: UUID, owner: UUID, error: str) -> None:
        """Keep why it failed, unless another process has taken it over or it was stopped meanwhile."""
        await connection.execute(
            f"update {self._table} set status = 'failed', error = $3, finished_at = clock_timestamp()"  # noqa: S608
            " where run_id = $1 and owner = $2 and status = 'running'",
            run_id,
            owner,
            error,
        )
        await self.tell(connection, run_id, {"status": "failed"})

    async def read_results(self, connection: Connection, run_id: UUID) -> list[Any]:
        """All stored results by stage and number, without returns."""
        return await connection.fetch(
            f"select stage, number, params, metrics, trades from {self.results}"  # noqa: S608 - our name
            " where run_id = $1 order by stage, number",
            run_id,
        )

    async def read_returns(self, connection: Connection, run_id: UUID, stage: int) -> list[Any]:
        """Number and daily returns of each result of ``stage`` that has them, by number."""
        return await connection.fetch(
            f"select number, returns from {self.results}"  # noqa: S608 - our name
            " where run_id = $1 and stage = $2 and returns is not null order by number",
            run_id,
            stage,
        )
