"""A lived day equals its replay; what was planted into it is found, and its cause is named."""

from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from backtest.nightly import Verdict, judge, load_day
from tests.backtest.lived import (
    BEGIN,
    CONFIG,
    FIRST_DAY,
    MARKET,
    MINUTES,
    SECOND_DAY,
    THIRD_DAY,
    Life,
)  # fmt: skip
from tests.trading.series import hole
from trading.accounts.broker import EXPIRED
from trading.accounts.execution import OVERTAKEN
from trading.accounts.removal import REMOVED
from trading.accounts.resting import WITHDRAWN
from trading.candles import HoleReason
from trading.config.model import Book, Config, Costs
from trading.config.rules import Entries, Exits
from trading.errors import DataHole
from trading.events import Heal
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS, parse_interval
from trading.storage.candles import upsert_candles
from trading.storage.database import connect
from trading.storage.settings import DatabaseTarget


@pytest.fixture
async def empty(database: DatabaseTarget) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database)
    yield connection
    await connection.close()


async def check(connection: asyncpg.Connection, day_ms: int = SECOND_DAY) -> Verdict:
    return judge(await load_day(connection, "paper", day_ms), 0)


def told(verdict: Verdict) -> list[tuple[str, str | None, str, bool]]:
    return [(item.kind, item.field, item.cause, item.explained) for item in verdict.differences]


async def test_an_untouched_day_is_identical(lived: asyncpg.Connection) -> None:
    for day_ms in (FIRST_DAY, SECOND_DAY):
        run, differences = await check(lived, day_ms)
        assert differences == []
        assert (run.status, run.complete, run.explained, run.unexplained) == ("identical", True, 0, 0)
        assert run.counts["candles"] == 1440
        assert min(run.counts.values()) > 0, run.counts
    assert run.counts["marks"] == 1440
    assert run.counts["signals"] == 1440 + 2 * 39 + 12


async def test_a_day_still_under_way_is_compared_as_far_as_it_came(lived: asyncpg.Connection) -> None:
    run, differences = await check(lived, THIRD_DAY)
    assert (run.status, run.complete, run.reached_ms) == ("explained", False, THIRD_DAY + 5 * MINUTE_MS)
    assert run.counts["candles"] == run.counts["marks"] == 5
    assert [(item.kind, item.cause) for item in differences] == [("span", "downtime")]


@pytest.mark.parametrize("day_ms", [FIRST_DAY - DAY_MS, THIRD_DAY + DAY_MS])
async def test_a_day_that_was_not_lived_is_refused(lived: asyncpg.Connection, day_ms: int) -> None:
    with pytest.raises(DataHole, match="was not running") as caught:
        await check(lived, day_ms)
    assert "from 2025-06-02 to 2025-06-04" in str(caught.value.fix)


