"""Backtests over HTTP: asked for, launched once, watched, deleted with everything that is theirs."""

from typing import Any
from uuid import uuid4

import pytest

from tests.serve.conftest import MARKET, Records, Server


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
