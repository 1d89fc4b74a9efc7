"""The simulator as Hyperliquid: shapes as recorded, one socket for all, and what ends it."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError

from tests.trading.venues.simulator.rig import MINUTE_MS, Rig, running
from trading.candle_columns import CandleColumns
from trading.venues.simulator.server import VenueLimits

GREETING = "Websocket connection established."
CANDLE = {"type": "candle", "coin": "BTC", "interval": "1m"}


def structure(value: Any) -> Any:
    """Names and types, whatever the order of the names: the venue's own varies."""
    if isinstance(value, dict):
        return {name: structure(each) for name, each in sorted(value.items())}
    if isinstance(value, list):
        return [structure(each) for each in value[:1]]
    return type(value).__name__


def captured(shared_data: Path) -> list[dict[str, Any]]:
    path = shared_data / "messages" / "hyperliquid" / "ws_captured_2026.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def recorded(shared_data: Path, name: str, request: str) -> Any:
    path = shared_data / "messages" / "hyperliquid" / name
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        message = json.loads(line)
        if request in message["request"] and "mainnet" not in message["request"]:
            return json.loads(message["raw"])
    raise AssertionError(f"{name} has no {request}")


async def info(rig: Rig, **body: Any) -> tuple[int, Any, dict[str, str]]:
    return await rig.post("/info", body)


async def snapshot(rig: Rig, coin: str = "BTC", interval: str = "1m", **times: int) -> list[dict[str, Any]]:
    status, rows, _ = await info(rig, type="candleSnapshot", req={"coin": coin, "interval": interval, **times})
    assert status == 200, rows
    return rows


async def subscribed(socket: ClientConnection, **changes: Any) -> str:
    """Subscribe; return the answer: the first text that is neither greeting nor candle."""
    await socket.send(json.dumps({"method": "subscribe", "subscription": CANDLE | changes}))
    return await answer(socket)


async def answer(socket: ClientConnection) -> str:
    async with asyncio.timeout(120):
        while True:
            text = str(await socket.recv())
            if text != GREETING and '"channel":"candle"' not in text:
                return text


