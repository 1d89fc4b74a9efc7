"""REST answers have the venue's shapes, limits and errors."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.trading.venues.simulator.rig import MINUTE_MS, running
from trading.candle_columns import CandleColumns
from trading.venues.simulator.server import VenueLimits


def shape(value: Any) -> Any:
    """The value's structure: keys in order, types, and how many decimals a number's text has."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, str) and "." in value:
        return f"text with {len(value.partition('.')[2])} decimals"
    return type(value).__name__


def recorded(shared_data: Path, name: str) -> list[dict[str, Any]]:
    path = shared_data / "messages" / "binance" / name
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


async def test_klines_look_as_recorded(sample: CandleColumns, shared_data: Path) -> None:
    theirs = next(
        line["body"]
        for line in recorded(shared_data, "rest_recorded.jsonl.gz")
        if line["path"] == "/api/v3/klines" and line["body"] and "1m" in line["query"]
    )
    async with running(sample, "BTCUSDT", start_ms=sample.start_ms + 100 * MINUTE_MS) as rig:
        _, ours, headers = await rig.get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=3)

    assert [shape(row) for row in ours] == [shape(theirs[0])] * 3
    assert all(row[6] == row[0] + MINUTE_MS - 1 for row in ours)
    assert headers["content-type"].startswith("application/json")


async def test_exchange_info_has_the_published_filters(sample: CandleColumns, shared_data: Path) -> None:
    (line,) = recorded(shared_data, "rest_exchangeInfo_spot_202508_BTCUSDT_ETHUSDT.jsonl")
    theirs = {entry["symbol"]: entry for entry in line["body"]["symbols"]}
    day = sample.slice(end_ms=sample.start_ms + 1440 * MINUTE_MS)
    async with running({"BTCUSDT": day, "ETHUSDT": day, "SOLUSDC": day}) as rig:
        _, whole, _ = await rig.get("/api/v3/exchangeInfo")
        _, one, _ = await rig.get("/api/v3/exchangeInfo", symbol="ETHUSDT")
        _, two, _ = await rig.get("/api/v3/exchangeInfo", symbols='["BTCUSDT","SOLUSDC"]')
        refused = await rig.get("/api/v3/exchangeInfo", symbol="XRPUSDT")

    assert list(whole) == ["timezone", "serverTime", "rateLimits", "exchangeFilters", "symbols"]
    assert whole["rateLimits"][0] == {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 6000,
    }
    for entry in whole["symbols"][:2]:
        expected = theirs[entry["symbol"]]
        assert entry["filters"] == expected["filters"]
        assert set(entry) == set(expected)
        assert entry | {"permissionSets": 0} == expected | {"permissionSets": 0}
    assert [entry["symbol"] for entry in one["symbols"]] == ["ETHUSDT"]
    assert [entry["symbol"] for entry in two["symbols"]] == ["BTCUSDT", "SOLUSDC"]
    other = two["symbols"][1]
    assert (other["baseAsset"], other["quoteAsset"]) == ("SOL", "USDC")
    assert other["filters"][0]["tickSize"] == "0.01000000"
    assert refused[:2] == (400, {"code": -1121, "msg": "Invalid symbol."})


