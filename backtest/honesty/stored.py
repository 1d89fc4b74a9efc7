"""A walk-forward from request to stored result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from backtest.checked import check_first
from backtest.followed import failure_kept, progress_kept
from backtest.honesty.trials import Runner
from backtest.honesty.walkforward import WalkForwardRequest, combinations, longest, run_walkforward
from backtest.provenance import provenance_of
from backtest.run import load_sources
from trading.storage import walkforwards
from trading.storage.database import Database

__all__ = ["run_stored_walkforward"]

_PROGRESS_EVERY_S = 1.0


async def run_stored_walkforward(
    database: Database,
    run_id: UUID,
    request: WalkForwardRequest | Mapping[str, Any],
    runner: Runner,
    file: Path | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Run a walk-forward whose row is queued: progress, result or error go into its row."""
    async with failure_kept(database, walkforwards.JOBS, run_id):
        wanted = request if isinstance(request, WalkForwardRequest) else WalkForwardRequest.model_validate(request)
        base = wanted.backtest
        checked = await check_first(database, run_id, base.strategy, base.params, base.source, base.intervals[0])
        # The history of the longest set of parameters warms up all of them.
        widest = longest(combinations(wanted)[0])
        files = {base.market: file} if file is not None else {}
        [source] = await database.run(lambda connection: load_sources(connection, widest, files), deadline_s=300)
        async with progress_kept(database, walkforwards.JOBS, run_id, _PROGRESS_EVERY_S, on_progress) as tell:
            results = await asyncio.to_thread(run_walkforward, wanted, source, runner, tell)
        if checked is not None:
            results["strategy_check"] = checked
        made_of = provenance_of(widest, [source], files, wanted.seed)
        await database.run(lambda connection: walkforwards.set_done(connection, run_id, results, made_of))
    return {"run_id": str(run_id), **results}
