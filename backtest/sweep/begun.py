"""What every search begins with: its row taken over, its candles loaded and compared with those it began with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from backtest.checked import check_first
from backtest.provenance import changes, files_of, provenance_of
from backtest.requests import BacktestRequest
from backtest.sources import Source, load_sources
from backtest.sweep.drive import PATIENCE_S
from backtest.sweep.pool import Pool
from backtest.sweep.work import Work, work_of
from trading.errors import BadInput, MantaError, OutcomeUnknown, StorageRetryable
from trading.storage.database import Database
from trading.storage.searches import SILENT_S, Searches

__all__ = ["Gathered", "gathered", "taken"]


@asynccontextmanager
async def taken(database: Database, jobs: Searches, run_id: UUID, pool: Pool) -> AsyncIterator[tuple[UUID, Any]]:
    """Within, this process owns the search whose row it gets, and its pool; whatever ends it early is kept in the row.

    Raises BadInput when there is no such search.
    """
    owner = uuid4()
    row = await database.run(lambda connection: jobs.take(connection, run_id, owner))
    if row is None:
        raise BadInput(f"There is no such run: {run_id}.", field="run_id", value=str(run_id))
    living = asyncio.create_task(_living(database, jobs, run_id, owner))
    try:
        yield owner, row
    except asyncio.CancelledError:
        await asyncio.shield(database.run(lambda connection: jobs.stop(connection, run_id, owner)))
        raise
    except Exception as error:
        text = str(error) if isinstance(error, MantaError) else f"{type(error).__name__}: {error}"
        await database.run(lambda connection: jobs.set_ended(connection, run_id, owner, text), deadline_s=PATIENCE_S)
        raise
    finally:
        living.cancel()
        pool.close()
        await asyncio.wait([living])


async def _living(database: Database, jobs: Searches, run_id: UUID, owner: UUID) -> None:
    """Say it now and then: a strategy may take long to check and to compile before its first score comes."""
    while True:
        await asyncio.sleep(SILENT_S / 4)
        with contextlib.suppress(StorageRetryable, OutcomeUnknown):
            await database.run(lambda connection: jobs.alive(connection, run_id, owner))


class Gathered:
    """The candles of a search: ``made_of`` says what it is made of, ``checked`` that its own strategy does not cheat.

    It ends with the last candle that there was when it began.
    """

    def __init__(self, source: Source, start_ms: int | None, made_of: dict[str, Any], checked: Any) -> None:
        self.source, self.made_of, self.checked = source, made_of, checked
        self.start_ms = max(source.candles[0].open_time_ms, start_ms or 0)
        self.end_ms = source.candles[-1].close_time_ms

    def work(self, key: str, request: Any, *, keeps_returns: bool = True) -> Work:
        """What all batches of a search share, from its ``request``; ``key`` is that of nothing else."""
        return work_of(key, request.backtest, self.source, request.objective_source, keeps_returns=keeps_returns)


async def gathered(
    database: Database,
    run_id: UUID,
    row: Any,
    wide: BacktestRequest,
    seed: int,
    files: Mapping[str, Path] | None,
    command: str,
) -> Gathered:
    """The candles for ``wide``, the run of the search that wants the most history.

    Raises BadInput when they, or the code, are not those that the ``row`` says it was started with.
    """
    kept: Mapping[str, Any] = row["provenance"] or {}
    # Before its candles were read there is only where they are.
    then = kept if "data" in kept else None
    checked = await check_first(database, run_id, wide.strategy, wide.params, wide.source, wide.intervals[0])
    if files is None:
        files = files_of(wide.market, kept)
    [source] = await database.run(lambda connection: load_sources(connection, wide, files), deadline_s=PATIENCE_S)
    made_of = await asyncio.to_thread(provenance_of, wide, [source], files, seed)
    if then is not None and (changed := changes(then, made_of)):
        raise BadInput(
            f"Not the same as when it began: {'; '.join(changed)}. Its scores could not be compared.",
            field="data" if then["data"] != made_of["data"] else "code",
            value=made_of["data"] if then["data"] != made_of["data"] else made_of["code"],
            fix=f"Start it anew with `{command}`; what was found before is kept.",
        )
    return Gathered(source, wide.start_ms, made_of, checked)