PLANTS: list[tuple[str, str, tuple[str, str | None, str], str]] = [
    (
        "a bit of a feature",
        "update features set value = value * (1 + 2::float8 ^ -52::float8)"
        " where (interval, open_time) = ('37m', {late})",
        ("feature", "value", "value"),
        "value differs by 1 unit in the last place",
    ),
    (
        "the confidence of a signal",
        "update signals set confidence = 0.5 where (interval, open_time) = ('1m', {noon})",
        ("signal", "confidence", "value"),
        "the candles or the feature's state differ",
    ),
    (
        "a decision that is gone",
        "delete from decisions where outcome = 'hold' and (interval, open_time) = ('1m', {noon})",
        ("decision", None, "missing"),
        "the live run never did",
    ),
    (
        "a second decision on one candle",
        "insert into decisions select 'doubled', book, instance_id, market_id, interval, open_time + '1 second',"
        " close_time, actions, target, confidence, outcome, reason, price, position_before, features from decisions"
        " where (interval, open_time) = ('1m', {noon})",
        ("decision", None, "extra"),
        "nothing in the candles leads to this decision",
    ),
    (
        "the price of a fill",
        "update fills set price = price + 0.01 where fill_id = (select max(fill_id) from fills where time > {noon})",
        ("fill", "price", "value"),
        "price differs by +0.01",
    ),
    (
        "a fill that is gone",
        "delete from fills where fill_id = (select max(fill_id) from fills where time > {noon})",
        ("fill", None, "missing"),
        "the live run never did",
    ),
    (
        "an order of another size",
        "update orders set quantity = quantity + 1 where order_id = ("
        "select max(order_id) from orders where created_time > {noon})",
        ("order", "quantity", "value"),
        "quantity differs by +1",
    ),
    (
        "funding that was not paid",
        "delete from transfers where kind = 'funding' and time = {noon} + interval '4 hours'",
        ("transfer", None, "missing"),
        "the live run never did",
    ),
    (
        "a mark of the equity",
        "update equity set equity = equity - 0.00000001 where time = {noon}",
        ("equity", "equity", "value"),
        "equity differs by -0.00000001",
    ),
    (
        "a late decision on nothing",
        "insert into decisions select 'invented', book, instance_id, market_id, interval, open_time + '1 second',"
        " close_time, '{{OPEN_LONG}}', 'LONG', confidence, 'late', reason, price, position_before, features"
        " from decisions where (interval, open_time) = ('1m', {noon})",
        ("decision", None, "extra"),
        "suppressed or not",
    ),
]
NOON = SECOND_DAY + DAY_MS // 2


@pytest.mark.parametrize(("statement", "place", "detail"), [plant[1:] for plant in PLANTS], ids=[p[0] for p in PLANTS])
async def test_a_planted_difference_is_found_and_unexplained(
    lived: asyncpg.Connection, statement: str, place: tuple[str, str | None, str], detail: str
) -> None:
    times = {"noon": f"at_ms({NOON})", "late": f"at_ms({parse_interval('37m').open_of(NOON)})"}
    assert not (await lived.execute(statement.format(**times))).endswith(" 0")
    run, differences = await check(lived)
    found = [item for item in differences if (item.kind, item.field, item.cause) == place]
    assert found, told(Verdict(run, differences))
    assert len(differences) == len(found) <= 3
    assert detail in found[0].detail
    assert (run.status, run.unexplained, run.explained) == ("different", len(found), 0)
    assert SECOND_DAY < found[0].time_ms <= THIRD_DAY


async def test_decisions_that_came_too_late_are_explained_and_never_equal(empty: asyncpg.Connection) -> None:
    late = frozenset(range(NOON, NOON + 2 * HOUR_MS, MINUTE_MS))
    await (await Life(empty, late=late).begin()).tell(MINUTES)
    run, differences = await check(empty)
    stored = await empty.fetch("select decision_id, reason from decisions where outcome = 'late'")
    assert {(item.key, item.detail.split(": ", 1)[-1]) for item in differences} == {(row[0], row[1]) for row in stored}
    assert {(item.kind, item.live, item.reference, item.cause) for item in differences} == {
        ("decision", "late", "acted", "late")
    }
    assert (run.status, run.unexplained, run.explained) == ("explained", 0, len(stored))

    # A late decision explains its own silence, not that it saw something else.
    await empty.execute("update decisions set target = 'FLAT' where decision_id = $1", stored[0][0])
    run, differences = await check(empty)
    assert (run.unexplained, run.explained) == (1, len(stored) - 1)
    [odd] = [item for item in differences if not item.explained]
    assert (odd.key, odd.field, odd.cause) == (stored[0][0], "target", "value")


