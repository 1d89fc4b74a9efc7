"""Streams: shapes, subscriptions, pings, limits, lockstep and speed over a real websocket."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from tests.trading.venues.simulator.rig import MINUTE_MS, STREAM, closes, command, receive, running
from tests.trading.venues.simulator.test_rest import shape
from trading.candle_columns import CandleColumns
from trading.venues.simulator.server import VenueLimits


def recorded_kline(shared_data: Path) -> dict[str, Any]:
    path = shared_data / "messages" / "binance" / "ws_spot_recorded_20211012.jsonl.gz"
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        message = json.loads(json.loads(line).get("raw", "{}"))
        if "kline" in message.get("stream", ""):
            return message
    raise AssertionError(path)


async def test_frames_look_as_recorded(sample: CandleColumns, shared_data: Path) -> None:
    theirs = recorded_kline(shared_data)
    async with (
        running(sample, "BTCUSDT", speed=3600) as rig,
        rig.connect(f"/stream?streams={STREAM}") as combined,
        rig.connect() as bare,
    ):
        wrapped, plain = await receive(combined, 8), await receive(bare, 8)

    assert json.dumps(shape(wrapped[0])) == json.dumps(shape(theirs)), "the same keys in the same order"
    assert wrapped[0]["stream"] == STREAM
    assert [shape(each) for each in plain] == [shape(each["data"]) for each in wrapped]


@pytest.mark.parametrize("path", [f"/ws/{STREAM}", "/ws", "/stream"])
async def test_every_way_to_subscribe(sample: CandleColumns, path: str) -> None:
    async with running(sample, "BTCUSDT", lead=5) as rig, rig.connect(path) as socket:
        if STREAM not in path:
            assert (await rig.control.state())["position_ms"] == sample.start_ms, "nobody listens yet"
            assert await command(socket, method="SUBSCRIBE", params=[STREAM], id=7) == {"result": None, "id": 7}
        frames = await receive(socket, 20)

    inner = [frame["data"] if path == "/stream" else frame for frame in frames]
    assert [each["k"]["t"] for each in inner if each["k"]["x"]] == [sample.start_ms + n * MINUTE_MS for n in range(5)]


async def test_commands(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=1) as rig, rig.connect("/ws") as socket:
        await command(socket, method="SUBSCRIBE", params=["nonsense@trade", STREAM], id=1)
        assert await command(socket, method="LIST_SUBSCRIPTIONS", id=3) == {
            "result": ["nonsense@trade", STREAM],
            "id": 3,
        }
        await command(socket, method="UNSUBSCRIBE", params=[STREAM], id="four")
        assert (await command(socket, method="LIST_SUBSCRIPTIONS", id=5))["result"] == ["nonsense@trade"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"id":1}', 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@kline_1m","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1.5}', 2),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1),
    ],
)
async def test_wrong_commands_are_answered(sample: CandleColumns, text: str, code: int) -> None:
    async with running(sample, "BTCUSDT") as rig, rig.connect("/ws") as socket:
        await socket.send(text)
        (answer,) = await receive(socket, 1)

    assert answer["code"] == code
    assert answer["msg"]


async def test_combined_can_be_switched(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=1) as rig, rig.connect("/ws") as socket:
        assert (await command(socket, method="SET_PROPERTY", params=["combined", True], id=1))["result"] is None
        assert (await command(socket, method="GET_PROPERTY", params=["combined"], id=2))["result"] is True
        await command(socket, method="SUBSCRIBE", params=[STREAM], id=3)
        assert (await receive(socket, 1))[0]["stream"] == STREAM


async def test_too_many_messages_end_the_connection(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig, rig.connect("/ws") as socket:
        for number in range(6):
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        with pytest.raises(ConnectionClosed) as closed:
            await receive(socket, 6)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_pings_are_sent_and_client_pings_answered(sample: CandleColumns) -> None:
    limits = VenueLimits(ping_interval_s=0.3, pong_timeout_s=2.0)
    async with running(sample, "BTCUSDT", limits=limits) as rig, rig.connect(ping_interval=None) as socket:
        await asyncio.wait_for(await socket.ping(), 60)
        reader = asyncio.create_task(receive(socket, 10_000))
        done, _ = await asyncio.wait([reader], timeout=2.8)
        assert not done, "answered pings keep the connection beyond the time-out"
        reader.cancel()


async def test_a_silent_client_is_cut_off(sample: CandleColumns) -> None:
    limits = VenueLimits(ping_interval_s=0.1, pong_timeout_s=0.15)
    async with running(sample, "BTCUSDT", limits=limits) as rig:
        port = int(rig.simulator.stream_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        received = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        await writer.wait_closed()

    assert received.startswith(b"HTTP/1.1 101")
    assert b"Pong timeout" in received


async def test_lockstep_never_passes_its_lead(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=50) as rig, rig.connect() as socket:
        done, worst = sample.start_ms, 0
        for step in range(40):
            last = (await closes(socket, 10 if step else 50))[-1] + MINUTE_MS
            state = await rig.control.state()
            worst = max(worst, state["position_ms"] - state["watermark_ms"])
            done = last - 40 * MINUTE_MS
            await rig.control.watermark(done)

    assert worst == 50 * MINUTE_MS + 5


@pytest.mark.parametrize("lead", [1, 500])
async def test_what_is_sent_does_not_depend_on_the_lead(sample: CandleColumns, lead: int) -> None:
    end = sample.start_ms + 120 * MINUTE_MS
    seen = []
    async with running(sample.slice(end_ms=end), "BTCUSDT", lead=lead) as rig, rig.connect() as socket:
        while len(seen) < 4 * 120:
            seen += await receive(socket, 4)
            await rig.control.watermark(seen[-1]["k"]["T"] + 1)
        assert (await rig.control.state())["ended"]

    assert [frame["k"]["t"] for frame in seen[3::4]] == list(range(sample.start_ms, end, MINUTE_MS))
    assert all(frame["k"]["x"] for frame in seen[3::4])


async def test_no_subscriber_no_time(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=3) as rig:
        async with rig.connect() as socket:
            await closes(socket, 3)
        while (await rig.control.state())["connections"]:
            pass
        await rig.control.watermark(sample.start_ms + 3 * MINUTE_MS)
        assert (await rig.control.state())["position_ms"] == sample.start_ms + 3 * MINUTE_MS + 5
        async with rig.connect() as socket:
            assert await closes(socket, 3) == [sample.start_ms + n * MINUTE_MS for n in (3, 4, 5)]


async def test_speed_is_kept_and_rest_agrees(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", speed=3600) as rig, rig.connect() as socket:
        loop = asyncio.get_running_loop()
        await closes(socket, 1)
        begun_s = loop.time()
        times = await closes(socket, 60)
        took_s = loop.time() - begun_s
        _, answer, _ = await rig.get("/api/v3/time")
        newest = (await rig.klines(limit=1))[0]

    assert times == list(range(times[0], times[0] + 60 * MINUTE_MS, MINUTE_MS))
    assert 0.7 < took_s < 60, "60 minutes at 3600 a second"
    assert answer["serverTime"] > times[-1]
    assert newest[0] >= times[-1]


async def test_absent_minutes_are_not_sent(gapped: CandleColumns) -> None:
    async with running(gapped, "BTCUSD") as rig, rig.connect("/ws/btcusd@kline_1m") as socket:
        assert await closes(socket, len(gapped)) == gapped.open_time_ms.tolist()


async def test_the_end_is_announced(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig, rig.connect("/ws") as bare, rig.connect("/stream") as combined:
        stopping = asyncio.create_task(rig.simulator.__aexit__(None, None, None))
        first, second = (await receive(bare, 1))[0], (await receive(combined, 1))[0]
        with pytest.raises(ConnectionClosed) as closed:
            await bare.recv()
        await stopping

    assert first == {"e": "serverShutdown", "E": sample.start_ms}
    assert second == {"stream": "!serverShutdown", "data": first}
    assert not isinstance(closed.value, ConnectionClosedError) or closed.value.rcvd is not None
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
