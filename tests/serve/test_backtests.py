"""Backtests over HTTP: asked for, launched once, watched, deleted with everything that is theirs."""

import re
from base64 import b64encode
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest

from backtest.report.page import page_of
from backtest.report.table import trades_csv
from backtest.run import BacktestRequest, BookRequest, book_of, run_stored
from serve.run_schemas import BacktestTrade
from tests.serve.conftest import CONFIG, MARKET, Records, Server, running
from trading.config.costs import Costs
from trading.config.model import Book, StrategyInstance
from trading.errors import BadInput
from trading.storage import backtests
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget


@pytest.mark.covers("S1-27a")
@pytest.mark.parametrize(
    "body",
    [
        {"symbol": "BTC", "intervals": ["37m", "60m"], "start_date": "2025-01-01"},
        {"strategy": "ma44", "market": MARKET, "intervals": ["37m", "1h"], "start": 1_735_689_600_000},
    ],
)
async def test_a_request_is_queued_and_launched_once(server: Server, records: Records, body: dict[str, Any]) -> None:
    async with server.client.post(f"{server.url}/api/v1/backtests", json=body, headers=server.headers) as response:
        assert response.status == 202
        accepted = await response.json()
        assert response.headers["Location"] == accepted["links"]["self"]
    [(run_id, request)] = server.launched
    assert str(run_id) == accepted["run_id"]
    assert (request["strategy"], request["market"], request["intervals"]) == ("ma44", MARKET, ["37m", "1h"])
    assert (request["start_ms"], request["end_ms"], request["capital"]) == (1_735_689_600_000, None, "10000")
    run = await server.get(accepted["links"]["self"])
    assert (run["status"], run["progress"], run["results"]) == ("queued", 0, None)
    assert [item["run_id"] for item in (await server.get("/api/v1/backtests"))["items"]] == [accepted["run_id"]]


async def test_several_markets_and_instances_are_asked_for_as_one_book(server: Server, records: Records) -> None:
    eth = "binance:ETHUSDT"
    [first] = CONFIG.strategies
    body = {"strategies": [first.name, "macd"], "markets": ["BTC", eth], "capital": "4000", "start": 1_735_689_600_000}
    async with server.client.post(f"{server.url}/api/v1/backtests", json=body, headers=server.headers) as response:
        assert response.status == 202, await response.text()
        accepted = await response.json()
    [(_, request)] = server.launched
    wanted = BookRequest.model_validate(request)
    assert (wanted.markets, wanted.capital, wanted.start_ms) == ((MARKET, eth), 4000, 1_735_689_600_000)
    assert [item.name for item in wanted.strategies] == [first.name, "macd"]
    assert (wanted.strategies[0].params, wanted.strategies[0].intervals) == (first.params, first.intervals)
    run = await server.get(accepted["links"]["self"])
    assert (run["strategy"], run["market"]) == (f"{first.name}, macd", f"{MARKET}, {eth}")


async def test_a_configured_book_runs_with_its_costs_and_capital(database: DatabaseTarget, records: Records) -> None:
    costs = Costs(taker_fee=Decimal("0.002"), slippage=Decimal("0.003"))
    other = StrategyInstance(name="macd", strategy="macd", intervals=("1h",), markets=(MARKET,), book="dear")
    config = CONFIG.model_copy(
        update={
            "books": {**CONFIG.books, "dear": Book(capital=Decimal(777), costs=costs)},
            "strategies": (*CONFIG.strategies, other),
        }
    )
    asked: list[dict[str, Any]] = [
        {"book": "dear"},
        {"book": "dear", "capital": "5", "symbol": "BTC", "start": 1_735_689_600_000},
        {"strategies": ["macd"], "markets": ["BTC"]},
        {"strategies": ["trend", "macd"], "markets": ["BTC"]},
        {"book": "paper"},
    ]
    async with running(database, config) as server:
        for body in asked:
            url = f"{server.url}/api/v1/backtests"
            async with server.client.post(url, json=body, headers=server.headers) as response:
                assert response.status == 202, await response.text()
        whole, part, named, mixed, paper = (BookRequest.model_validate(request) for _, request in server.launched)
        assert (whole.costs, whole.capital, whole.markets) == (costs, 777, (MARKET,))
        assert [(item.name, item.markets) for item in whole.strategies] == [("macd", (MARKET,))]
        assert (part.costs, part.capital, part.start_ms) == (costs, 5, 1_735_689_600_000)
        assert (named.costs, named.capital) == (costs, 10_000)
        assert mixed.costs == Costs()
        assert (paper.costs, paper.markets) == (CONFIG.books["paper"].costs, CONFIG.markets)
        for body, field in (
            ({"book": "none"}, "book"),
            ({"book": "dear", "markets": ["binance:ETHUSDT"]}, "market"),
            ({"book": "dear", "strategies": ["macd"]}, "book"),
            ({"book": "dear", "intervals": ["1h"]}, "book"),
            ({"book": "dear", "params": {"fast": 3}}, "params"),
        ):
            async with server.client.post(url, json=body, headers=server.headers) as response:
                assert response.status == 422
                assert (await response.json(content_type=None))["field"] == field
        assert len(server.launched) == len(asked)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"markets": ["BTC"], "symbol": "BTC"}, "markets"),
        ({"markets": ["BTC", "DOGE"]}, "market"),
        ({"markets": ["BTC", MARKET]}, "market"),
        ({"markets": []}, "markets"),
        ({"strategies": ["macd", "macd"], "symbol": "BTC"}, "strategy"),
        ({"strategies": ["macd", "ma45"], "symbol": "BTC"}, "strategy"),
        ({"strategies": ["macd"], "strategy": "ma44", "symbol": "BTC"}, "strategies"),
        ({"strategies": ["macd", "ma44"], "symbol": "BTC", "params": {"period": 9}}, "params"),
    ],
)
async def test_a_wrong_book_names_the_field_and_leaves_nothing(
    server: Server, body: dict[str, Any], field: str
) -> None:
    async with server.client.post(f"{server.url}/api/v1/backtests", json=body, headers=server.headers) as response:
        assert response.status in (404, 422)
        assert (await response.json(content_type=None))["field"] == field
    assert server.launched == []


