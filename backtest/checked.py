"""A strategy of the user's own is checked before its first backtest: one that looks ahead has no result to believe."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from trading.storage.database import Connection, Database
from trading.strategies.check.apart import require_honest

__all__ = ["check_first"]


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
                "select exists (select from backtest_runs where run_id <> $1 and status = 'done' and strategy = $2"
                " and config ->> 'source' = $3 and config -> 'params' = $4)",
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
