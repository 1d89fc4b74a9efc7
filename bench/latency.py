"""From the venue's message to the committed decision, and what that costs the processor."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp

from bench.figures import Effort, Figure, Report, Table
from bench.history import SAMPLE
from bench.processor import Usage
from bench.samples import percentile
from bench.systems import base_url, caught_up, fetch, measured_config, sample_options
from manta.replay import Replay
from trading.errors import MantaError
from trading.storage.database import Connection, Database

__all__ = ["measure"]

_SPEED = 60.0
_OTHER_SPEEDS = (1.0, 10.0)
_CALM_S = 5.0
_TURNS = 4
_COMMITS = 200
_PATIENCE_S = 90.0
# Two hundred and fifty thousand sets of an SMA cross.
_SWEEP = {
    "strategy": "sma_cross",
    "market": SAMPLE.key,
    "intervals": ["1m"],
    "grid": {"fast": list(range(1, 501)), "slow": list(range(501, 1001))},
}
# When its closing message arrived, and when recorder and execution wrote their rows, each inside its transaction.
_STAGES = """
select (d.received_ns / 1e6)::float8 as received, extract(epoch from m.recorded_at)::float8 * 1e3 as recorded,
    extract(epoch from d.decided_at)::float8 * 1e3 as decided
from decisions d
join candles m on m.market_id = d.market_id and m.interval = '1m' and m.open_time = d.open_time
where d.interval = '1m' and d.received_ns between $1 and $2
"""


async def measure(effort: Effort) -> Report:
    """Watch a 1m strategy decide at ×60 for a window, then the processor alone at lower speeds."""
    samples, stages, commits, usage = await _decide(effort.window_s)
    alone, beside = await _in_turns(effort.window_s)
    shares = {speed: (await _share(speed, effort.window_s / 2))[-1][1] for speed in _OTHER_SPEEDS}
    shares[_SPEED] = usage[-1][1]
    return Report(
        "latency",
        "The default configuration with one more strategy that decides at every closed minute, replayed at ×60: one "
        "closed minute a second. A time runs from the arrival of the venue's closing message at the feed's socket to "
        "the return of the commit that holds the decision, fsync on; the first seconds after the start are left out. "
        "The sweep is one of the API, of 250,000 sets, on all cores but the one that is left to what trades; it is run "
        f"and stopped {_TURNS} times in one system, and its ratios are to the times between, so that other load of the "
        "machine counts on both sides. "
        "Processor time is that of all processes of the session, Postgres and Serve included, the simulator not.",
        [
            Figure("venue message → decision committed, p50", percentile(samples, 0.5), "ms", 15),
            Figure("venue message → decision committed, p99", percentile(samples, 0.99), "ms", 60),
            Figure("venue message → decision committed, slowest", max(samples), "ms"),
            Figure("the same beside a sweep, p50", percentile(beside, 0.5), "ms", 15),
            Figure("the same beside a sweep, p99", percentile(beside, 0.99), "ms", 60),
            Figure("times without it in turns, p50", percentile(beside, 0.5) / percentile(alone, 0.5), "×"),
            Figure("times without it in turns, p99", percentile(beside, 0.99) / percentile(alone, 0.99), "×"),
            *(
                Figure(f"processor at ×{speed:g}, of one core", share, "%", 10 if speed == 1 else None)
                for speed, share in sorted(shares.items())
            ),
            Figure("one commit of one row, p50", percentile(commits, 0.5), "ms"),
            Figure("one commit of one row, p99", percentile(commits, 0.99), "ms"),
        ],
        [
            _stage_table(stages, samples),
            Table("Processor time by process at ×60, share of one core", ("process", "%"), usage),
        ],
        [
            f"{len(samples)} decisions, then in turns {len(alone)} without a sweep and {len(beside)} beside one; their "
            "percentiles include those of longer intervals",
            f"in turns without a sweep: p50 {percentile(alone, 0.5):.1f} ms, p99 {percentile(alone, 0.99):.1f} ms",
        ],
    )


async def _decide(window_s: float) -> tuple[list[float], list[dict[str, float]], list[float], list[tuple[str, float]]]:
    """Latencies in ms, stage times of each 1m decision, commit times in ms, and processor shares."""
    async with Replay(sample_options(measured_config(minute=True), speed=_SPEED, serve=True)) as replay:
        await caught_up(replay)
        await asyncio.sleep(_CALM_S)
        first, first_ns = await replay.query(_timed_decisions), time.time_ns()
        usage = Usage(replay.host.processes())
        await asyncio.sleep(window_s)
        table = usage.table()
        last, last_ns = await replay.query(_timed_decisions), time.time_ns()
        rows = await replay.query(lambda conn: conn.fetch(_STAGES, first_ns, last_ns))
        commits = await _commit_times(replay)
        health = await replay.stop_host()
    told = [value for actor in health for value in actor.get("latencies_ms", ())]
    return told[first:last], [dict(row) for row in rows], commits, table


async def _in_turns(window_s: float) -> tuple[list[float], list[float]]:
    """Latencies in ms without a sweep and beside one, each of ``window_s`` in all."""
    parts: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    async with Replay(sample_options(measured_config(minute=True), speed=_SPEED, serve=True)) as replay:
        await caught_up(replay)
        token = (replay.host.data_dir / "secrets" / "api_token").read_text(encoding="utf-8").strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(base_url(replay), headers=headers, raise_for_status=True) as http:
            for sweeping in (False, True) * _TURNS:
                path = await _start_sweep(replay, http) if sweeping else None
                await asyncio.sleep(_CALM_S)
                first = await replay.query(_timed_decisions)
                await asyncio.sleep(window_s / _TURNS)
                parts[sweeping].append((first, await replay.query(_timed_decisions)))
                if path is not None:
                    await _end_sweep(http, path)
        health = await replay.stop_host()
    told = [value for actor in health for value in actor.get("latencies_ms", ())]
    alone, beside = ([value for first, last in parts[kind] for value in told[first:last]] for kind in (False, True))
    return alone, beside


async def _start_sweep(replay: Replay, http: aiohttp.ClientSession) -> str:
    """Start one by the API that takes longer than is measured, and wait until its workers score; its path."""
    async with http.post("/api/v1/sweeps", json=_SWEEP) as answer:
        path: str = (await answer.json())["links"]["self"]
    deadline = time.monotonic() + _PATIENCE_S
    while not json.loads(await fetch(http, path))["tried"]:
        if time.monotonic() > deadline:
            raise MantaError("The sweep did not begin.", fix=f"See {replay.host.data_dir / 'logs'}.")
        await asyncio.sleep(0.1)
    return path


async def _end_sweep(http: aiohttp.ClientSession, path: str) -> None:
    """Stop it and wait until nobody works on it; MantaError when it did not last."""
    if (status := json.loads(await fetch(http, path))["status"]) != "running":
        raise MantaError(f"The sweep was {status} amid the measurement.", fix="See `manta sweep list`.")
    async with http.post(f"{path}/stop"):
        await asyncio.sleep(_CALM_S)


async def _timed_decisions(connection: Connection) -> int:
    """How many decisions came from a live message: as many latencies the execution actor has noted."""
    return int(await connection.fetchval("select count(*) from decisions where received_ns > 0"))


async def _share(speed: float, window_s: float) -> list[tuple[str, float]]:
    async with Replay(sample_options(measured_config(minute=True), speed=speed, serve=True)) as replay:
        await caught_up(replay)
        await asyncio.sleep(_CALM_S)
        usage = Usage(replay.host.processes())
        await asyncio.sleep(window_s)
        return usage.table()


async def _commit_times(replay: Replay) -> list[float]:
    async with Database(replay.host.target, application_name="manta bench") as database:
        async with database.transaction() as connection:
            await connection.execute("create table bench_commits (n int)")
        times = []
        for number in range(_COMMITS):
            began = time.perf_counter()
            async with database.transaction() as connection:
                await connection.execute("insert into bench_commits values ($1)", number)
            times.append((time.perf_counter() - began) * 1000)
        return times


def _stage_table(stages: list[dict[str, float]], samples: list[float]) -> Table:
    """The steps of 1m decisions. A row's time is that of its writing, so a commit counts for the step after it."""
    steps = (
        ("message → minute written by the recorder", "received", "recorded"),
        ("→ decision written by execution", "recorded", "decided"),
        ("message → decision written", "received", "decided"),
    )
    spans = {words: [row[end] - row[start] for row in stages] for words, start, end in steps if stages}
    spans["message → decision committed"] = samples
    rows = [(words, percentile(times, 0.5), percentile(times, 0.99)) for words, times in spans.items()]
    return Table("Where the time goes, ms", ("step", "p50", "p99"), rows)
