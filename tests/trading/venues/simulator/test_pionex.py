"""The simulator as Pionex: envelopes, pages from the newest on, trades in binary frames, and the ban."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.trading.venues.simulator.rig import MINUTE_MS, Rig, running
from tests.trading.venues.simulator.test_hyperliquid import structure
from trading.candle_columns import CandleColumns
from trading.venues.simulator.server import VenueLimits

SUBSCRIBE = {"op": "SUBSCRIBE", "topic": "TRADE", "symbol": "BTC_USDT"}
FREE = VenueLimits(weight=1000)


def fixtures(shared_data: Path, name: str) -> list[dict[str, Any]]:
    path = shared_data / "messages" / "pionex" / name
    return [json.loads(line) for line in path.read_text().splitlines()]


async def klines(rig: Rig, **query: Any) -> dict[str, Any]:
    status, body, _ = await rig.get(
        "/api/v1/market/klines", **({"symbol": "BTC_USDT", "interval": "1M", "limit": 500} | query)
    )
    assert status == 200
    return body


async def heard(socket: ClientConnection, count: int, key: str = "topic") -> list[dict[str, Any]]:
    """The next ``count`` messages that have ``key``; every frame is binary."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(120):
        while len(found) < count:
            raw = await socket.recv()
            assert isinstance(raw, bytes)
            message = json.loads(raw)
            if key in message:
                found.append(message)
    return found


async def test_answers_look_as_documented(sample: CandleColumns, shared_data: Path) -> None:
    at = sample.start_ms + 700 * MINUTE_MS
    (listed,) = fixtures(shared_data, "rest_symbols_example.jsonl")
    fixture = next(line for line in fixtures(shared_data, "sdk_fixtures.jsonl") if "GetKlines" in line["source"])
    theirs = json.loads(fixture["text"].split("\n", 1)[1])
    async with running(sample, "BTC_USDT", venue="pionex", start_ms=at, limits=FREE) as rig:
        ours = await klines(rig)
        _, symbols, _ = await rig.get("/api/v1/common/symbols", symbols="BTC_USDT", type="SPOT")
        _, unknown, _ = await rig.get("/api/v1/common/symbols", symbols="BTCUSDT")

    assert structure(ours) == structure(theirs)
    assert structure(symbols) == structure(listed["body"])
    assert symbols["data"]["symbols"][0]["basePrecision"] >= 5
    assert unknown["result"] is False
    assert unknown["code"] == "MARKET_INVALID_SYMBOL"
    assert ours["timestamp"] == at


async def test_pages_go_back_from_the_newest(sample: CandleColumns) -> None:
    at = sample.start_ms + 700 * MINUTE_MS
    async with running(sample, "BTC_USDT", venue="pionex", start_ms=at, limits=FREE) as rig:
        rig.simulator.session.position_ms += 10
        newest = (await klines(rig))["data"]["klines"]
        older = (await klines(rig, endTime=newest[-1]["time"] - 1))["data"]["klines"]
        inclusive = (await klines(rig, endTime=newest[-1]["time"], limit=1))["data"]["klines"]
        usual = (await klines(rig, limit="100"))["data"]["klines"]

    times = [row["time"] for row in newest]
    assert times == sorted(times, reverse=True)
    assert times[0] == at, "the open candle is the newest"
    assert (len(newest), len(older)) == (500, 201)
    assert older[0]["time"] == newest[-1]["time"] - MINUTE_MS
    assert inclusive == newest[-1:]
    assert len(usual) == 100


async def test_history_ends_at_the_horizon(sample: CandleColumns) -> None:
    at = sample.end_ms - MINUTE_MS
    async with running(sample, "BTC_USDT", venue="pionex", start_ms=at, limits=FREE) as rig:
        last = (await klines(rig, endTime=at - 9_990 * MINUTE_MS))["data"]["klines"]
        beyond = await klines(rig, endTime=at - 10_000 * MINUTE_MS)

    assert [row["time"] for row in last] == [at - n * MINUTE_MS for n in range(9_990, 10_000)]
    assert beyond["data"]["klines"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": "BTCUSDT"}, "MARKET_INVALID_SYMBOL"),
        ({"interval": "1m"}, "MARKET_PARAMETER_ERROR"),
        ({"interval": "3M"}, "MARKET_PARAMETER_ERROR"),
        ({"limit": 501}, "MARKET_PARAMETER_ERROR"),
        ({"limit": 0}, "MARKET_PARAMETER_ERROR"),
        ({"endTime": "now"}, "MARKET_INVALID_TIME"),
    ],
)
async def test_errors_come_with_status_200(sample: CandleColumns, query: dict[str, Any], code: str) -> None:
    async with running(sample, "BTC_USDT", venue="pionex") as rig:
        body = await klines(rig, **query)

    assert (body["result"], body["code"]) == (False, code)
    assert list(body) == ["result", "code", "message", "timestamp"]


