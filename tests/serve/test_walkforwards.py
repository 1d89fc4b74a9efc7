"""Walk-forwards over HTTP: asked for, launched once, watched, deleted; and what was launched can be run as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backtest.honesty.stored import run_stored_walkforward
from backtest.honesty.walkforward import WalkForwardRequest
from backtest.sweep.pool import HerePool
from serve.run_schemas import WalkforwardRequest
from tests.serve.conftest import CONFIG, MARKET, START_MS, Records, Server
from tests.trading.strategies.own import put, text
from trading.errors import BadInput
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

BODY: dict[str, Any] = {
    "strategy": "ma44", "symbol": "BTC", "intervals": ["30m", "60m"], "profile": "perp",
    "grid": {"period": [2, 4]}, "train": 2, "test": 1, "purge": 0,
}  # fmt: skip
PATH = "/api/v1/walkforwards"


async def ask(server: Server, body: dict[str, Any]) -> tuple[int, Any]:
    async with server.client.post(server.url + PATH, json=body, headers=server.headers) as response:
        return response.status, await response.json(content_type=None)


async def drop(server: Server, run_id: object, **query: str) -> int:
    url = f"{server.url}{PATH}/{run_id}"
    async with server.client.delete(url, params=query, headers=server.headers) as response:
        return response.status


async def test_a_request_is_queued_launched_once_and_runs_as_it_was_sent(
    server: Server, records: Records, database: DatabaseTarget
) -> None:
    await records.candles(4 * 1440)
    status, accepted = await ask(server, BODY)
    assert (status, accepted["status"]) == (202, "queued")
    [(run_id, request)] = server.searched
    assert (str(run_id), request["backtest"]["intervals"], request["grid"]) == (
        accepted["run_id"],
        ["30m", "1h"],
        {"period": [2, 4]},
    )
    queued = await server.get(accepted["links"]["self"])
    assert (queued["status"], queued["results"], queued["config"]) == ("queued", None, request)
    assert await drop(server, run_id) == 409
    page = f"{server.url}{PATH}/{run_id}/report"
    async with server.client.get(page) as response:
        assert (response.status, (await response.json(content_type=None))["field"]) == (409, "run_id")

    # What was launched is what the worker reads.
    async with Database(database, application_name="manta test") as worker:
        result = await run_stored_walkforward(worker, run_id, HerePool())
    done = await server.get(accepted["links"]["self"])
    assert (done["status"], done["progress"]) == ("done", 1)
    assert done["results"]["out_of_sample"] == result["out_of_sample"]
    assert len(done["results"]["folds"]) == 2
    async with server.client.get(page) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "default-src 'none'; style-src 'sha256-" in response.headers["Content-Security-Policy"]
        assert "<h2>Equity out of sample" in await response.text()
    assert done["provenance"]["candles"] == 4 * 1440
    [listed] = (await server.get(PATH))["items"]
    assert listed["results"] == {"out_of_sample": done["results"]["out_of_sample"]}
    assert (await server.get(PATH, status="failed"))["items"] == []

    async with server.client.delete(f"{server.url}{PATH}/{run_id}") as response:
        assert response.status == 401
    assert await drop(server, run_id) == 204
    assert await drop(server, run_id) == 404
    assert (await server.refused(f"{PATH}/{run_id}"))[0] == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"grid": {"period": [2]}}, "grid"),
        ({"grid": {}}, "grid"),
        ({"grid": {"perod": [2, 4]}}, "perod"),
        ({"train": 1}, "train"),
        ({"mode": "sideways"}, "mode"),
        ({"strategy": "ma45"}, "strategy"),
        ({"symbol": "DOGE"}, "symbol"),
        ({"start": START_MS, "end": START_MS}, "start"),
        ({"start": "2025-07-02", "end": "2025-07-01"}, "start"),
        ({"typo": 1}, "typo"),
    ],
)
async def test_a_wrong_request_names_the_field_and_leaves_nothing(
    server: Server, records: Records, change: dict[str, Any], field: str
) -> None:
    status, problem = await ask(server, BODY | change)
    assert status in (404, 422), problem
    assert problem["field"].split(".")[0] == field
    assert server.searched == []
    assert (await server.get(PATH))["items"] == []


async def test_a_worker_that_died_leaves_a_run_that_can_be_deleted(server: Server, records: Records) -> None:
    run_id = uuid4()
    await records.connection.execute(
        "insert into walkforwards (run_id, strategy, market, intervals, config, status, progress)"
        " values ($1, 'ma44', $2, '{1h}', '{}', 'running', 0.3)",
        run_id,
        MARKET,
    )
    assert (await server.get(f"{PATH}/{run_id}"))["progress"] == 0.3
    assert await drop(server, run_id) == 409
    assert await drop(server, run_id, force="true") == 204


async def test_an_own_strategy_that_cheats_is_not_searched(
    database: DatabaseTarget, records: Records, serve_at: Callable[..., Any], tmp_path: Path
) -> None:
    put(tmp_path, lucky=text("return LONG if random.random() > 0.5 else SHORT", imports="import random"))
    async with serve_at(database, CONFIG.model_copy(update={"strategies_folder": tmp_path})) as server:
        status, accepted = await ask(server, BODY | {"strategy": "lucky", "grid": {"level": [1, 2]}})
        assert status == 202
        [(run_id, _)] = server.searched
        async with Database(database, application_name="manta test") as worker:
            with pytest.raises(BadInput, match="by chance"):
                await run_stored_walkforward(worker, run_id, HerePool())
        failed = await server.get(accepted["links"]["self"])
        assert (failed["status"], failed["results"]) == ("failed", None)
        assert "random.random" in failed["error"]
        assert await drop(server, run_id) == 204


async def test_only_a_few_wait_at_once(server: Server, records: Records) -> None:
    for _ in range(4):
        assert (await ask(server, BODY))[0] == 202
    status, problem = await ask(server, BODY)
    assert (status, len(server.searched)) == (409, 4)
    assert "Wait for one to finish" in problem["fix"]


def test_the_api_and_the_command_begin_with_the_same_windows() -> None:
    names = ("mode", "train", "test", "purge", "embargo", "seed", "method", "trials", "objective", "min_trades")
    shown, read = WalkforwardRequest.model_fields, WalkForwardRequest.model_fields
    assert {name: shown[name].default for name in names} == {name: read[name].default for name in names}
