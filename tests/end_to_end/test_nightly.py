"""The nightly truth inside the running system: every day is checked by night, whatever was killed by day."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from actors.crash import CrashPoint
from actors.stages import REST_S
from backtest.nightly import check_day
from manta.replay import Replay, ReplayOptions
from trading.config.loading import default_config
from trading.config.model import Config
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.storage.database import Database
from trading.storage.parity import day_text
from trading.venues.paper.faults import BrokerFault

pytestmark = pytest.mark.long(5)

MARKET = "binance:BTCUSDT"
BINANCE = "candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
FIRST_MS = 1_747_699_200_000  # 2025-05-20T00:00Z, the first minute of the Binance file
ANSWER_S = 300.0


def lived(folder: Path, shared_data: Path, start_ms: int, days: int, **changes: Any) -> ReplayOptions:
    """The default strategies over some days, from ``start_ms`` until an hour after the last midnight."""
    return ReplayOptions(
        config=changes.pop("config", default_config()),
        symbol="BTCUSDT",
        file=shared_data / BINANCE,
        start_ms=start_ms,
        until_ms=(start_ms // DAY_MS + days) * DAY_MS + HOUR_MS,
        data_dir=folder / "var",
        **changes,
    )


def crash(folder: Path, actor: str, boundary: str, at_ms: int) -> CrashPoint:
    return CrashPoint(actor, boundary, at_ms, "self", str(folder / f"{actor}-{boundary}-{at_ms}".replace(":", "_")))


async def results(replay: Replay, days: int) -> dict[str, Any]:
    """The stored result of each day, once there are ``days`` of them."""
    for _ in range(round(ANSWER_S / 0.2)):
        rows = await replay.query(lambda conn: conn.fetch("select * from parity_runs order by day"))
        if len(rows) >= days:
            return {row["day"].isoformat(): row for row in rows}
        await asyncio.sleep(0.2)
    raise AssertionError(f"{len(rows)} of {days} days were checked")


async def messages(replay: Replay) -> list[tuple[str, str]]:
    rows = await replay.query(
        lambda conn: conn.fetch(
            "select kind, body->'payload'->>'title' as title from outbox"
            " where kind in ('alert', 'parity') order by dedupe_key"
        )
    )
    return [(row["kind"], row["title"]) for row in rows]


async def test_two_days_are_checked_by_night_and_equal_their_backtest(shared_data: Path, tmp_path: Path) -> None:
    """The first day begins in its midst; two actors die; the default configuration trades."""
    start_ms = FIRST_MS + 4 * DAY_MS + 18 * HOUR_MS
    points = (
        crash(tmp_path, "brain", "after_commit", start_ms + 8 * HOUR_MS),
        crash(tmp_path, "execution:paper", "before_commit", start_ms + 20 * HOUR_MS),
    )
    options = lived(tmp_path, shared_data, start_ms, 2, crash_points=points)
    async with Replay(options) as replay:
        await replay.run_to(options.until_ms or 0)
        found = await results(replay, 2)
        told = await messages(replay)
    assert all(Path(point.marker).exists() for point in points)
    days = [day_text(FIRST_MS + n * DAY_MS) for n in (4, 5)]
    assert {day: row["status"] for day, row in found.items()} == dict.fromkeys(days, "identical")
    assert [row["counts"]["marks"] for row in found.values()] == [6 * 60, 1440]
    assert found[days[1]]["counts"]["fills"] > 0
    assert told == [("parity", f"Live = backtest: paper, {day}, identical") for day in days]


async def kill(replay: Replay, actor: str) -> None:
    """SIGKILL the process that holds an actor's lease."""
    owner = await replay.query(lambda conn: conn.fetchval("select owner from leases where name = $1", actor))
    os.kill(int(owner.rpartition("/")[2]), signal.SIGKILL)