async def test_too_many_requests_are_banned_and_each_more_prolongs_it(sample: CandleColumns) -> None:
    limits = VenueLimits(weight=3, window_s=30.0, ban_s=0.6, ban_step_s=0.3)
    async with running(sample, "BTC_USDT", venue="pionex", limits=limits) as rig:

        async def status() -> int:
            return (await rig.get("/api/v1/market/klines", symbol="BTC_USDT", interval="1M"))[0]

        answers = [await status() for _ in range(6)]
        loop = asyncio.get_running_loop()
        banned_until = loop.time() + 0.6 + 2 * 0.3
        while await status() == 429 and loop.time() < banned_until + 5:
            await asyncio.sleep(0.7)
            rig.simulator.dialect.weights.limit = 1000

    assert answers == [200, 200, 200, 429, 429, 429]
    assert loop.time() >= banned_until - 0.1


async def test_trades_make_the_candles(sample: CandleColumns, shared_data: Path) -> None:
    theirs = [json.loads(line["raw"]) for line in fixtures(shared_data, "ws_captured_20260922.jsonl")]
    async with running(sample, "BTC_USDT", venue="pionex", lead=3, limits=FREE) as rig, rig.connect("") as socket:
        await socket.send(json.dumps(SUBSCRIBE))
        acknowledged, *messages = await heard(socket, 13)
        await socket.send(json.dumps(SUBSCRIBE | {"symbol": "BTCUSDT"}))
        (error,) = await heard(socket, 1, "code")
        rows = (await klines(rig))["data"]["klines"]

    assert structure(acknowledged) == structure(theirs[0])
    assert acknowledged["type"] == "SUBSCRIBED"
    assert structure(messages[0]) == structure(next(each for each in theirs if each.get("topic") == "TRADE"))
    assert {key: error[key] for key in ("type", "code", "message")} == {
        "type": "ERROR",
        "code": "INVALID_SYMBOL",
        "message": "invalid `symbol`",
    }
    trades = [message["data"][0] for message in messages]
    assert len({trade["tradeId"] for trade in trades}) == 12
    for number, row in enumerate(reversed(rows)):
        own = [trade for trade in trades if trade["timestamp"] // MINUTE_MS * MINUTE_MS == row["time"]]
        prices = [float(trade["price"]) for trade in own]
        made = [prices[0], prices[-1], max(prices), min(prices)]
        assert made == [float(row[name]) for name in ("open", "close", "high", "low")], number
        assert sum(float(trade["size"]) for trade in own) == pytest.approx(float(row["volume"]))


async def test_pings_must_be_answered(sample: CandleColumns) -> None:
    limits = VenueLimits(ping_interval_s=0.1)
    async with (
        running(sample, "BTC_USDT", venue="pionex", limits=limits) as rig,
        rig.connect("", ping_interval=None) as answering,
        rig.connect("", ping_interval=None) as silent,
    ):
        for _ in range(6):
            (ping,) = await heard(answering, 1, "op")
            assert ping["op"] == "PING"
            await answering.send(json.dumps({"op": "PONG", "timestamp": ping["timestamp"]}))
        said = await heard(silent, 4, "op")
        with pytest.raises(ConnectionClosed):
            await silent.recv()

    assert [message["op"] for message in said] == ["PING", "PING", "PING", "CLOSE"]


async def test_a_close_is_announced(sample: CandleColumns) -> None:
    async with running(sample, "BTC_USDT", venue="pionex") as rig, rig.connect("") as socket:
        await rig.control.fault("retire")
        (said,) = await heard(socket, 1, "op")
        with pytest.raises(ConnectionClosed):
            await socket.recv()

    assert said["op"] == "CLOSE"
    assert said["note"]


@pytest.mark.parametrize(("kind", "trades"), [("no_ack", 4), ("lose_subscription", 0)])
async def test_a_subscription_may_go_unanswered(sample: CandleColumns, kind: str, trades: int) -> None:
    async with running(sample, "BTC_USDT", venue="pionex", lead=1) as rig, rig.connect("") as socket:
        await rig.control.fault(kind)
        await socket.send(json.dumps(SUBSCRIBE))
        if trades:
            assert all("data" in message for message in await heard(socket, trades))
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.3)
        await socket.send(json.dumps(SUBSCRIBE))
        assert (await heard(socket, 1, "type"))[0]["type"] == "SUBSCRIBED"
