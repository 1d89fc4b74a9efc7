"""What the supervisor finds wrong, from the answers of the actors and from storage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from actors.session import Session
from actors.troubles import Standing, Troubles, conditions
from trading.candles import Hole, HoleReason
from trading.config.model import Config
from trading.intervals import MINUTE_MS
from trading.notify.trouble import TroubleWatch
from trading.storage import markets, quality
from trading.storage.database import Connection, Database
from trading.storage.settings import DatabaseTarget
from trading.storage.troubles import read_troubles
from trading.venues.simulator.sample import SAMPLE_MARKET

FINE = Standing([], {"recorder:m:X": 60 * MINUTE_MS, "execution:paper:m:X": 59 * MINUTE_MS}, {}, {})
WELL = [{"actor": "brain", "pid": 7, "ready": True}]


def names(answers: list[dict[str, Any]], standing: Standing = FINE, **more: Any) -> list[str]:
    found = conditions(answers, standing, more.get("restarts", {}), more.get("time_rate", 1.0))
    return [condition.name for condition in found]


def test_a_system_that_is_well_has_no_trouble() -> None:
    assert names(WELL) == []


def test_an_actor_that_is_silent_or_restarts_again_and_again_is_trouble() -> None:
    assert names([{"actor": "brain", "error": "TimeoutError"}]) == ["silent:brain"]
    assert names(WELL, restarts={"feed:m:X": 4}) == ["restarts:feed:m:X"]


def test_holes_are_one_trouble_a_market() -> None:
    holes = [Hole("m:X", at * MINUTE_MS, (at + 2) * MINUTE_MS, HoleReason.MISSING.value) for at in (5, 9)]
    (found,) = conditions(WELL, FINE._replace(holes=holes), {}, 1.0)
    assert (found.name, found.title) == ("hole:m:X", "4 minutes of m:X are missing")
    assert "1970-01-01 00:05:00 UTC" in found.message


def test_a_book_that_stands_still_while_candles_come_is_trouble() -> None:
    halted = FINE._replace(cursors={"recorder:m:X": 60 * MINUTE_MS, "execution:paper:m:X": 40 * MINUTE_MS})
    assert names(WELL, halted) == ["behind:paper:m:X"]
    # A replay that runs sixty times as fast is twenty seconds behind, and one in lockstep is never late.
    assert names(WELL, halted, time_rate=60.0) == []
    assert names(WELL, halted, time_rate=0.0) == []


def test_decisions_that_came_too_late_are_trouble() -> None:
    (found,) = conditions(WELL, FINE._replace(late={"paper": 12}), {}, 1.0)
    assert (found.name, found.title) == ("late:paper", "12 decisions of book paper were not acted on")


def test_messages_that_wait_for_an_hour_are_trouble_unless_their_channel_said_so() -> None:
    def notifier(**channel: Any) -> dict[str, Any]:
        return {"actor": "notifier", "channels": {"discord": {"disabled": None, "waiting": 3, **channel}}}

    assert names([notifier(oldest_age_s=4000)]) == ["channel:discord"]
    assert names([notifier(oldest_age_s=4000, disabled="HTTP 404")]) == []
    assert names([notifier(oldest_age_s=None)]) == []


def test_a_second_venue_that_does_not_answer_is_one_trouble_and_says_what_to_do() -> None:
    def feed(**lender: str) -> dict[str, Any]:
        told = {"market": "m:X", "other": "n:X", "error": "", "unseeded": ""} | lender
        return {"actor": "feed:m:X", "pid": 7, "ready": True, "lender": told}

    assert names([feed(), {"actor": "feed:m:Y", "lender": None}]) == []
    (found,) = conditions([feed(error="HTTP 503.")], FINE, {}, 1.0)
    assert (found.name, found.title, found.stream) == ("lender:m:X", "n:X lends m:X nothing", "m:X")
    assert found.message.startswith("HTTP 503. ")
    assert "history.second" in found.message
    (found,) = conditions([feed(unseeded="HTTP 503.")], FINE, {}, 1.0)
    assert (found.name, found.title) == ("unseeded:m:X", "n:X did not lend the past of m:X")
    assert "manta data download --market m:X" in found.message


async def test_a_second_venue_that_fails_is_told_once_and_once_when_it_answers_again(
    database: DatabaseTarget, tmp_path: Path
) -> None:
    config = Config.model_validate({"markets": [SAMPLE_MARKET], "notify": {"channels": {"log": {"kind": "log"}}}})
    session = Session("s", "n", "venue", 1.0, 0, config, database, "", str(tmp_path))
    lender = {"market": SAMPLE_MARKET, "other": "binance_usdm:BTCUSDT", "unseeded": ""}

    def feed(error: str) -> list[dict[str, Any]]:
        return [{"actor": f"feed:{SAMPLE_MARKET}", "pid": 7, "ready": True, "lender": lender | {"error": error}}]

    async with Database(database) as db:

        async def read(query: Callable[[Connection], Awaitable[Any]]) -> Any:
            return await db.run(query)

        async def commit(_moves: Mapping[str, int], write: Callable[[Connection], Awaitable[None]]) -> None:
            await db.run(write)

        await db.run(_market)
        now = [1_000.0]
        troubles = Troubles(session, read, commit, monotonic=lambda: now[0])
        told: list[list[str]] = []
        for error in ["", *["HTTP 503."] * 3, *[""] * 4, *["HTTP 503."] * 9, *[""] * 8]:
            await troubles.look(feed(error))
            told.append(troubles.open)
            now[0] += 100.0
        alerts = await db.run(lambda conn: conn.fetch("select body from outbox where channel = 'log' order by id"))
    assert [len(open_now) for open_now in told] == [*[0] * 12, *[1] * 7, *[0] * 6], "a hitch is not told"
    first, over = (str(row["body"]) for row in alerts)
    assert f"binance_usdm:BTCUSDT lends {SAMPLE_MARKET} nothing" in first
    assert "Over: " in over


def test_a_strategy_that_fails_is_trouble_until_it_answers() -> None:
    error = "Strategy mine failed on the 5m candle of m:X. Mend it and try it with `manta strategies check mine`."
    failing = [{"actor": "brain", "failing": [["mine-1234", "m:X", "5m", error]]}, *WELL]
    (found,) = conditions(failing, FINE, {}, 1.0)
    assert (found.name, found.stream, found.after_s) == ("strategy:mine-1234:m:X:5m", "m:X", 0.0)
    assert found.title == "mine-1234 fails on the 5m candles of m:X"
    assert found.message.startswith(error)
    watch = TroubleWatch()
    told = [watch.see(mono, 1000, [found] if mono < 60 else []).events for mono in range(0, 600, 10)]
    assert [event.payload["over"] for events in told for event in events] == [False, True]
    assert names([{"actor": "brain", "failing": []}]) == []


async def test_trouble_is_told_and_remembered_in_one_transaction(database: DatabaseTarget, tmp_path: Path) -> None:
    """A supervisor that starts again neither repeats the alert nor forgets that it is open."""
    config = Config.model_validate({"markets": [SAMPLE_MARKET], "notify": {"channels": {"log": {"kind": "log"}}}})
    session = Session("s", "n", "venue", 1.0, 0, config, database, "", str(tmp_path))
    silent = [{"actor": "brain", "error": "TimeoutError"}]
    async with Database(database) as db:

        async def read(query: Callable[[Connection], Awaitable[Any]]) -> Any:
            return await db.run(query)

        async def commit(_moves: Mapping[str, int], write: Callable[[Connection], Awaitable[None]]) -> None:
            await db.run(write)

        await db.run(_market)
        crowd = [*silent, {"actor": "feed", "pid": 1}]
        for troubles in (Troubles(session, read, commit), Troubles(session, read, commit)):
            for pid in (1, 2, 3, 4):
                crowd[1]["pid"] = pid
                await troubles.look(crowd)
            assert troubles.open == ["restarts:feed"]
        assert [trouble.name for trouble in await db.run(read_troubles)] == ["restarts:feed"]
        rows = await db.run(lambda conn: conn.fetch("select kind, dedupe_key from outbox"))
        told = await db.run(lambda conn: conn.fetchval("select count(*) from events where kind = 'alert'"))
    assert [row["kind"] for row in rows] == ["alert"]
    assert told == 1


async def _market(connection: Connection) -> None:
    await connection.execute(
        "insert into markets (venue, symbol, kind, base, quote, price_decimals, size_decimals, tick_size, lot_size,"
        " min_notional) values ('binance', 'BTCUSDT', 'spot', 'BTC', 'USDT', 2, 5, 0.01, 0.00001, 5)"
    )
    assert await quality.open_holes(connection, SAMPLE_MARKET) == []
    assert await markets.read_markets(connection)