async def candles(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(120):
        while len(found) < count:
            text = str(await socket.recv())
            if '"channel":"candle"' in text:
                found.append(json.loads(text)["data"])
    return found


async def test_messages_look_as_captured(sample: CandleColumns, shared_data: Path) -> None:
    theirs = {message["note"]: message["raw"] for message in captured(shared_data)}
    async with running(sample, "BTC", venue="hyperliquid", lead=2) as rig, rig.connect("") as socket:
        assert await socket.recv() == GREETING
        acknowledged = await subscribed(socket)
        frames = await candles(socket, 4)
        await socket.send('{"method":"ping"}')
        await socket.send('{"method": "subscribe", "subscription": {"type": "noSuchType", "coin": "BTC"}}')
        others = [await answer(socket), await answer(socket)]

    assert structure(frames[0]) == structure(json.loads(theirs["same candle, a middle frame"])["data"])
    assert structure(json.loads(acknowledged)["data"]["method"]) == "str"
    assert json.loads(acknowledged) == {
        "channel": "subscriptionResponse",
        "data": {"method": "subscribe", "subscription": CANDLE},
    }
    assert others == ['{"channel":"pong"}', next(raw for note, raw in theirs.items() if "unknown subscription" in note)]


async def test_a_candle_is_told_again_and_again_and_never_called_closed(sample: CandleColumns) -> None:
    async with running(sample, "BTC", venue="hyperliquid", lead=3) as rig, rig.connect("") as socket:
        await subscribed(socket)
        frames = await candles(socket, 13)
        rows = await snapshot(rig, startTime=sample.start_ms)

    assert [frame["t"] for frame in frames[:12:4]] == [sample.start_ms + n * MINUTE_MS for n in range(3)]
    assert len({frame["t"] for frame in frames[:4]}) == 1
    assert frames[12]["t"] == sample.start_ms + 3 * MINUTE_MS, "only the next minute's first frame closes the last"
    assert frames[3:12:4] == rows[:3], "the last frame of a minute is what REST has"
    assert all(row["T"] == row["t"] + MINUTE_MS - 1 for row in rows)
    assert rows[-1]["t"] == sample.start_ms + 3 * MINUTE_MS, "the open candle comes last"


async def test_rest_looks_as_recorded(sample: CandleColumns, shared_data: Path) -> None:
    theirs = recorded(shared_data, "rest_recorded_mainnet.jsonl.gz", "candleSnapshot")
    meta = recorded(shared_data, "rest_recorded_go_sdk.jsonl.gz", '{"type":"meta"}')
    spot = recorded(shared_data, "rest_recorded_go_sdk.jsonl.gz", '{"type":"spotMeta"}')
    async with running(sample, "BTC", venue="hyperliquid", start_ms=sample.start_ms + 100 * MINUTE_MS) as rig:
        rows = await snapshot(rig, startTime=sample.start_ms + 90 * MINUTE_MS + 1)
        _, ours, _ = await info(rig, type="meta")
        _, our_spot, _ = await info(rig, type="spotMeta")
        unplayed = await snapshot(rig, coin="ETH", startTime=sample.start_ms)

    assert structure(rows) == structure(theirs)
    assert structure(ours["universe"]) == structure(meta["universe"])
    assert structure(our_spot["universe"]) == structure(spot["universe"])
    assert structure(our_spot["tokens"]) == structure(spot["tokens"])
    assert rows[0]["t"] == sample.start_ms + 90 * MINUTE_MS, "the candle that holds the start is given too"
    assert len(rows) == 10
    assert unplayed == []


@pytest.mark.parametrize(("interval", "minutes"), [("1m", 1), ("15m", 15)])
async def test_only_the_newest_candles_exist(sample: CandleColumns, interval: str, minutes: int) -> None:
    async with running(sample, "BTC", venue="hyperliquid", start_ms=sample.end_ms - MINUTE_MS) as rig:
        rows = await snapshot(rig, interval=interval, startTime=0)
        early = await snapshot(rig, startTime=sample.start_ms, endTime=sample.start_ms + 60 * MINUTE_MS)

    # The last minute has begun 5 ms ago and shows nothing yet.
    assert len(rows) == min(5000, len(sample) // minutes) - (minutes == 1)
    assert early == []


async def test_wrong_requests(sample: CandleColumns) -> None:
    good = {"coin": "BTC", "interval": "1m", "startTime": sample.start_ms}
    async with running(sample, "BTC", venue="hyperliquid") as rig:
        answers = [
            await info(rig, type="candleSnapshot", req=good | {"coin": "btc"}),
            await info(rig, type="candleSnapshot", req=good | {"interval": "6h"}),
            await info(rig, type="candleSnapshot"),
            await info(rig, type="nothing"),
        ]

    assert [answer[0] for answer in answers] == [500, 422, 422, 422]
    assert {answer[1] for answer in answers} == {"Failed to deserialize the JSON body into the target type"}


async def test_weights_follow_the_rows_and_the_limit_has_no_body(sample: CandleColumns) -> None:
    limits = VenueLimits(weight=150, window_s=1e6)
    at = sample.start_ms + 5000 * MINUTE_MS
    async with running(sample, "BTC", venue="hyperliquid", start_ms=at, limits=limits) as rig:
        await snapshot(rig, startTime=0)
        assert rig.simulator.dialect.weights.used == 20 + 5000 // 60
        await info(rig, type="meta")
        status, body, _ = await info(rig, type="candleSnapshot", req={})
        assert (status, body) == (422, "Failed to deserialize the JSON body into the target type")
        status, body, _ = await info(rig, type="meta")

    assert (status, body) == (429, None)


async def test_an_unknown_coin_ends_the_whole_connection_without_a_word(sample: CandleColumns) -> None:
    async with running(sample, "BTC", venue="hyperliquid", lead=1) as rig, rig.connect("") as socket:
        await subscribed(socket)
        await candles(socket, 4)
        with pytest.raises(ConnectionClosedError) as closed:
            await subscribed(socket, coin="btc")

    assert closed.value.rcvd is None


async def test_error_frames_keep_the_connection(sample: CandleColumns) -> None:
    async with running(sample, "BTC", venue="hyperliquid", lead=1) as rig, rig.connect("") as socket:
        await subscribed(socket)
        again = json.loads(await subscribed(socket))
        await socket.send("what?")
        unread = json.loads(await answer(socket))
        await socket.send(json.dumps({"method": "unsubscribe", "subscription": CANDLE}))
        left = json.loads(await answer(socket))

    assert again["data"].startswith('Already subscribed: {"type":"candle"')
    assert unread == {"channel": "error", "data": "Error parsing JSON into valid websocket request: what?"}
    assert left["data"]["method"] == "unsubscribe"


async def test_a_connection_to_which_nothing_is_sent_is_dropped_unless_it_pings(sample: CandleColumns) -> None:
    limits = VenueLimits(silence_s=0.4)
    async with (
        running(sample, "BTC", venue="hyperliquid", limits=limits) as rig,
        rig.connect("", ping_interval=None) as silent,
        rig.connect("", ping_interval=None) as pinging,
    ):
        await silent.recv()
        for _ in range(6):
            await pinging.send('{"method":"ping"}')
            await asyncio.sleep(0.1)
        with pytest.raises(ConnectionClosedError) as closed:
            await asyncio.wait_for(silent.recv(), 60)
        await pinging.send('{"method":"ping"}')
        assert await pinging.recv() == GREETING

    assert closed.value.rcvd is None


async def test_a_closed_candle_can_be_revised(sample: CandleColumns) -> None:
    async with running(sample, "BTC", venue="hyperliquid", lead=2) as rig, rig.connect("") as socket:
        await rig.control.fault("revise")
        await subscribed(socket)
        frames = await candles(socket, 6)
        rows = await snapshot(rig, startTime=sample.start_ms)

    told, revised = frames[3], frames[5]
    assert (told["t"], frames[4]["t"], revised["t"]) == (rows[0]["t"], rows[1]["t"], rows[0]["t"])
    assert float(revised["h"]) > float(told["h"])
    assert rows[0] == revised
    assert int(sample.high[0]) == round(float(told["h"]) * 1e8), "the candles it was made with stay as they are"


async def test_the_date_is_the_venues(sample: CandleColumns) -> None:
    async with running(sample, "BTC", venue="hyperliquid") as rig:
        await rig.control.fault("clock", offset_ms=3_600_000)
        _, status, headers = await info(rig, type="exchangeStatus")

    assert status["time"] == sample.start_ms + 3_600_000
    assert headers["date"] == "Tue, 01 Jul 2025 01:00:00 GMT"
