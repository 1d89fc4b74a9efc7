"""Records survive the way into the database and back, exactly, and repeats change nothing (I6)."""

from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest

from tests.trading.storage.conftest import BTC, MARKET, MINUTE, START
from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, Transfer
from trading.brain import FeatureValue
from trading.config.model import Book
from trading.errors import BadInput
from trading.events import Signal
from trading.instances import Instance
from trading.plan import NO_PLAN, Lot, Plan
from trading.storage import records
from trading.storage.candles import upsert_candles
from trading.storage.markets import market_id, market_ids, remember_markets, upsert_market

SLEEVE = {"book": "paper", "instance_id": "a-1", "market": MARKET, "interval": "37m"}
DECISION = Decision(
    decision_id="d1", **SLEEVE, open_ms=START, close_ms=START + 37 * MINUTE, actions=("CLOSE_LONG", "OPEN_SHORT"),
    target="SHORT", confidence=0.1 + 0.2, outcome="acted", reason="", price=Decimal("64123.45678901"),
    position_before=Decimal("-0.00001"), features={"sma": 1 / 3, "other": None}, candle_revision=2, received_ns=7**20,
)  # fmt: skip
ORDER = Order(
    order_id="o1", decision_id="d1", leg=0, **SLEEVE, action="CLOSE_LONG", side="SELL", type="MARKET",
    quantity=Decimal("0.00017"), quote_amount=None, status="intent", reason="", created_ms=START, updated_ms=START,
)  # fmt: skip
FILL = Fill(
    fill_id="o1:1", order_id="o1", **SLEEVE, trade_no=3, role="exit", side="SELL", price=Decimal("1E+2"),
    quantity=Decimal("0.00017"), fee=Decimal("0.0000000000000000000000000000000000123456"), fee_asset="USDT",
    slippage=Decimal(0), realized_pnl=Decimal("-1.23456789012345678901234567890123456789"), reason="", time_ms=START,
)  # fmt: skip
POSITION = Position(
    **SLEEVE, quantity=Decimal(0), entry_price=None, entry_ms=None, cash=Decimal(100), mark=None,
    equity=Decimal(100), as_of_ms=START,
)  # fmt: skip
TRANSFER = Transfer("t1", **SLEEVE, kind="deposit", amount=Decimal(10_000), currency="USDT", time_ms=START)
MARK = EquityMark("paper", MARKET, START, Decimal(1), Decimal(-2), Decimal(-1))
SIGNAL = Signal(
    "a-1", MARKET, "37m", START, START + 37 * MINUTE, "LONG", 0.7, "ready", 44, 44, 64_123_45678901,
    {"sma": 2 / 3}, 1, 5,
)  # fmt: skip
INSTANCE = Instance(
    "a-1", "a", "ma44", {"period": 44}, "perp", (MARKET,), ("37m",), "paper", Decimal(1), Decimal(1), Decimal(1), START
)  # fmt: skip


@pytest.fixture
async def book(connection: asyncpg.Connection) -> asyncpg.Connection:
    await records.upsert_book(connection, "paper", Book())
    await records.upsert_instances(connection, [INSTANCE])
    return connection


@pytest.mark.covers("S1-18")
async def test_everything_comes_back_as_it_was(book, minute) -> None:
    value = FeatureValue(MARKET, "1m", "sma", START, START + MINUTE, None, {"period": 44}, 3, 44)
    for times in (1, 0):
        assert await records.insert_signals(book, [SIGNAL]) == times
        assert await records.insert_decisions(book, [DECISION]) == times
        assert await records.upsert_orders(book, [ORDER]) == times
        assert await records.insert_fills(book, [FILL]) == times
        assert await records.insert_transfers(book, [TRANSFER]) == times
        await records.upsert_positions(book, [POSITION])
        await records.upsert_equity(book, [MARK])
        await records.insert_features(book, [value])
        await upsert_candles(book, [minute(0)])
    run = await records.read_run(book, "paper", upto_ms=START + 37 * MINUTE)
    assert run == records.StoredRun(
        signals=[SIGNAL],
        features=[records.StoredFeature(MARKET, "1m", "sma", START, None, {"period": 44})],
        decisions=[DECISION], orders=[ORDER], fills=[FILL], transfers=[TRANSFER], positions=[POSITION], equity=[MARK],
    )  # fmt: skip
    assert all(not part for part in await records.read_run(book, "other", upto_ms=START - 1))


async def test_a_plan_comes_back_to_the_last_bit(book) -> None:
    whole = Plan(
        0.1 + 0.2, 1 / 3, 0.25, "dip", ("2 % below the peak", "rsi 28"),
        (Lot(START, 0, True, 0.1, 25.0, 1 / 7), Lot(START, 1, True, 0.1, 0.0, 0.3, None, 2.5)), (1 / 3, 4, True),
    )  # fmt: skip
    plans = [whole, Plan(lots=()), Plan(state=(0.0,)), Plan(stop_distance=1e-8), NO_PLAN]
    told = [SIGNAL._replace(open_time_ms=START + n, plan=plan) for n, plan in enumerate(plans)]
    await records.insert_signals(book, told)
    assert await records.read_signals(book, "paper") == told


async def test_no_record_at_all_is_no_statement(book) -> None:
    assert await records.insert_decisions(book, []) == 0
    assert await records.insert_signals(book, []) == 0


