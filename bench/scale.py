"""Sweeps over several workers: what one costs through Ray into Postgres, and how many workers one head can feed."""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psutil

from backtest.requests import BacktestRequest
from backtest.sources import load_file
from backtest.sweep.coordinator import Progress, run_sweep
from backtest.sweep.evaluator import evaluator_for
from backtest.sweep.pool import Pool
from backtest.sweep.request import SweepRequest, read_sweep
from backtest.sweep.work import Batch, Work, work_of
from bench.figures import Effort, Figure, Report, Table
from bench.history import SAMPLE, carried, history_pieces
from manta.sweep_workers import own_ray
from trading.candles import UNIT, Candle
from trading.config.costs import Costs
from trading.config.loading import default_config
from trading.storage import sweeps
from trading.storage.database import Database
from trading.storage.migrate import migrate
from trading.storage.postgres import BundledPostgres

__all__ = ["Costing", "measure", "rate"]

_WORKERS = (1, 2, 4, 8, 16, 32, 64)
_BATCH, _IN_FLIGHT = 96, 2
_SETS, _QUICK_SETS = 100_000, 4_000
# What one worker does instead: of so many, too, no daily returns are kept, which take their time.
_COMPARED = 24_000
# Both workers are at work, and all is warm, when so many sets are scored.
_WARM = 1_000
# A home network: one gigabit a second.
_BYTES_A_S = 125e6


class Costing(NamedTuple):
    """Seconds of a batch: ``compute`` on a worker, ``head`` on the one thread that hands out and writes down,
    ``latency`` from the end of a batch to the head and from the head to the begin of the next.
    """

    compute: float
    head: float
    latency: float


class Spent(NamedTuple):
    """One sweep: seconds until all is ``scored`` and in all, ``rate`` of sets a second while scoring, and processor
    seconds a set.
    """

    scored: float
    seconds: float
    rate: float
    driver: float
    workers: float
    postgres: float


async def measure(effort: Effort) -> Report:
    """Sweep with one worker and with two, time the start of a worker, and simulate more of them."""
    words, pieces = history_pieces()
    candles = carried(pieces)
    sets = _QUICK_SETS if effort.runs == 1 else _SETS
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as name:
        folder, config = Path(name), default_config()
        file = _file(folder / "minutes.csv", candles)
        postgres = BundledPostgres(folder / "postgres")
        target = await postgres.start()
        try:
            await migrate(target, "simulator")
            request = _request(min(sets, _COMPARED))
            base = request.backtest
            source = load_file(file, SAMPLE.key, base)
            # What is compiled here is on disk for the workers.
            evaluator_for(base, source).evaluate([request.space().params(0)])
            work = work_of("start", base, source, keeps_returns=False)
            async with (
                Database(target, application_name="manta bench") as database,
                own_ray(config, folder, 2) as pool,
            ):
                # Ray reads where it is when it is first imported.
                from backtest.sweep.ray_pool import RayPool

                start_s, carried_s = await _start(pool, work)
                whole = await _sweep(database, _request(sets), file, pool)
                peak_mb = max(map(_peak_mb, _workers()))
                one = await _sweep(database, request, file, RayPool(1, trading=False))
        finally:
            await postgres.stop()
    costing = Costing(whole.workers * _BATCH, whole.driver * _BATCH, carried_s / 2)
    rates = {workers: rate(costing, workers) for workers in _WORKERS}
    return Report(
        "scale",
        f"Parameters of an SMA cross over {len(candles):,} minutes ({words}, absent ones carried), in batches of "
        f"{_BATCH} sets as Ray tasks of two workers of this machine, from the command to the findings in Postgres, "
        "fsync on. What more workers would do is simulated from the costs of a batch in this run: each worker computes "
        "one batch while the next waits, and the head, one thread, hands out and writes down one after another.",
        [
            Figure(f"{sets:,} sets scored, all in Postgres", whole.scored, "s", 60 if sets == _SETS else None),
            Figure("until all is concluded, the best run again by the reference engine", whole.seconds, "s"),
            Figure("memory of a worker at its peak", peak_mb, "MB", 1_000),
            Figure("two workers, times one", whole.rate / one.rate, "×", 1.7, at_least=True),
            Figure("start of a worker to its first score, compiled code on disk", start_s, "s", 1),
            Figure("most sets a second that the head can take", 1 / whole.driver, "sets/s"),
            Figure("workers of which the head is the limit", costing.compute / costing.head, ""),
        ],
        [_cost_table(whole, costing), _rate_table(rates)],
        [
            f"candles travel once to each machine: {len(candles) * 56 / 1e6:.0f} MB, "
            f"{len(candles) * 56 / _BYTES_A_S:.1f} s on a gigabit network",
        ],
        {"scale": {str(workers): found for workers, found in rates.items()}},
    )  # fmt: skip