@pytest.mark.covers("S4-21")
async def test_the_scalper_is_asked_for_with_its_documented_market_and_candles(
    server: Server, records: Records
) -> None:
    body = {"strategy": "scalper", "symbol": "BTC/USDT", "intervals": ["1m", "5m"]}
    async with server.client.post(f"{server.url}/api/v1/backtests", json=body, headers=server.headers) as response:
        assert response.status == 202
    [(_, request)] = server.launched
    assert (request["strategy"], request["market"], request["intervals"]) == ("scalper", MARKET, ["1m", "5m"])


@pytest.mark.covers("S1-27a")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"symbol": "BTC", "capital": -5}, "capital"),
        ({"symbol": "BTC", "intervals": ["7x"]}, "intervals"),
        ({"symbol": "BTC", "intervals": []}, "intervals"),
        ({"symbol": "BTC", "strategy": "ma45"}, "strategy"),
        ({"symbol": "BTC", "start_date": "soon"}, "start"),
        ({"symbol": "BTC", "typo": 1}, "typo"),
        ({"symbol": "DOGE"}, "symbol"),
        ({}, "market"),
    ],
)
async def test_a_wrong_request_names_the_field_and_leaves_nothing(
    server: Server, body: dict[str, Any], field: str
) -> None:
    async with server.client.post(f"{server.url}/api/v1/backtests", json=body, headers=server.headers) as response:
        assert response.status in (404, 422)
        problem = await response.json(content_type=None)
    assert problem["field"] == field
    assert server.launched == []
    assert (await server.get("/api/v1/backtests"))["items"] == []


@pytest.mark.covers("S1-26f", "S1-28")
async def test_a_finished_run_is_read_and_deleted_with_its_book_only(server: Server, records: Records) -> None:
    run_id = uuid4()
    book = f"backtest-{run_id}"
    await records.connection.execute(
        "insert into books (book, mode, capital, currency) values ($1, 'backtest', 1, 'USDT')", book
    )
    await records.connection.execute(
        "insert into backtest_runs (run_id, book, strategy, market, intervals, config, status, progress, results)"
        " values ($1, $2, 'ma44', $3, '{37m}', '{}', 'running', 0.5, $4)",
        run_id,
        book,
        MARKET,
        {"sharpe": 1.25},
    )
    await records.decision(1, ["OPEN_LONG"], book=book)
    await records.fill(2, "BUY", "entry", 1, book=book)
    await records.decision(1, ["OPEN_LONG"])
    path = f"{server.url}/api/v1/backtests/{run_id}"
    run = await server.get(f"/api/v1/backtests/{run_id}")
    assert (run["progress"], run["results"]) == (0.5, {"sharpe": 1.25})
    async with server.client.delete(path, headers=server.headers) as response:
        assert response.status == 409
    await records.connection.execute("update backtest_runs set status = 'done'")
    async with server.client.delete(path) as response:
        assert response.status == 401
    async with server.client.delete(path, headers=server.headers) as response:
        assert response.status == 204
    assert (await server.refused(f"/api/v1/backtests/{run_id}"))[0] == 404
    assert await records.connection.fetchval("select count(*) from fills") == 0
    assert [item["book"] for item in (await server.get("/api/v1/decisions"))["items"]] == ["paper"]


async def test_an_id_that_is_none_is_named(server: Server) -> None:
    status, problem = await server.refused("/api/v1/backtests/17")
    assert (status, problem["field"]) == (422, "run_id")


async def finished(records: Records, target: DatabaseTarget, days: int = 2) -> tuple[UUID, dict[str, Any]]:
    """A run of ma44 over ``days`` of candles, stored as the worker stores it; its id and its report."""
    await records.candles(days * 1440)
    run_id = uuid4()
    request = BacktestRequest(strategy="ma44", market=MARKET, intervals=("7m",))
    async with Database(target, application_name="manta test") as worker:
        await worker.run(
            lambda connection: backtests.queue(
                connection,
                run_id,
                book=book_of(run_id),
                strategy="ma44",
                market=MARKET,
                intervals=("7m",),
                config=request.model_dump(mode="json"),
            )
        )
        await run_stored(worker, run_id, request)
    report = await records.connection.fetchval("select report from backtest_runs where run_id = $1", run_id)
    return run_id, report


