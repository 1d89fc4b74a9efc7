"""Decisions, trades, positions and equity: exact money, live apart from backtests."""

from decimal import Decimal

import pytest

from tests.serve.conftest import MARKET, START_MS, Records, Server
from trading.intervals import MINUTE_MS


async def test_orders_by_stage(server: Server, records: Records) -> None:
    await records.fill(5, "BUY", "entry", 1)
    await records.connection.execute(
        "insert into orders (order_id, leg, book, instance_id, market_id, interval, action, side, status, quote_amount,"
        " created_time, updated_time) select 'lost', 0, book, instance_id, market_id, interval, 'CLOSE_LONG', 'SELL',"
        " 'unknown', 1000.50, created_time + interval '1 minute', updated_time from orders"
    )
    everything = (await server.get("/api/v1/orders"))["items"]
    assert [item["status"] for item in everything] == ["unknown", "filled"]
    [lost] = (await server.get("/api/v1/orders", finished="false"))["items"]
    assert (lost["order_id"], lost["side"], lost["quote_amount"]) == ("lost", "SELL", "1000.5")
    assert [item["status"] for item in (await server.get("/api/v1/orders", finished="true"))["items"]] == ["filled"]
    assert (await server.get("/api/v1/orders", interval="37m"))["items"] == []


async def test_an_entry_that_rests_shows_its_price_and_until_when(server: Server, records: Records) -> None:
    await records.fill(5, "BUY", "entry", 1)
    [plain] = (await server.get("/api/v1/orders"))["items"]
    assert (plain["type"], plain["price"], plain["expires_time"]) == ("MARKET", None, None)
    await records.connection.execute(
        "update orders set type = 'LIMIT', price = 99.50, expires_time = created_time + interval '15 minutes'"
    )
    [rests] = (await server.get("/api/v1/orders"))["items"]
    assert (rests["type"], rests["price"]) == ("LIMIT", "99.5")
    assert rests["expires_time"] - rests["created_time"] == 15 * MINUTE_MS


@pytest.mark.covers("S1-26e")
async def test_decisions_newest_first_with_all_they_saw(server: Server, records: Records) -> None:
    await records.decision(5, ["HOLD"], outcome="hold")
    await records.decision(9, ["CLOSE_LONG", "OPEN_SHORT"], target="SHORT")
    newest, oldest = (await server.get("/api/v1/decisions"))["items"]
    assert newest["actions"] == ["CLOSE_LONG", "OPEN_SHORT"]
    assert newest["close_time"] == START_MS + 10 * MINUTE_MS
    assert set(newest["features"]) == {"ma44"}
    assert isinstance(newest["price"], str)
    assert oldest["outcome"] == "hold"
    assert len((await server.get("/api/v1/decisions", acting="true"))["items"]) == 1
    assert (await server.get("/api/v1/decisions", acting="false"))["items"] == [oldest]
    assert (await server.get("/api/v1/decisions", outcome="late"))["items"] == []
    status, problem = await server.refused("/api/v1/decisions", outcome="perhaps")
    assert (status, problem["field"]) == (422, "outcome")


async def test_backtests_books_show_only_when_named(server: Server, records: Records) -> None:
    await records.connection.execute(
        "insert into books (book, mode, capital, currency) values ('backtest-1', 'backtest', 1000, 'USDT')"
    )
    await records.decision(1, ["OPEN_LONG"], book="backtest-1")
    assert (await server.get("/api/v1/decisions"))["items"] == []
    [found] = (await server.get("/api/v1/decisions", book="backtest-1"))["items"]
    assert found["mode"] == "backtest"
    status, problem = await server.refused("/api/v1/decisions", book="none-such")
    assert (status, problem["field"]) == (404, "book")


@pytest.mark.parametrize("limit", [1, 3, 4])
async def test_decision_pages_with_equal_times_neither_lose_nor_double(
    server: Server, records: Records, limit: int
) -> None:
    for n in range(6):
        await records.decision(37 * (n + 1) - 4, ["HOLD"], outcome="hold")
        await records.decision(n, ["HOLD"], interval="37m", outcome="hold")
    seen: list[str] = []
    cursor = None
    while True:
        answer = await server.get("/api/v1/decisions", limit=limit, **({"cursor": cursor} if cursor else {}))
        seen += [item["decision_id"] for item in answer["items"]]
        await records.decision(1_000 + len(seen), ["HOLD"], outcome="hold")
        if (cursor := answer["next_cursor"]) is None:
            break
    assert len(seen) == len(set(seen)) == 12


async def test_trades_positions_and_equity_keep_every_decimal(server: Server, records: Records) -> None:
    await records.fill(10, "BUY", "entry", 1, quantity="0.00012345")
    await records.fill(20, "SELL", "exit", 1, pnl="1.000000000000000001", quantity="0.00012345")
    await records.fill(30, "BUY", "entry", 2)
    opened, closed = (await server.get("/api/v1/trades", symbol="BTC"))["items"]
    assert (closed["closed"], closed["quantity"], closed["pnl"], closed["fees"]) == (
        True,
        "0.00012345",
        "1.000000000000000001",
        "1",
    )
    assert (opened["closed"], opened["exit_time"], opened["direction"]) == (False, None, "LONG")
    await records.position(40)
    [position] = (await server.get("/api/v1/positions"))["items"]
    assert (position["market"], position["quantity"], position["equity"]) == (MARKET, "0.05", "10120.55")
    await records.equity(30)
    points = (await server.get("/api/v1/equity", step_minutes=10))["items"]
    assert [point["time"] for point in points] == [START_MS + n * MINUTE_MS for n in (10, 20, 30)]
    assert all(
        Decimal(point["cash"]) + Decimal(point["position_value"]) == Decimal(point["equity"]) for point in points
    )


async def test_a_books_equity_sums_its_markets_even_when_one_is_behind(server: Server, records: Records) -> None:
    await records.connection.executemany(
        "insert into equity (book, market_id, time, cash, position_value, equity) values ('paper', $1, at_ms($2),"
        " $3, 0, $3)",
        [(market_id, START_MS + n * MINUTE_MS, Decimal(100 * market_id + n)) for market_id in (1, 2) for n in (1, 2)]
        + [(1, START_MS + 3 * MINUTE_MS, Decimal(103))],
    )
    points = (await server.get("/api/v1/equity"))["items"]
    assert [point["equity"] for point in points] == ["302", "304", "305"]


async def test_a_position_says_whether_an_instance_has_it(server: Server, records: Records) -> None:
    await records.position(40, interval="37m")
    await records.position(40, "0")

    async def states() -> dict[str, str]:
        return {item["interval"]: item["state"] for item in (await server.get("/api/v1/positions"))["items"]}

    assert await states() == {"1m": "active", "37m": "active"}
    await records.connection.execute("update instances set intervals = '{1d}'")
    assert await states() == {"1m": "removed", "37m": "closing"}
    await records.connection.execute('update books set config = config || \'{"on_removed": "keep"}\'')
    assert await states() == {"1m": "removed", "37m": "kept"}
    found = await server.get("/api/v1/health?quiet=true")
    assert [(item["interval"], item["closing"]) for item in found["held"]] == [("37m", False)]
