"""Sweeps over HTTP: asked for, launched once, watched, ranked, stopped, deleted; what was launched runs as it is."""

from typing import Any
from uuid import uuid4

import pytest

from backtest.sweep.coordinator import run_sweep
from backtest.sweep.pool import HerePool
from backtest.sweep.request import SweepRequest
from serve.run_schemas import SweepRequest as Body
from tests.serve.conftest import MARKET, START_MS, Records, Server
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

# Two intervals, so that nothing is compiled.
BODY: dict[str, Any] = {
    "strategy": "ma44", "symbol": "BTC", "intervals": ["30m", "60m"], "profile": "perp",
    "grid": {"period": [2, 4, 8]}, "objective": "total_return",
}  # fmt: skip
PATH = "/api/v1/sweeps"


async def send(server: Server, verb: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
    call = server.client.request(verb, server.url + path, json=body, params=query, headers=server.headers)
    async with call as response:
        return response.status, await response.json(content_type=None) if response.status not in (204,) else None


async def test_a_sweep_is_queued_launched_once_run_as_sent_ranked_and_deleted(
    server: Server, records: Records, database: DatabaseTarget
) -> None:
    await records.candles(3 * 1440)
    status, accepted = await send(server, "post", PATH, BODY)
    assert (status, accepted["status"]) == (202, "queued")
    [(run_id, request)] = server.swept
    here = f"{PATH}/{run_id}"
    assert accepted["links"] == {"self": here, "results": f"{here}/results"}
    assert (request["backtest"]["intervals"], request["grid"]) == (["30m", "1h"], {"period": [2, 4, 8]})
    queued = await server.get(here)
    assert (queued["status"], queued["tried"], queued["results"]) == ("queued", 0, None)
    assert (await send(server, "delete", here))[0] == 409
    status, problem = await send(server, "get", f"{here}/report")
    assert (status, problem["field"]) == (409, "run_id")

    async with Database(database, application_name="manta test") as worker:
        result = await run_sweep(worker, run_id, HerePool())
    done = await server.get(here)
    assert (done["status"], done["progress"], done["tried"], done["combos"], done["engine"]) == (
        ("done", 1, 3, 3, "reference")
    )
    assert done["results"]["best"] == result["best"]
    assert "3 combinations were tried" in done["results"]["words"][0]
    assert done["provenance"]["candles"] == 3 * 1440
    [listed] = (await server.get(PATH))["items"]
    assert listed["results"] == {
        "best": result["best"],
        "deflated_sharpe": result["deflated_sharpe"],
        "held": None,
    }
    assert (await server.get(PATH, status="interrupted"))["items"] == []

    ranked = await server.get(f"{here}/results")
    assert (ranked["by"], ranked["tried"], ranked["items"][0]["params"]) == (
        "total_return",
        3,
        result["best"]["params"],
    )
    returns = [item["metrics"]["total_return"] for item in ranked["items"]]
    assert returns == sorted(returns, reverse=True)
    second = await server.get(f"{here}/results", limit="1", offset="1")
    assert second["items"] == ranked["items"][1:2]
    calm = await server.get(f"{here}/results", by="max_drawdown")
    drawdowns = [item["metrics"]["max_drawdown"] for item in calm["items"]]
    assert drawdowns == sorted(drawdowns)
    status, problem = await send(server, "get", f"{here}/results", by="sharp")
    assert (status, problem["field"]) == (422, "by")

    async with server.client.get(f"{server.url}{here}/report") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "default-src 'none'; style-src 'sha256-" in response.headers["Content-Security-Policy"]
        assert "<h2>total return over period" in await response.text()
    assert (await send(server, "post", f"{here}/stop"))[0] == 409
    assert (await send(server, "delete", here))[0] == 204
    reads = [("get", f"{here}{part}") for part in ("", "/results", "/report")]
    for verb, path in (*reads, ("post", f"{here}/stop"), ("delete", here)):
        assert (await send(server, verb, path))[0] == 404, path
    assert await records.connection.fetchval("select count(*) from sweep_results") == 0


async def test_a_sweep_that_waits_can_be_stopped(server: Server, records: Records) -> None:
    _, accepted = await send(server, "post", PATH, BODY)
    here = accepted["links"]["self"]
    assert (await send(server, "post", f"{here}/stop"))[0] == 204
    assert (await server.get(here))["status"] == "stopped"
    assert (await send(server, "delete", here))[0] == 204


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"grid": {"period": []}}, "grid"),
        ({"grid": {}}, "grid"),
        ({"grid": {"perod": [2, 4]}}, "perod"),
        ({"grid": {"period": [2, 0]}}, "period"),
        ({"method": "random"}, "trials"),
        ({"method": "guess"}, "method"),
        ({"objective": "sharp"}, "objective"),
        ({"constraints": ["drawdown<0.3"]}, "constraint"),
        ({"strategy": "macd", "grid": {name: list(range(2, 102)) for name in ("fast", "slow")}}, "grid"),
        ({"symbol": "DOGE"}, "symbol"),
        ({"start": START_MS, "end": START_MS}, "start"),
        ({"typo": 1}, "typo"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_request_names_the_field_and_leaves_nothing(
    server: Server, records: Records, change: dict[str, Any], field: str
) -> None:
    status, problem = await send(server, "post", PATH, BODY | change)
    assert status in (404, 422), problem
    assert problem["field"].split(".")[0] == field
    assert server.swept == []
    assert (await server.get(PATH))["items"] == []


async def test_a_sweep_whose_process_is_silent_is_shown_as_interrupted_and_holds_no_place(
    server: Server, records: Records
) -> None:
    for n in range(5):
        await records.connection.execute(
            "insert into sweeps (run_id, strategy, market, intervals, config, status, heartbeat_at)"
            " values ($1, 'ma44', $2, '{1h}', '{}', 'running', clock_timestamp() - $3 * interval '1 minute')",
            uuid4(),
            MARKET,
            n + 1,
        )
    assert {item["status"] for item in (await server.get(PATH))["items"]} == {"interrupted"}
    for _ in range(4):
        assert (await send(server, "post", PATH, BODY))[0] == 202
    status, problem = await send(server, "post", PATH, BODY)
    assert (status, len(server.swept)) == (409, 4)
    assert "Wait for one to finish" in problem["fix"]


def test_the_api_and_the_command_begin_with_the_same_search() -> None:
    names = ("method", "trials", "halving", "objective", "min_trades", "seed", "holdout")
    shown, read = Body.model_fields, SweepRequest.model_fields
    assert {name: shown[name].default for name in names} == {name: read[name].default for name in names}