async def test_a_candle_revised_after_it_was_used_explains_what_followed_from_it(lived: asyncpg.Connection) -> None:
    number = (NOON - BEGIN) // MINUTE_MS
    used = MINUTES[number]
    revised = used._replace(close=used.close + 5, high=used.high + 5, revision=1, source="rest")
    assert (await upsert_candles(lived, [revised])).repaired == 1
    run, differences = await check(lived)
    assert (run.status, run.unexplained) == ("explained", 0)
    assert {item.cause for item in differences} == {"revised"}
    assert {item.kind for item in differences} >= {"feature", "signal", "decision", "equity"}
    assert all("2025-06-03 12:00 UTC was revised" in item.detail for item in differences)

    await lived.execute("update equity set equity = equity + 1 where time = at_ms($1)", NOON + HOUR_MS)
    run, differences = await check(lived)
    assert (run.status, run.unexplained) == ("different", 1)
    [odd] = [item for item in differences if not item.explained]
    assert (odd.kind, odd.time_ms, odd.cause) == ("equity", NOON + HOUR_MS, "value")


async def test_a_hole_healed_after_it_was_passed_explains_what_was_decided_without_it(
    empty: asyncpg.Connection,
) -> None:
    first = (NOON - BEGIN) // MINUTE_MS
    gone, waited = MINUTES[first : first + 20], 90
    missing = hole(NOON, len(gone), HoleReason.MISSING)
    life = await Life(empty).begin()
    await life.tell([*MINUTES[:first], missing, *MINUTES[first + 20 : first + waited]])
    run, differences = await check(empty)
    assert (run.unexplained, run.complete) == (0, False)
    assert [item.cause for item in differences] == ["downtime"]

    await life.tell([Heal(MARKET, missing.from_ms, missing.to_ms, tuple(gone), ())])
    await life.tell(MINUTES[first + waited :])
    run, differences = await check(empty)
    assert (run.status, run.unexplained) == ("explained", 0), [item for item in differences if not item.explained][:3]
    assert {item.cause for item in differences} == {"healed"}
    assert {item.kind for item in differences} >= {"signal", "decision", "equity"}
    healed = "from 2025-06-03 12:00 UTC were missing and became known at 2025-06-03 13:30 UTC"
    assert all(healed in item.detail for item in differences)

    await empty.execute(
        "update signals set confidence = 0.25 where interval = '1m' and close_time = at_ms($1)", NOON + 6 * HOUR_MS
    )
    run, differences = await check(empty)
    assert [item.field for item in differences if not item.explained] == ["confidence"]


@pytest.mark.parametrize("late", [80, -40])
async def test_a_heal_that_was_found_in_storage_explains_what_was_decided_until_then(
    empty: asyncpg.Connection, late: int
) -> None:
    """The timeframe actor was away when it was recorded: it handles it when it has caught up, or before that."""
    first = (NOON - BEGIN) // MINUTE_MS
    gone = MINUTES[first : first + 20]
    heal = Heal(MARKET, NOON, NOON + 20 * MINUTE_MS, tuple(gone), ())
    life = await Life(empty).begin()
    await life.tell([*MINUTES[:first], hole(NOON, 20, HoleReason.MISSING), *MINUTES[first + 20 : first + 90]])
    if late > 0:
        await life.record([heal])
        await life.tell(MINUTES[first + 90 : first + 90 + late])
    else:
        await life.record(MINUTES[first + 90 : first + 90 - late])
    await life.tell([heal])
    await life.tell(MINUTES[first + 90 + max(0, late) :])
    held = "select ms(max(close_time)) from signals where status = 'hole' and interval = '37m'"
    assert (await empty.fetchval(held) > NOON + 90 * MINUTE_MS) is (late > 0)
    run, differences = await check(empty)
    assert (run.status, run.unexplained) == ("explained", 0), [item for item in differences if not item.explained][:3]
    assert {item.cause for item in differences} == {"healed"}


