"""Strategies over HTTP: what there is, with ranges and warm-up; own ones by name, and broken ones with their line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backtest.run import BacktestRequest
from serve.run_schemas import Strategies, StrategyText
from tests.serve.conftest import CONFIG, MARKET, Records, Server
from tests.trading.strategies.own import put, text
from trading.storage.settings import DatabaseTarget
from trading.strategies.registry import STRATEGIES, load_strategy

SCALPER = {"ema_fast": 9, "ema_slow": 21, "ema_trend": 50, "atr_period": 14, "rsi_period": 6, "volume_ma_period": 20}


async def test_every_built_in_strategy_is_listed_as_it_is_run(server: Server) -> None:
    answer = await server.get("/api/v1/strategies")
    found = {item["name"]: item for item in answer["items"]}
    assert (list(found), answer["broken"], answer["next_cursor"]) == (list(STRATEGIES), [], None)
    for name, item in found.items():
        strategy = load_strategy(name)
        assert {key: value["default"] for key, value in item["params"].items()} == strategy.params_dict()
        assert all(value["low"] <= value["default"] <= value["high"] for value in item["params"].values())
        assert (item["warmup"], list(item["features"])) == (strategy.warmup, list(strategy.features))
        assert item["summary"]
    assert Strategies.model_validate(answer)
    one = await server.get("/api/v1/strategies/ma44")
    assert StrategyText.model_validate(one)
    assert {key: one[key] for key in found["ma44"]} == found["ma44"]
    assert "def rule(" in one["code"]


@pytest.mark.covers("S4-22")
async def test_the_scalper_begins_with_the_documented_periods(server: Server) -> None:
    params = (await server.get("/api/v1/strategies/scalper"))["params"]
    assert {name: params[name]["default"] for name in SCALPER} == SCALPER


async def test_an_unknown_strategy_is_not_found_and_its_neighbour_named(server: Server) -> None:
    status, problem = await server.refused("/api/v1/strategies/ma4")
    assert (status, problem["field"], problem["fix"]) == (404, "name", "Did you mean 'ma44'?")


async def test_own_strategies_are_listed_run_by_name_and_told_where_they_are_broken(
    database: DatabaseTarget, records: Records, serve_at: Callable[..., Any], tmp_path: Path
) -> None:
    put(tmp_path, mine=f'"""Above a level."""\n{text()}', bad="x = 1\ny =\n", ma44=text())
    async with serve_at(database, CONFIG.model_copy(update={"strategies_folder": tmp_path})) as server:
        answer = await server.get("/api/v1/strategies")
        mine = next(item for item in answer["items"] if item["name"] == "mine")
        assert (mine["kind"], mine["summary"], mine["has"]) == ("your own", "Above a level.", ["rule"])
        bad, taken = sorted(answer["broken"], key=lambda item: item["name"])
        assert (bad["name"], bad["line"], taken["name"], taken["line"]) == ("bad", 2, "ma44", None)
        assert bad["error"].startswith("bad.py, line 2: SyntaxError")
        status, problem = await server.refused("/api/v1/strategies/bad")
        assert (status, problem["fix"]) == (422, "Mend that line.")
        # What is written is what is read: the next answer has the file as it is by then.
        put(tmp_path, mine=text("return LONG"))
        changed = await server.get("/api/v1/strategies/mine")
        assert changed["source_hash"] != mine["source_hash"]

        body = {"strategy": "mine", "symbol": "BTC", "intervals": ["1h"], "params": {"level": 7}}
        url = f"{server.url}/api/v1/backtests"
        async with server.client.post(url, json=body, headers=server.headers) as response:
            assert response.status == 202
        [(_, request)] = server.launched
        assert (request["source"], request["market"]) == (text("return LONG"), MARKET)
        assert BacktestRequest.model_validate(request).params == {"level": 7}
        wrong = {**body, "params": {"level": 0}}
        async with server.client.post(url, json=wrong, headers=server.headers) as response:
            assert (response.status, (await response.json(content_type=None))["field"]) == (422, "level")


async def test_a_strategy_that_never_ends_stops_no_other_request(
    database: DatabaseTarget,
    records: Records,
    serve_at: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serve.shelf._PATIENCE_S", 0.2)
    gate = tmp_path / "open"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists():\n    time.sleep(0.01)\n"
    put(tmp_path, endless=waits + text())
    async with serve_at(database, CONFIG.model_copy(update={"strategies_folder": tmp_path})) as server:
        status, problem = await server.refused("/api/v1/strategies")
        assert (status, problem["field"]) == (409, "strategies_folder")
        assert (await server.get("/api/v1/decisions"))["items"] == []
        gate.touch()
