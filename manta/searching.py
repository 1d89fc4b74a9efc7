"""What sweeps and walk-forwards share on the command line: what is searched, who works, and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from backtest.requests import BacktestRequest
from backtest.sweep.drive import Progress
from backtest.sweep.evaluator import engine_of
from backtest.sweep.objective import OWN
from backtest.sweep.pool import Pool
from manta.backtests import BacktestArguments, left_out, paths_of
from manta.output import console
from manta.service import database_target
from manta.sweep_workers import sweep_workers
from trading.errors import BadInput
from trading.storage.database import Database
from trading.storage.migrate import migrate, read_origin
from trading.storage.searches import Searches

__all__ = ["UNFINISHED", "Kind", "Wanted", "share_of", "told_engine", "told_left_out"]

T = TypeVar("T")

UNFINISHED = ("stopped", "interrupted", "failed")
"""A search in one of these can be gone on with."""

_MOST_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says about the search, as a user writes it."""

    grid: Mapping[str, list[int | float]]
    random: int | None
    optuna: int | None
    halving: bool
    objective: str
    min_trades: int
    constraints: tuple[str, ...]
    seed: int

    def fields(self) -> dict[str, Any]:
        """As a request has them, not checked; BadInput names what cannot be read."""
        if self.random is not None and self.optuna is not None:
            raise BadInput(
                "--random and --optuna both say how to search.", field="optuna", value=self.optuna, fix="Give one."
            )
        name, source = _objective(self.objective)
        return {
            "grid": dict(self.grid),
            "method": "random" if self.random is not None else "optuna" if self.optuna is not None else "grid",
            "trials": self.random if self.random is not None else self.optuna,
            "halving": self.halving,
            "objective": name,
            "objective_source": source,
            "min_trades": self.min_trades,
            "constraints": self.constraints,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of search: its rows, the command that starts one, what one is called, and what does its work.

    Every method raises BadInput where ``text`` names none.
    """

    jobs: Searches
    command: str
    name: str
    run: Callable[[Database, UUID, Pool, Mapping[str, Path] | None, Callable[[Progress], None]], Awaitable[Any]]

    def start(
        self,
        request: BaseModel,
        files: Mapping[str, Path],
        config_path: Path | None,
        *,
        workers: int | None,
        quiet: bool,
    ) -> Any:
        """Make its row, and do it."""

        async def work(database: Database) -> Any:
            run_id, config = uuid4(), request.model_dump(mode="json")
            await database.run(lambda connection: self.jobs.queue(connection, run_id, config, paths_of(files)))
            return await self._done(database, run_id, files, config_path, workers=workers, quiet=quiet)

        return self.with_database(config_path, work)

    def resume(self, text: str, config_path: Path | None, *, workers: int | None, force: bool, quiet: bool) -> Any:
        """Go on with one that was stopped, failed or interrupted; BadInput when it is done, or runs elsewhere and
        nobody insists.
        """
        run_id = self.id_of(text)

        async def work(database: Database) -> Any:
            status = await database.run(lambda connection: self.jobs.status(connection, run_id))
            if status is None:
                raise self.unknown(text)
            if status not in UNFINISHED and (status == "done" or not force):
                shows = f"`manta {self.command} show {text}` shows it."
                fix = shows if status == "done" else "Wait, or take it over with --force."
                raise BadInput(f"{self.name} {text} is {status}.", field="run_id", value=text, fix=fix)
            return await self._done(database, run_id, None, config_path, workers=workers, quiet=quiet)

        return self.with_database(config_path, work)

    def stop(self, text: str, config_path: Path | None) -> dict[str, Any]:
        """Tell it to stop; what it has found is kept, and it can be resumed."""
        run_id = self.id_of(text)

        async def work(database: Database) -> dict[str, Any]:
            before = await database.run(lambda connection: self.jobs.stop(connection, run_id))
            if before is None:
                raise self.unknown(text)
            return {"run_id": text, "status": "stopped" if before in ("queued", "running") else before}

        return self.with_database(config_path, work)

    def with_database(self, config_path: Path | None, work: Callable[[Database], Awaitable[T]]) -> T:
        """Do ``work`` with the configured database, migrated if need be."""

        async def run() -> T:
            name = f"manta {self.command}"
            async with database_target(config_path) as target, Database(target, application_name=name) as database:
                # It only reads candles, so those of a demo are as good.
                await migrate(target, await database.run(read_origin) or "venue")
                return await work(database)

        return asyncio.run(run())

    def id_of(self, text: str) -> UUID:
        try:
            return UUID(text)
        except ValueError as error:
            raise self.unknown(text) from error

    def unknown(self, text: str) -> BadInput:
        fix = f"`manta {self.command} list` names them."
        return BadInput(f"There is no {self.name.lower()} {text}.", field="run_id", value=text, fix=fix)

    async def _done(
        self,
        database: Database,
        run_id: UUID,
        files: Mapping[str, Path] | None,
        config_path: Path | None,
        *,
        workers: int | None,
        quiet: bool,
    ) -> Any:
        async with _working(run_id, self.command, config_path, workers=workers, quiet=quiet) as (pool, tell):
            return await self.run(database, run_id, pool, files, tell)


@asynccontextmanager
async def _working(
    run_id: UUID, command: str, config_path: Path | None, *, workers: int | None, quiet: bool
) -> AsyncIterator[tuple[Pool, Callable[[Progress], None]]]:
    """The workers of a search and who is told how far it is; whoever interrupts it is told how to go on."""
    if not quiet:
        console.print(f"{command} {run_id}", style="dim")
    try:
        async with sweep_workers(config_path, workers) as pool:
            with _bar(command, quiet=quiet) as tell:
                yield pool, tell
    except asyncio.CancelledError:
        console.print(f"What is found so far is kept: `manta {command} resume {run_id}` goes on.", markup=False)
        raise


def told_engine(request: BacktestRequest) -> str:
    """The engine that scores ``request``; who waits for the slow one is told why."""
    engine, why = engine_of(request)
    if engine == "reference":
        console.print(f"Scored by {why}.", style="dim", markup=False)
    return engine


def told_left_out(
    request: BacktestRequest, arguments: BacktestArguments, grid: Collection[str], path: Path | None
) -> None:
    """Who searches a strategy that is configured, but not as it is configured, is told what is not used."""
    if arguments.instance is not None:
        return
    for name, fields in left_out(request, grid, path).items():
        said = f"{', '.join(fields)} of the configured instance {name} are not used; --instance {name} uses them."
        console.print(f"Not as configured: {said}", markup=False)


def share_of(text: str) -> float:
    """0.3 of ``30%``, ``30 %`` or ``0.3``; BadInput names what is wrong."""
    plain = text.strip()
    try:
        share = float(plain.removesuffix("%")) / 100 if plain.endswith("%") else float(plain)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 0.9:
        raise BadInput(
            f"--holdout {text!r} is no share between 0 and 90%.", field="holdout", value=text, fix="Write it like 30%."
        )
    return share


def _objective(text: str) -> tuple[str, str]:
    """The objective's name and, of ``FILE.py``, its text, which from now on stands for the file; BadInput if unfit."""
    if not text.endswith(".py"):
        return text, ""
    path = Path(text)
    try:
        with path.open("rb") as file:
            source = file.read(_MOST_BYTES + 1).decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(
            f"{path} cannot be read: {why}.", field="objective", value=text, fix="Give a Python file, or a metric."
        ) from error
    if len(source) > _MOST_BYTES or not source.strip():
        raise BadInput(
            f"{path} is empty, or has more than {_MOST_BYTES} bytes.",
            field="objective",
            value=text,
            fix="Write `def objective(metrics): ...` into it.",
        )
    return OWN, source


@contextmanager
def _bar(name: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Done of total, the rate, the time left and the best so far; silent when nobody looks."""
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Bar(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)

        def tell(told: Progress) -> None:
            said = f"{told.rate:,.1f} combos/s"
            if told.best is not None and told.value is not None:
                said += f"  best {told.value:.4g} at " + ", ".join(f"{name} {at:g}" for name, at in told.best.items())
            progress.update(task, completed=told.done, total=told.total, description=said)

        yield tell