async def test_a_revision_that_changed_nothing_they_saw_explains_its_number_alone(lived: asyncpg.Connection) -> None:
    number = (NOON - BEGIN) // MINUTE_MS
    same = MINUTES[number]._replace(revision=1, trade_count=7)
    assert (await upsert_candles(lived, [same])).repaired == 1
    run, differences = await check(lived)
    assert (run.status, run.unexplained) == ("explained", 0)
    assert {(item.kind, item.field, item.cause) for item in differences} == {
        ("signal", "candle_revision", "revised"), ("decision", "candle_revision", "revised"),
    }  # fmt: skip

    await lived.execute("delete from candle_revisions")
    run, differences = await check(lived)
    assert run.unexplained == len(differences) == 2


async def test_a_hole_healed_while_it_was_waited_for_is_no_difference(empty: asyncpg.Connection) -> None:
    first = (NOON - BEGIN) // MINUTE_MS
    gone = MINUTES[first : first + 20]
    missing = hole(NOON, len(gone), HoleReason.MISSING)
    life = await Life(empty).begin()
    await life.tell([*MINUTES[:first], missing, *MINUTES[first + 20 : first + 25]])
    await life.tell([Heal(MARKET, missing.from_ms, missing.to_ms, tuple(gone), ())])
    await life.tell(MINUTES[first + 25 :])
    run, _ = await check(empty)
    assert (run.status, run.explained, run.unexplained) == ("identical", 0, 0)


async def test_a_hole_that_is_still_there_is_replayed_as_a_hole(empty: asyncpg.Connection) -> None:
    first = (NOON - BEGIN) // MINUTE_MS
    life = await Life(empty).begin()
    await life.tell([*MINUTES[:first], hole(NOON, 20, HoleReason.MISSING), *MINUTES[first + 20 :]])
    run, _ = await check(empty)
    assert (run.status, run.counts["candles"]) == ("identical", 1420)
    assert await empty.fetchval("select count(*) from signals where status = 'hole'") > 0


def changed(**values: Any) -> Config:
    """The configuration with other values for its second instance; none takes the instance away."""
    first, second = CONFIG.strategies
    others = (second.model_copy(update=values),) if values else ()
    return CONFIG.model_copy(update={"strategies": (first, *others)})


@pytest.mark.parametrize(
    "config",
    [
        changed(),
        changed(params={"period": 21}),
        changed(book="paper", share=Decimal(3)),
        changed().model_copy(update={"books": {"paper": Book(on_removed="keep")}}),
        CONFIG.model_copy(update={"features": ()}),
        CONFIG.model_copy(
            update={
                "books": {"paper": CONFIG.books["paper"].model_copy(update={"costs": Costs(slippage=Decimal("0.01"))})}
            }
        ),
    ],
    ids=[
        "an instance less",
        "other parameters",
        "another share",
        "an instance less, kept",
        "no features",
        "other costs",
    ],
)
async def test_a_day_whose_configuration_changed_is_replayed_as_it_was_configured(
    empty: asyncpg.Connection, config: Config
) -> None:
    number = (NOON - BEGIN) // MINUTE_MS
    life = await Life(empty).begin()
    await life.tell(MINUTES[:number])
    await life.restart(config, NOON + 3 * MINUTE_MS)
    await life.tell(MINUTES[number:])
    run, differences = await check(empty)
    assert (run.status, run.unexplained) == ("identical", 0), differences[:3]
    assert (await check(empty, THIRD_DAY)).run.unexplained == 0
    assert await empty.fetchval("select count(*) from book_configs") == 2