def rate(costing: Costing, workers: int, batches: int = 2_000) -> float:
    """Simulated sets a second of so many ``workers``, over at least so many ``batches``."""
    free_at = [0.0] * workers
    head_s = done_s = 0.0
    # What reaches the head, in order of time: results, and at first the wish of every worker for what it may hold.
    arrivals = [(0.0, worker) for worker in range(workers) for _ in range(_IN_FLIGHT)]
    batches = max(batches, workers * _IN_FLIGHT * 20)
    for number in range(batches + len(arrivals)):
        arrived_s, worker = heapq.heappop(arrivals)
        head_s = max(head_s, arrived_s) + costing.head
        if number >= batches:
            done_s = head_s
            continue
        free_at[worker] = max(free_at[worker], head_s + costing.latency) + costing.compute
        heapq.heappush(arrivals, (free_at[worker] + costing.latency, worker))
    return batches * _BATCH / done_s


def _file(path: Path, candles: Sequence[Candle]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.write("open_time,open,high,low,close,volume\n")
        for c in candles:
            prices = ",".join(repr(value / UNIT) for value in (c.open, c.high, c.low, c.close, c.volume))
            file.write(f"{c.open_time_ms},{prices}\n")
    return path


def _request(sets: int) -> SweepRequest:
    slow = range(201, 201 + sets // 200)
    base = BacktestRequest(
        strategy="sma_cross",
        market=SAMPLE.key,
        intervals=("1m",),
        profile="spot",
        costs=Costs(taker_fee=Decimal("0.001"), slippage=Decimal("0.0002")),
    )
    return read_sweep({"backtest": base, "grid": {"fast": list(range(1, 201)), "slow": list(slow)}})


async def _sweep(database: Database, request: SweepRequest, file: Path, pool: Pool) -> Spent:
    """Run one as the command does; what it costs is counted from when all is warm to the last score."""
    run_id = uuid4()
    await database.run(lambda connection: sweeps.JOBS.queue(connection, run_id, request.model_dump(mode="json")))
    told: list[tuple[int, float, float, float, float]] = []

    def note(progress: Progress) -> None:
        # Looking at all processes takes longer than a batch, so that is done twice.
        if (progress.done >= _WARM and not told) or (progress.done == progress.total and len(told) == 1):
            now, driver = time.perf_counter(), time.process_time()
            told.append((progress.done, now, driver, _processor_s(_workers()), _processor_s(_children("postgres"))))

    began = time.perf_counter()
    await run_sweep(database, run_id, pool, {SAMPLE.key: file}, note)
    seconds = time.perf_counter() - began
    sets, passed, *spent = (last - first for first, last in zip(told[0], told[-1], strict=True))
    return Spent(told[-1][1] - began, seconds, sets / passed, *(value / sets for value in spent))


async def _start(pool: Pool, work: Work) -> tuple[float, float]:
    """Seconds until the first worker, and its second task, return what they score."""
    times = []
    pool.begin(work)
    for _ in range(2):
        began = time.perf_counter()
        await pool.score(Batch(None, None, ({"fast": 5, "slow": 205},)))
        times.append(time.perf_counter() - began)
    return times[0], times[1]


def _workers() -> list[psutil.Process]:
    """Those that score; a worker is called idle between two tasks."""
    return [*_children("ray::_score"), *_children("ray::IDLE")]


def _children(title: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if title in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _processor_s(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _peak_mb(process: psutil.Process) -> float:
    """The most memory that was resident at once, shared pages included."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    [line] = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def _cost_table(whole: Spent, costing: Costing) -> Table:
    rows = [
        ("worker", whole.workers * 1e6, costing.compute * 1e3),
        ("head: handing out and writing down", whole.driver * 1e6, costing.head * 1e3),
        ("Postgres", whole.postgres * 1e6, whole.postgres * _BATCH * 1e3),
    ]
    return Table("Processor time", ("where", "µs a set", "ms a batch"), rows)


def _rate_table(rates: dict[int, float]) -> Table:
    alone = rates[1]
    rows = [(str(workers), found, found / alone / workers * 100) for workers, found in rates.items()]
    return Table("Simulated", ("workers", "sets a second", "of so many alone, %"), rows)