async def test_ping_and_time(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig:
        assert (await rig.get("/api/v3/ping"))[:2] == (200, {})
        assert (await rig.get("/api/v3/time"))[:2] == (200, {"serverTime": sample.start_ms})


async def test_paging(sample: CandleColumns) -> None:
    start, now = sample.start_ms, sample.start_ms + 2300 * MINUTE_MS
    async with running(sample, "BTCUSDT", start_ms=now) as rig:
        assert len(await rig.klines()) == 500
        assert [row[0] for row in await rig.klines(limit=5000)] == list(range(now - 1000 * MINUTE_MS, now, MINUTE_MS))
        pages, at = [], start
        while page := await rig.klines(startTime=at, limit=1000):
            pages.append(len(page))
            at = page[-1][0] + 1
        assert pages == [1000, 1000, 300]
        newest = await rig.klines(endTime=start + 9 * MINUTE_MS, limit=3)
        assert [row[0] for row in newest] == [start + n * MINUTE_MS for n in (7, 8, 9)]
        between = await rig.klines(startTime=start + 1, endTime=start + 3 * MINUTE_MS)
        assert [row[0] for row in between] == [start + n * MINUTE_MS for n in (1, 2, 3)]
        assert await rig.klines(startTime=now) == []
        assert await rig.klines(startTime=start + MINUTE_MS, endTime=start) == []


async def test_the_forming_candle_is_the_last_row(sample: CandleColumns) -> None:
    start = sample.start_ms
    async with running(sample, "BTCUSDT", speed=3600) as rig:
        rig.simulator.session.pause()
        rig.simulator.session.run_to(start + 10 * MINUTE_MS + 25_000)
        rows = await rig.klines()
        hours = await rig.klines(interval="1h")

    assert rows[-1][0] == start + 10 * MINUTE_MS
    assert rows[-1][6] > start + 10 * MINUTE_MS + 25_000
    assert [row[0] for row in hours] == [start]
    assert hours[0][4] == rows[-1][4]


async def test_absent_minutes_have_no_row(gapped: CandleColumns) -> None:
    async with running(gapped, "BTCUSD", start_ms=gapped.end_ms - MINUTE_MS) as rig:
        rows = await rig.klines(symbol="BTCUSD", startTime=gapped.start_ms)

    assert [row[0] for row in rows] == gapped.open_time_ms[:-1].tolist()


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ({"symbol": "XXX"}, {"code": -1121, "msg": "Invalid symbol."}),
        ({"interval": "7x"}, {"code": -1120, "msg": "Invalid interval."}),
        ({"interval": "37m"}, {"code": -1120, "msg": "Invalid interval."}),
        (
            {"symbol": "btc usdt"},
            {
                "code": -1100,
                "msg": "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
            },
        ),
        (
            {"startTime": "now"},
            {
                "code": -1100,
                "msg": "Illegal characters found in parameter 'startTime'; legal range is '^[0-9]{1,20}$'.",
            },
        ),
        ({"limit": ""}, {"code": -1105, "msg": "Parameter 'limit' was empty."}),
        ({"limit": "0"}, {"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}),
        ({"timeZone": "5"}, {"code": -1130, "msg": "Data sent for parameter 'timeZone' is not valid."}),
        (
            {"colour": "red"},
            {"code": -1104, "msg": "Not all sent parameters were read; read '2' parameter(s) but was sent '3'."},
        ),
        (
            {"symbol": ""},
            {"code": -1102, "msg": "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."},
        ),
    ],
)
async def test_errors(sample: CandleColumns, query: dict[str, str], body: dict[str, Any]) -> None:
    async with running(sample, "BTCUSDT") as rig:
        status, answer, _ = await rig.get("/api/v3/klines", **({"symbol": "BTCUSDT", "interval": "1m"} | query))

    assert (status, answer) == (400, body)


async def test_weights_are_counted_and_limited(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", limits=VenueLimits(weight=24)) as rig:
        used = []
        for path, query in (("ping", {}), ("klines", {"symbol": "BTCUSDT", "interval": "1m"}), ("exchangeInfo", {})):
            used.append(int((await rig.get(f"/api/v3/{path}", **query))[2]["x-mbx-used-weight-1m"]))
        steps = [later - earlier for earlier, later in zip([0, *used], used, strict=False)]
        if steps != [1, 2, 20]:
            pytest.skip("a minute of the host's clock began in between")
        answers = [await rig.get("/api/v3/ping") for _ in range(2)]

    assert [answer[0] for answer in answers] == [200, 429]
    assert answers[1][1]["code"] == -1003
    assert 1 <= int(answers[1][2]["retry-after"]) <= 60


async def test_unknown_paths(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig:
        assert (await rig.get("/api/v3/nothing"))[0] == 404
        assert (await rig.get("/state"))[0] == 404, "the control port is apart from the venue's protocol"