async def test_exits_that_overtake_orders_and_those_of_what_was_removed_are_replayed(empty: asyncpg.Connection) -> None:
    """Orders are half an hour on their way, over midnight too; at noon one instance goes and leaves its positions."""
    quick, slow = CONFIG.strategies
    exits = Exits(stop_loss_percent=Decimal("0.2"), take_profit_atr=Decimal(8), trailing_stop_atr=Decimal(12))
    config = CONFIG.model_copy(
        update={
            "strategies": (quick.model_copy(update={"exits": exits}), slow),
            "books": {"paper": Book(on_removed="keep", costs=Costs(order_latency_minutes=30))},
        }
    )
    number = (NOON - BEGIN) // MINUTE_MS
    life = await Life(empty, config).begin()
    await life.tell(MINUTES[:number])
    await life.restart(config.model_copy(update={"strategies": (slow,)}), NOON + 3 * MINUTE_MS)
    await life.tell(MINUTES[number:])
    for day_ms in (FIRST_DAY, SECOND_DAY):
        run, differences = await check(empty, day_ms)
        assert run.complete
        # What was decided while an order was open was not acted on, which is told apart and always explained.
        assert {(item.kind, item.field, item.explained) for item in differences} <= {("decision", "outcome", True)}
    assert await empty.fetchval("select count(*) from orders where reason = $1", OVERTAKEN) > 5
    kept = "select count(*) from fills where instance_id like 'quick%' and time >= at_ms($1) and role = 'exit'"
    assert await empty.fetchval(kept + " and reason <> 'decision'", NOON + 40 * MINUTE_MS) > 0


@pytest.mark.parametrize("order_type", ["limit", "stop"])
async def test_entries_that_rest_over_midnight_and_those_of_what_was_removed_are_replayed(
    empty: asyncpg.Connection, order_type: str
) -> None:
    quick, slow = CONFIG.strategies
    entries = Entries.model_validate({"order_type": order_type, "offset_bps": 60, "expires_candles": 7})
    slow = slow.model_copy(update={"entries": entries.model_copy(update={"expires_candles": 39})})
    exits = Exits(stop_loss_percent=Decimal("0.5"), take_profit_percent=Decimal(1))
    quick = quick.model_copy(update={"entries": entries, "exits": exits})
    config = CONFIG.model_copy(update={"strategies": (quick, slow)})
    number = (NOON - BEGIN) // MINUTE_MS
    life = await Life(empty, config).begin()
    await life.tell(MINUTES[:number])
    await life.restart(config.model_copy(update={"strategies": (slow,)}), NOON + 3 * MINUTE_MS)
    await life.tell(MINUTES[number:])
    for day_ms in (FIRST_DAY, SECOND_DAY):
        run, differences = await check(empty, day_ms)
        assert (run.status, run.complete, run.unexplained) == ("identical", True, 0), differences[:3]
    ends = Counter(
        (row["status"], row["reason"])
        for row in await empty.fetch("select status, reason from orders where price is not null")
    )
    assert min(ends["filled", ""], ends["canceled", EXPIRED], ends["canceled", WITHDRAWN]) > 5
    assert ends["canceled", REMOVED] > 0
    over_midnight = (
        "select count(*) from orders where price is not null and created_time < at_ms($1) and updated_time > at_ms($1)"
    )
    assert await empty.fetchval(over_midnight, SECOND_DAY) + await empty.fetchval(over_midnight, THIRD_DAY) > 0


async def test_what_still_followed_the_old_configuration_at_the_change_is_explained(empty: asyncpg.Connection) -> None:
    """The change is noted some minutes before the brain really followed it."""
    number = (NOON - BEGIN) // MINUTE_MS
    life = await Life(empty).begin()
    await life.tell(MINUTES[:number])
    await life.restart(changed(), NOON)
    await life.tell(MINUTES[number:])
    early = NOON - 40 * MINUTE_MS
    await empty.execute(
        "update book_configs set since = at_ms($1), positions = $2 where since = at_ms($3)",
        early,
        {f"brain:{MARKET}": early, f"execution:paper:{MARKET}": early},
        NOON,
    )
    run, differences = await check(empty)
    causes = {item.cause for item in differences if item.time_ms <= early + 10 * MINUTE_MS}
    assert causes == {"config"}
    # What goes on for longer is no changeover any more.
    assert run.unexplained == sum(1 for item in differences if item.time_ms > early + 10 * MINUTE_MS) > 0