@pytest.mark.covers("S1-32")
async def test_the_first_decision_of_a_key_holds(book) -> None:
    await records.insert_decisions(book, [DECISION])
    assert await records.insert_decisions(book, [replace(DECISION, decision_id="d2", target="LONG")]) == 0
    assert await records.read_decisions(book, "paper") == [DECISION]


async def test_an_order_ends_once(book) -> None:
    await records.insert_decisions(book, [DECISION])
    filled = replace(ORDER, status="filled", updated_ms=START + MINUTE)
    await records.upsert_orders(book, [ORDER])
    assert await records.read_unfinished_orders(book, "paper") == [ORDER]
    assert await records.upsert_orders(book, [ORDER, filled]) == 1
    assert await records.upsert_orders(book, [replace(filled, status="rejected"), ORDER]) == 0
    assert await records.read_orders(book, "paper") == [filled]
    assert await records.read_unfinished_orders(book, "paper") == []


async def test_an_order_never_goes_back_to_an_earlier_stage(book) -> None:
    await records.insert_decisions(book, [DECISION])
    stages = [replace(ORDER, status=status) for status in ("intent", "unknown", "open", "partial")]
    for number, order in enumerate(stages):
        assert await records.upsert_orders(book, [order]) == 1
        for earlier in stages[: number + 1]:
            assert await records.upsert_orders(book, [earlier]) == 0
        assert await records.read_unfinished_orders(book, "paper") == [order]
    more = replace(stages[-1], quantity=Decimal("0.0002"), updated_ms=START + MINUTE)
    assert await records.upsert_orders(book, [more]) == 1
    canceled = replace(more, status="canceled", reason="asked to")
    assert await records.upsert_orders(book, [canceled]) == 1
    assert await records.upsert_orders(book, [replace(more, updated_ms=START + 2 * MINUTE)]) == 0
    assert await records.read_orders(book, "paper") == [canceled]


async def test_an_older_standing_never_replaces_a_newer_one(book) -> None:
    newer = replace(POSITION, quantity=Decimal("1.50"), entry_price=Decimal(3), entry_ms=START, as_of_ms=START + MINUTE)
    await records.upsert_positions(book, [POSITION, newer])
    await records.upsert_positions(book, [POSITION])
    assert await records.read_positions(book, "paper") == [newer]


async def test_fills_of_one_moment_come_in_the_order_of_their_trades(book) -> None:
    await records.insert_decisions(book, [DECISION])
    await records.upsert_orders(book, [ORDER, replace(ORDER, order_id="o0", leg=1)])
    opening = replace(FILL, fill_id="o0:1", order_id="o0", trade_no=4, role="entry")
    await records.insert_fills(book, [opening, FILL])
    assert await records.read_fills(book, "paper") == [FILL, opening]


async def test_instances_keep_the_time_since_which_they_decide(book) -> None:
    other = replace(INSTANCE, instance_id="b-2", name="b", live_from_ms=START + 5)
    await records.upsert_instances(book, [replace(INSTANCE, live_from_ms=START + 99), other])
    assert await records.live_from(book) == {"a-1": START, "b-2": START + 5}
    await records.upsert_instances(book, [other])
    rows = await book.fetch("select instance_id, active from instances order by 1")
    assert [tuple(row) for row in rows] == [("a-1", False), ("b-2", True)]


@pytest.mark.covers("S1-31")
async def test_a_rebuilt_feature_replaces_the_old_value(book, minute) -> None:
    value = FeatureValue(MARKET, "1m", "sma", START, START + MINUTE, 1.0, {"period": 2}, 2, 2)
    await upsert_candles(book, [minute(0)])
    await records.insert_features(book, [value, value._replace(value=0.1 + 0.2)])
    (stored,) = await records.read_features(book)
    assert stored.value == 0.1 + 0.2


async def test_all_that_a_book_tells_is_stored_together_and_repeats_change_nothing(
    connection: asyncpg.Connection,
) -> None:
    """Orders and fills refer to rows of the same statement; of repeats in one call the last counts."""
    await records.upsert_book(connection, "paper", Book())
    newer = replace(POSITION, quantity=Decimal(2), as_of_ms=START + MINUTE)
    told = [DECISION, ORDER, replace(ORDER, status="filled"), FILL, TRANSFER, MARK]
    for _ in range(2):
        await records.store_records(connection, told, [POSITION, newer])
        assert await records.read_decisions(connection, "paper") == [DECISION]
        assert [order.status for order in await records.read_orders(connection, "paper")] == ["filled"]
        assert await records.read_fills(connection, "paper") == [FILL]
        assert await records.read_transfers(connection, "paper") == [TRANSFER]
        assert await records.read_equity(connection, "paper") == [MARK]
        assert [row.quantity for row in await records.read_positions(connection, "paper")] == [Decimal(2)]
    await records.store_records(connection, [], [])


async def test_the_numbers_of_stored_markets_are_remembered_and_new_ones_asked_for(
    connection: asyncpg.Connection,
) -> None:
    await remember_markets(connection)
    number = await market_id(connection, MARKET)
    other = await upsert_market(connection, replace(BTC, symbol="ETHUSDT"))
    assert await market_ids(connection, [MARKET, "binance:ETHUSDT"]) == {MARKET: number, "binance:ETHUSDT": other}
    with pytest.raises(BadInput, match="not in the database"):
        await market_id(connection, "binance:SOLUSDT")