@pytest.mark.slow
async def test_a_simulated_week_equals_its_backtest_and_what_is_planted_is_alerted(
    shared_data: Path, tmp_path: Path
) -> None:
    """Eight nights inside the running system. Every actor dies on some day, the supervisor during a night; the wire to
    the venue lies; ten minutes are missing for a while. On the sixth day a stored number is changed.
    """
    start_ms = FIRST_MS + 4 * DAY_MS + 6 * HOUR_MS
    days = [FIRST_MS + n * DAY_MS for n in range(4, 12)]
    actors = ("recorder", f"timeframe:{MARKET}", "brain", "execution:paper")
    points = tuple(
        crash(tmp_path, actor, boundary, days[1 + number % 5] + (3 + 2 * number) * HOUR_MS)
        for number, (actor, boundary) in enumerate(
            [
                *((actor, boundary) for actor in actors for boundary in ("after_read", "after_commit")),
                ("execution:paper", "before_send"),
            ]
        )
    )
    wire = tuple(
        BrokerFault(kind, at_ms=days[2], times=3, parts=3, marker=str(tmp_path / kind))
        for kind in ("lose_answer", "lose_event", "split")
    )
    hole_ms = days[3] + 10 * HOUR_MS
    faults = (
        {"kind": "lose_minutes", "minutes": 10, "at_ms": hole_ms},
        {"kind": "rest_status", "status": 503, "times": 6, "path": "klines", "at_ms": hole_ms},
    )
    options = lived(
        tmp_path, shared_data, start_ms, len(days), lead=120, crash_points=points, broker_faults=wire, faults=faults
    )
    planted_ms = days[5] + 6 * HOUR_MS
    async with Replay(options) as replay:
        await replay.run_to(days[4] + 20 * MINUTE_MS)
        await kill(replay, "supervisor")
        await replay.run_to(planted_ms + HOUR_MS)
        changed = await replay.query(
            lambda conn: conn.execute(
                "update equity set equity = equity + 0.00000001 where time = at_ms($1)", planted_ms
            )
        )
        assert changed == "UPDATE 1"
        await replay.run_to(options.until_ms or 0)
        found = await results(replay, len(days))
        told = await messages(replay)
        unexplained = await replay.query(
            lambda conn: conn.fetch("select *, ms(time) as ms from parity_differences where not explained")
        )
        # What is known of the missing minutes by now explains what was decided without them, and nothing else.
        async with Database(replay.host.target) as database:
            again = {day: (await check_day(database, "paper", day)).run for day in days}
    assert all(Path(point.marker).exists() for point in points)
    assert [row["unexplained"] for row in found.values()] == [0, 0, 0, 0, 0, 1, 0, 0], unexplained[:5]
    assert found[day_text(days[1])]["status"] == found[day_text(days[7])]["status"] == "identical"
    assert all(row["complete"] for row in found.values())
    assert sum(row["counts"]["fills"] for row in found.values()) > 20
    assert [run.unexplained for run in again.values()] == [0, 0, 0, 0, 0, 1, 0, 0]
    assert again[days[3]].status == "explained"

    day = day_text(days[5])
    assert found[day]["status"] == "different"
    [difference] = unexplained
    assert (difference["kind"], difference["field"], difference["ms"]) == ("equity", "equity", planted_ms)
    assert difference["detail"].endswith("equity differs by +0.00000001: the books differ")
    assert [title for kind, title in told if kind == "alert"] == [f"Live differs from the backtest: paper, {day}"]
    assert len(told) == len(days)


@pytest.mark.slow
async def test_a_day_of_reloads_on_two_markets_is_replayed_as_it_was_configured(
    shared_data: Path, tmp_path: Path
) -> None:
    """An instance comes while all capital is bound, gets some when there is more, then other parameters, and goes.

    The last two reloads give the actors no time to finish what they have in hand.
    """
    start_ms = FIRST_MS + 4 * DAY_MS + 16 * HOUR_MS
    stays = {"name": "stays", "strategy": "ma44", "intervals": ["1m", "5m"], "profile": "perp"}
    comes = stays | {"name": "comes", "intervals": ["5m"], "params": {"period": 7}}
    data = default_config().model_dump() | {
        "markets": [MARKET, "binance:ETHUSDT"], "intervals": ["5m"], "features": [], "strategies": [stays],
        "history": {"min_days": 0},
    }  # fmt: skip
    rich = {"paper": data["books"]["paper"] | {"capital": "20000"}}
    changes: list[tuple[int, dict[str, Any]]] = [
        (1, {"strategies": [stays, comes]}),
        (2, {"books": rich}),
        (4, {"strategies": [stays, comes | {"params": {"period": 3}}]}),
        (6, {"strategies": [stays]}),
    ]
    options = lived(
        tmp_path, shared_data, start_ms, 1,
        lead=60, config=Config.model_validate(data), others={"ETHUSDT": shared_data / BINANCE},
    )  # fmt: skip
    async with Replay(options) as replay:
        for hours, changed in changes:
            # Where capital is bound is a matter of minutes; later reloads come amid candles that are under way.
            await replay.run_to(start_ms + hours * HOUR_MS, exactly=hours < 4)
            config = Config.model_validate(replay.host.config.model_dump() | changed)
            await replay.host.reload(config, rest_s=REST_S if hours < 4 else 0.001)
        await replay.run_to(options.until_ms or 0)
        [found] = (await results(replay, 1)).values()
        causes = await replay.query(
            lambda conn: conn.fetch("select distinct kind, cause, split_part(detail, ': ', 2) from parity_differences")
        )
        spells = await replay.query(lambda conn: conn.fetchval("select count(*) from book_configs"))
        transfers = await replay.query(
            lambda conn: conn.fetch("select kind, count(*) from transfers group by kind order by kind")
        )
    # What comes while all capital is bound may not trade, here as in its backtest: held back, which is never equal.
    assert [tuple(row) for row in causes] == [("decision", "risk", "no capital")]
    assert (found["status"], found["complete"], found["unexplained"]) == ("explained", True, 0)
    assert spells == 1 + len(changes)
    assert {row["kind"] for row in transfers} == {"deposit", "funding", "transfer"}
    assert found["counts"]["marks"] == 2 * 8 * 60
