"""``manta reload`` amid a replay: feeds keep their processes and sockets, and who did not change goes on."""

import json
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backtest.compare import compare
from backtest.reference import RunRecords, run_reference
from manta.parity import parity_config
from manta.processes import marked
from manta.replay import Replay, ReplayOptions
from tests.manta.conftest import Place, Running, nothing_left, start_replay
from trading.candle_files import load_candles
from trading.config.model import Config
from trading.instances import history_ms, resolve_instances
from trading.intervals import HOUR_MS, parse_interval
from trading.storage import candles, fold, markets, records
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET, SAMPLE_SYMBOL, SESSION_START_MS

pytestmark = pytest.mark.long(2)


@pytest.fixture(scope="module")
def running(module_place: Place) -> Iterator[Running]:
    with nothing_left(module_place):
        running = start_replay(module_place, minutes=60)
        yield running
        running.stop()


def reload_with(place: Place, **sections: Any) -> Any:
    (place.folder / "reload.json").write_text(json.dumps(sections), encoding="utf-8")
    return place.call("reload", "--json")


def pids(running: Running) -> dict[str, int]:
    """The process of each actor by its kind, such as Brain."""
    found = {p.cmdline()[0]: p.pid for p in marked(running.facts["session_id"]) if p.cmdline()}
    return {name.removeprefix("ray::").partition(".")[0]: pid for name, pid in found.items() if "ray::" in name}


def connections(running: Running) -> int:
    with urllib.request.urlopen(f"{running.facts['venue']['control_url']}/state", timeout=60) as answer:
        return int(json.load(answer)["connections_total"])


def test_feeds_and_recorder_are_not_touched(running: Running) -> None:
    before, sockets = pids(running), connections(running)
    strategies = [
        {"name": "ma44", "strategy": "ma44", "intervals": ["1m", "5m"], "profile": "perp"},
        {"name": "fresh", "strategy": "ma44", "intervals": ["15m"], "params": {"period": 5}, "profile": "perp"},
    ]
    answer = reload_with(running.place, strategies=strategies)
    assert answer.status == 0, answer
    assert (answer.value["added"], answer.value["removed"], answer.value["kept"]) == (["fresh"], [], ["ma44"])
    assert answer.value["new_intervals"] == ["15m"]
    after = pids(running)
    assert connections(running) == sockets
    same = {name for name, pid in before.items() if after.get(name) == pid}
    assert {name.lower() for name in before if name.startswith(("Feed", "Recorder"))} <= {name.lower() for name in same}
    assert not {name for name in same if name.startswith(("Brain", "Execution", "Timeframe"))}
    assert reload_with(running.place, strategies=strategies).value["changed"] == []


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"serve": {"port": 9999}}, "serve.port"),
        ({"strategies": [{"name": "x", "strategy": "nothing"}]}, "strategy"),
        ({"strategies": [{"name": "x", "strategy": "ma44", "params": {"period": 1}}]}, "period"),
        ({"books": {"other": {"capital": 0}}}, "reload.json"),
    ],
)
def test_a_reload_that_cannot_be_says_why_and_changes_nothing(
    running: Running, sections: dict[str, Any], field: str
) -> None:
    before = pids(running)
    answer = reload_with(running.place, **sections)
    assert answer.status == 2
    assert field in answer.value["field"]
    assert answer.value["message"]
    assert pids(running) == before


def test_without_a_running_manta_there_is_nothing_to_reload(place: Place) -> None:
    answer = place.call("reload", "--json")
    assert answer.status != 0
    assert "manta up" in answer.value["fix"]


@pytest.mark.slow
async def test_who_did_not_change_decides_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Three reloads: an instance comes, gets other parameters on a new interval, and goes; one stays all the time."""
    stays = {"name": "stays", "strategy": "ma44", "intervals": ["1m", "5m"], "profile": "perp"}
    comes = stays | {"name": "comes", "intervals": ["5m"], "params": {"period": 7}}
    differs = comes | {"intervals": ["37m"], "params": {"period": 2}}
    alone = Config.model_validate(parity_config("ma44", ["1m", "5m"], "perp").model_dump() | {"strategies": [stays]})
    options = ReplayOptions(config=alone, symbol=SAMPLE_SYMBOL, file=SAMPLE_FILE, start_ms=SESSION_START_MS, lead=60)
    async with Replay(options) as replay:
        for hours, changed in ((2, [stays, comes]), (4, [stays, differs]), (7, [stays])):
            await replay.run_to(SESSION_START_MS + hours * HOUR_MS)
            data = replay.host.config.model_dump() | {"strategies": changed}
            await replay.host.reload(Config.model_validate(data))
        end_ms = SESSION_START_MS + 9 * HOUR_MS
        await replay.run_to(end_ms)
        stored = await replay.query(lambda conn: records.read_run(conn, "paper", upto_ms=end_ms))
        known = await replay.query(markets.read_markets)
        folded = await replay.query(lambda conn: candles.read_candles(conn, SAMPLE_MARKET, "37m"))
        first_ms = await replay.query(lambda conn: candles.first_open(conn, SAMPLE_MARKET, "1m"))
        minutes = await replay.query(
            lambda conn: fold.fold_minutes(conn, SAMPLE_MARKET, "37m", first_ms, folded[-1].close_time_ms)
        )
    [instance] = resolve_instances(alone, SESSION_START_MS)
    history = [
        candle
        for candle in load_candles(SAMPLE_FILE, SAMPLE_MARKET)
        if SESSION_START_MS - history_ms(alone) <= candle.open_time_ms < end_ms
    ]
    reference = run_reference(
        history,
        instances=[instance],
        features=(),
        book_id="paper",
        book=alone.books["paper"],
        markets=known,
        live_from_ms=SESSION_START_MS,
    )
    mine = only(instance.instance_id, stored)
    expected = reference.records
    expected.equity = []
    found = compare(mine, expected)
    assert found.mismatches == 0, found.first_difference
    assert found.decisions > 0
    # The new interval was folded from the first stored minute on, not from the reload on.
    assert [candle[2:12] for candle in folded] == [candle[2:12] for candle in minutes]
    assert folded[0].open_time_ms < SESSION_START_MS
    others = {item.instance_id for item in stored.signals} - {instance.instance_id}
    assert len(others) == 2
    for other in others:
        told = [item for item in stored.signals if item.instance_id == other]
        width = parse_interval(told[0].interval).typical_ms
        assert {b.open_time_ms - a.open_time_ms for a, b in pairwise(told)} == {width}
        assert {item.status for item in told} == {"ready"}


def only(instance_id: str, stored: records.StoredRun) -> RunRecords:
    """What one instance wrote; equity marks are the whole book's, and left out."""

    def own(rows: Any) -> list[Any]:
        return [row for row in rows if row.instance_id == instance_id]

    return RunRecords(
        signals=own(stored.signals),
        decisions=own(stored.decisions),
        orders={order.order_id: order for order in own(stored.orders)},
        fills=own(stored.fills),
        transfers=own(stored.transfers),
        positions=own(stored.positions),
    )
