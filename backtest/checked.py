"""A strategy of the user's own is checked before its first backtest: one that looks ahead has no result to believe."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from trading.config.model import StrategyInstance
from trading.storage.database import Connection, Database
from trading.strategies.check.apart import require_honest

__all__ = ["check_all", "check_first"]


async def check_all(database: Database, run_id: UUID, instances: Sequence[StrategyInstance]) -> dict[str, Any] | None:
    """``check_first`` for each of ``instances``: the check of a single one, of several those of own ones under ``by``
    and their names; None if all are built in.
    """
    done = {
        item.name: await check_first(database, run_id, item.strategy, item.params, item.source, item.intervals[0])
        for item in instances
    }
    own = {name: check for name, check in done.items() if check is not None}
    if not own:
        return None
    return next(iter(own.values())) if len(instances) == 1 else {"passed": True, "by": own}


async def check_first(
    database: Database, run_id: UUID, strategy: str, params: Mapping[str, Any], source: str, interval: str
) -> dict[str, Any] | None:
    """The check of a text with these parameters, done unless an earlier run with both was finished; None if built in.

    Raises BadInput with what gave it away for one that does not pass.
    """
    if not source:
        return None
    digest = hashlib.sha256(source.encode()).hexdigest()

    async def passed_before(connection: Connection) -> bool:
        return bool(
            await connection.fetchval(
                "select exists (select from backtest_runs r, jsonb_array_elements(coalesce(r.config -> 'strategies',"
                " jsonb_build_array(r.config))) item where r.run_id <> $1 and r.status = 'done'"
                " and item ->> 'strategy' = $2 and item ->> 'source' = $3 and item -> 'params' = $4)",
                run_id,
                strategy,
                source,
                dict(params),
            )
        )

    if await database.run(passed_before):
        return {"source_sha256": digest, "passed": True, "notes": []}
    answer = await asyncio.to_thread(require_honest, strategy, params, source, interval)
    return {"source_sha256": digest, "passed": True, "notes": answer["notes"]}
