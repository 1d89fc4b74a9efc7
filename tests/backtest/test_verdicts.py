"""A result is stored once, told once, and alerts when it has to; by whoever and however often it is made."""

import asyncpg
import pytest

from backtest.verdicts import check_and_store
from tests.backtest.lived import FIRST_DAY, MARKET, SECOND_DAY, THIRD_DAY
from trading.config.model import DiscordChannel, LogChannel, Notify
from trading.errors import DataHole
from trading.intervals import DAY_MS, MINUTE_MS
from trading.nightly import BookReach, DueDay
from trading.storage.database import Database
from trading.storage.parity import MOST_STORED, read_reaches, read_statuses
from trading.storage.settings import DatabaseTarget

NOTIFY = Notify(channels={"log": LogChannel(kind="log"), "phone": DiscordChannel(kind="discord", events=("fill",))})


@pytest.fixture
async def target(lived: asyncpg.Connection, postgres: object) -> DatabaseTarget:
    name = await lived.fetchval("select current_database()")
    return postgres.target.with_database(name)  # type: ignore[attr-defined]


async def check(target: DatabaseTarget, day_ms: int, notify: Notify | None = NOTIFY) -> str:
    async with Database(target) as database:
        return (await check_and_store(database, "paper", day_ms, notify)).run.status


async def messages(lived: asyncpg.Connection) -> list[tuple[str, str, str]]:
    rows = await lived.fetch("select channel, dedupe_key, body->'payload'->>'title' from outbox order by id")
    return [(row[0], row[1], row[2]) for row in rows]


async def test_an_identical_day_is_a_quiet_message(lived: asyncpg.Connection, target: DatabaseTarget) -> None:
    for _ in range(2):
        assert await check(target, SECOND_DAY) == "identical"
    title = "Live = backtest: paper, 2025-06-03, identical"
    assert await messages(lived) == [("log", "parity:paper:2025-06-03:identical", title)]
    [row] = await lived.fetch("select * from parity_runs")
    assert (row["status"], row["complete"], row["explained"], row["unexplained"]) == ("identical", True, 0, 0)
    assert row["counts"]["marks"] == 1440
    assert await lived.fetchval("select count(*) from parity_differences") == 0


async def test_a_difference_alerts_every_channel_once_with_its_cause(
    lived: asyncpg.Connection, target: DatabaseTarget
) -> None:
    noon = SECOND_DAY + DAY_MS // 2
    await lived.execute("update equity set equity = equity + 1, cash = cash + 2 where time = at_ms($1)", noon)
    for _ in range(2):
        assert await check(target, SECOND_DAY) == "different"
    key = "alert:parity:paper:2025-06-03"
    title = "Live differs from the backtest: paper, 2025-06-03"
    assert await messages(lived) == [("log", key, title), ("phone", key, title)]
    text = await lived.fetchval("select body->'payload'->>'message' from outbox limit 1")
    assert text.startswith("1 unexplained, 0 explained. First, 12:00 UTC: equity cash value: cash differs by +2")
    [row] = await lived.fetch("select * from parity_differences")
    assert (row["kind"], row["field"], row["key"], row["explained"]) == ("equity", "cash", f"{MARKET} {noon}", False)

    # What was repaired is checked again by hand: the result is replaced, and nobody is woken.
    await lived.execute("update equity set equity = equity - 1, cash = cash - 2 where time = at_ms($1)", noon)
    assert await check(target, SECOND_DAY, None) == "identical"
    assert await lived.fetchval("select count(*) from parity_differences") == 0
    assert len(await messages(lived)) == 2
    told = await lived.fetch("select kind, payload->>'status', ms(event_time) from events order by seq")
    assert {row[2] for row in told} == {THIRD_DAY}
    assert [row[1] for row in told if row[0] == "parity"] == ["different", "different", "identical"]


async def test_all_differences_are_counted_and_the_first_are_kept(
    lived: asyncpg.Connection, target: DatabaseTarget
) -> None:
    await lived.execute("update equity set cash = cash + 1 where time > at_ms($1)", SECOND_DAY)
    assert await check(target, SECOND_DAY) == "different"
    assert await lived.fetchval("select unexplained from parity_runs") == 1440
    assert await lived.fetchval("select count(*) from parity_differences") == MOST_STORED
    assert await lived.fetchval("select ms(max(time)) from parity_differences") == SECOND_DAY + MOST_STORED * MINUTE_MS


async def test_a_check_that_cannot_be_carried_out_is_told(lived: asyncpg.Connection, target: DatabaseTarget) -> None:
    await lived.execute("update book_configs set config = config || '{\"instances\": [{}]}'")
    with pytest.raises(KeyError):
        await check(target, SECOND_DAY)
    [row] = await lived.fetch("select status, error from parity_runs")
    assert (row["status"], row["error"]) == ("failed", "KeyError: 'markets'")
    assert {key for _, key, _ in await messages(lived)} == {"alert:parity-failed:paper:2025-06-03"}


async def test_what_is_due_is_read_from_the_database(lived: asyncpg.Connection, target: DatabaseTarget) -> None:
    [reach] = await read_reaches(lived)
    assert reach == BookReach("paper", FIRST_DAY + 300 * MINUTE_MS, {MARKET: THIRD_DAY + 5 * MINUTE_MS})
    await check(target, FIRST_DAY)
    await check(target, THIRD_DAY)
    # A day under way is told from where it is, not from its end, which is still to come.
    assert await lived.fetchval("select ms(max(event_time)) from events") == THIRD_DAY + 5 * MINUTE_MS
    assert await read_statuses(lived) == {
        DueDay("paper", FIRST_DAY): "identical", DueDay("paper", THIRD_DAY): "partial",
    }  # fmt: skip


async def test_a_day_that_was_not_lived_leaves_no_result(lived: asyncpg.Connection, target: DatabaseTarget) -> None:
    with pytest.raises(DataHole):
        await check(target, THIRD_DAY + DAY_MS)
    assert await lived.fetchval("select count(*) from parity_runs") == 0
    assert await messages(lived) == []