@pytest.mark.covers("S1-28")
async def test_trades_are_paged_and_written_as_csv(server: Server, records: Records, database: DatabaseTarget) -> None:
    run_id, report = await finished(records, database)
    path = f"/api/v1/backtests/{run_id}/trades"
    seen: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = await server.get(path, **query)
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == len(report["trades"]) > 4
    for item, trade in zip(seen, reversed(report["trades"]), strict=True):
        assert (item["entry_time"], item["pnl"], item["return"]) == (trade["entry_ms"], trade["pnl"], trade["return_"])
    assert all(BacktestTrade.model_validate(item, strict=True) for item in seen)
    url = server.url + path
    texts = []
    for address, headers in ((url, {"Accept": "text/csv"}), (f"{url}.csv", {})):
        async with server.client.get(address, headers=headers) as response:
            assert (response.status, response.content_type) == (200, "text/csv")
            texts.append(await response.text())
    assert texts[0] == texts[1] == trades_csv(report)
    # A browser that takes anything gets what the document says.
    async with server.client.get(url, headers={"Accept": "text/html,application/json;q=0.9,*/*"}) as response:
        assert response.content_type == "application/json"


async def test_the_report_is_the_page_of_the_command_under_a_policy_that_lets_it_be_seen(
    server: Server, records: Records, database: DatabaseTarget
) -> None:
    run_id, report = await finished(records, database)
    async with server.client.get(f"{server.url}/api/v1/backtests/{run_id}/report") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        page, policy = await response.text(), response.headers["Content-Security-Policy"]
    provenance = await records.connection.fetchval("select provenance from backtest_runs")
    assert page == page_of(report, provenance, str(run_id))
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy
    assert " style=" not in page


@pytest.mark.parametrize("part", ["trades", "trades.csv", "report"])
async def test_a_run_without_a_report_says_why(server: Server, records: Records, part: str) -> None:
    run_id = uuid4()
    await records.connection.execute(
        "insert into backtest_runs (run_id, book, strategy, market, intervals, config, status, error)"
        " values ($1, 'b', 'ma44', $2, '{7m}', '{}', 'failed', 'No candles.')",
        run_id,
        MARKET,
    )
    status, problem = await server.refused(f"/api/v1/backtests/{run_id}/{part}")
    assert (status, problem["field"], problem["fix"]) == (409, "run_id", "Run it again.")
    assert "is failed" in problem["detail"]
    assert "No candles." in problem["detail"]
    await records.connection.execute("update backtest_runs set status = 'done', error = ''")
    assert "before reports were stored" in (await server.refused(f"/api/v1/backtests/{run_id}/{part}"))[1]["detail"]
    await records.connection.execute("update backtest_runs set status = 'running'")
    assert "Wait" in (await server.refused(f"/api/v1/backtests/{run_id}/{part}"))[1]["fix"]
    assert (await server.refused(f"/api/v1/backtests/{uuid4()}/{part}"))[0] == 404


@pytest.mark.covers("S1-28")
async def test_a_deleted_run_leaves_no_row_in_any_table_and_others_stay(
    server: Server, records: Records, database: DatabaseTarget
) -> None:
    run_id, _ = await finished(records, database)
    book = book_of(run_id)
    await records.decision(1, ["OPEN_LONG"])
    await records.connection.execute("insert into lot_extremes values ($1, 'ma44-1', 1, '7m', 1, at_ms(0), 2, 1)", book)
    rows = await records.connection.fetch(
        "select c.table_name from information_schema.columns c join information_schema.tables t using (table_name)"
        " where c.column_name = 'book' and t.table_type = 'BASE TABLE' and t.table_schema = 'public'"
    )
    tables = [row[0] for row in rows]

    async def left() -> dict[str, int]:
        counts = {
            table: await records.connection.fetchval(f"select count(*) from {table} where book = $1", book)
            for table in tables
        }
        return {table: count for table, count in counts.items() if count}

    assert {"backtest_runs", "books", "decisions", "orders", "fills", "equity", "lot_extremes"} <= set(await left())
    async with server.client.delete(f"{server.url}/api/v1/backtests/{run_id}", headers=server.headers) as response:
        assert response.status == 204
    assert await left() == {}
    assert [item["book"] for item in (await server.get("/api/v1/decisions"))["items"]] == ["paper"]


async def test_a_run_deleted_while_it_runs_stores_nothing(
    server: Server, records: Records, database: DatabaseTarget
) -> None:
    await records.candles(600)
    request = BacktestRequest(strategy="ma44", market=MARKET, intervals=("7m",))
    async with Database(database, application_name="manta test") as worker:
        with pytest.raises(BadInput, match="was deleted while it ran"):
            await run_stored(worker, uuid4(), request)
    assert await records.connection.fetchval("select count(*) from books where mode = 'backtest'") == 0
    assert await records.connection.fetchval("select count(*) from fills") == 0
