"""Every fault, ordered through the control port and seen by a client."""

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.trading.venues.simulator.rig import MINUTE_MS, closes, receive, running
from trading.candle_columns import CandleColumns
from trading.errors import BadInput


async def closing_texts(socket: ClientConnection, count: int) -> list[str]:
    """The next texts that are, or were meant to be, closing frames."""
    texts: list[str] = []
    async with asyncio.timeout(120):
        while len(texts) < count:
            text = str(await socket.recv())
            if '"x":true' in text or not text.endswith("}"):
                texts.append(text)
    return texts


def minutes(sample: CandleColumns, *numbers: int) -> list[int]:
    return [sample.start_ms + number * MINUTE_MS for number in numbers]


async def test_drop_breaks_every_connection(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=4) as rig, rig.connect() as socket, rig.connect("/ws") as idle:
        await closes(socket, 4)
        await rig.control.fault("drop")
        for each in (socket, idle):
            with pytest.raises(ConnectionClosedError) as closed:
                await each.recv()
            assert closed.value.rcvd is None, "no close frame"
        async with rig.connect() as again:
            await rig.control.watermark(sample.start_ms + 4 * MINUTE_MS)
            assert await closes(again, 2) == minutes(sample, 4, 5)


async def test_a_scheduled_drop_loses_what_the_client_must_fetch(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=10) as rig:
        await rig.control.fault("drop", at_ms=sample.start_ms + 3 * MINUTE_MS + 30_000)
        async with rig.connect() as socket:
            seen = await closes(socket, 3)
            with pytest.raises(ConnectionClosedError):
                await closes(socket, 1)
        assert seen == minutes(sample, 0, 1, 2)
        rows = await rig.klines(startTime=seen[-1] + 1)
        assert [row[0] for row in rows] == minutes(sample, *range(3, 10)), "the venue's time went on"


async def test_refuse(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig:
        await rig.control.fault("refuse", times=2)
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                await rig.connect()
        async with rig.connect() as socket:
            assert await closes(socket, 1) == minutes(sample, 0)


async def test_freeze_is_silent_and_open(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=2) as rig, rig.connect() as frozen:
        await closes(frozen, 2)
        await rig.control.fault("freeze")
        await rig.control.watermark(sample.start_ms + 2 * MINUTE_MS)
        async with rig.connect() as fresh:
            await rig.control.watermark(sample.start_ms + 4 * MINUTE_MS)
            assert (await closes(fresh, 1))[0] in minutes(sample, 2, 4), "a new connection hears what comes"
            pong = await frozen.ping()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(frozen.recv(), 0.3)
            assert not pong.done()
        await rig.control.fault("unfreeze")
        await rig.control.watermark(sample.start_ms + 6 * MINUTE_MS)
        assert await closes(frozen, 1) == minutes(sample, 6)


async def test_freeze_can_catch_new_connections_too(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=2) as rig:
        await rig.control.fault("freeze", new=True)
        async with rig.connect() as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.3)


async def test_duplicate_and_reorder(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=8) as rig:
        await rig.control.fault("duplicate", times=2)
        await rig.control.fault("reorder", at_ms=sample.start_ms + 4 * MINUTE_MS + 1000)
        async with rig.connect() as socket:
            assert await closes(socket, 9) == minutes(sample, 0, 0, 1, 1, 2, 3, 5, 4, 6)


async def test_corrupt(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=3) as rig:
        await rig.control.fault("corrupt")
        await rig.control.fault("corrupt", how="value", at_ms=sample.start_ms + MINUTE_MS + 30_000)
        async with rig.connect() as socket:
            first, second, third = await closing_texts(socket, 3)

    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(first)
    kline = json.loads(second)["k"]
    assert float(kline["h"]) < float(kline["l"])
    assert float(json.loads(third)["k"]["h"]) >= float(json.loads(third)["k"]["l"])


async def test_lost_minutes_are_in_rest(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=8) as rig:
        await rig.control.fault("lose_minutes", minutes=3, at_ms=sample.start_ms + 2 * MINUTE_MS)
        async with rig.connect() as socket:
            seen = [(frame["k"]["t"], frame["k"]["x"]) for frame in await receive(socket, 4 * 5)]
        rows = await rig.klines(startTime=sample.start_ms)

    assert [time for time, closed in seen if closed] == minutes(sample, 0, 1, 5, 6, 7)
    assert {time for time, _ in seen} == set(minutes(sample, 0, 1, 5, 6, 7)), "not even a forming frame"
    assert [row[0] for row in rows] == minutes(sample, *range(8))


@pytest.mark.parametrize(
    ("status", "code"), [(429, -1003), (418, -1003), (500, -1000), (502, -1006), (503, -1008), (504, -1007)]
)
async def test_rest_errors(sample: CandleColumns, status: int, code: int) -> None:
    async with running(sample, "BTCUSDT") as rig:
        await rig.control.fault("rest_status", status=status, times=2, retry_after=7)
        answers = [await rig.get("/api/v3/time") for _ in range(3)]

    assert [answer[0] for answer in answers] == [status, status, 200]
    assert answers[0][1]["code"] == code
    assert "%" not in answers[0][1]["msg"]
    assert answers[0][2]["retry-after"] == "7"
    assert "retry-after" not in answers[2][2]


async def test_the_firewalls_page_is_no_json(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig:
        await rig.control.fault("rest_status", status=403, path="klines")
        assert (await rig.get("/api/v3/time"))[0] == 200
        status, body, _ = await rig.get("/api/v3/klines", symbol="BTCUSDT", interval="1m")

    assert status == 403
    assert isinstance(body, str)


async def test_slow_answers(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig:
        await rig.control.fault("slow", seconds=0.4)
        begun_s = time.monotonic()
        assert (await rig.get("/api/v3/time"))[0] == 200
        slow_s = time.monotonic() - begun_s
        assert (await rig.get("/api/v3/time"))[0] == 200

    assert slow_s >= 0.4


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "lose_minutes"}, "fault"),
        ({"kind": "rest_status"}, "fault"),
        ({"kind": "slow"}, "fault"),
        ({"kind": "drop", "times": 0}, "times"),
        ({"kind": "drop", "colour": "red"}, "colour"),
    ],
)
async def test_impossible_faults_are_refused(sample: CandleColumns, body: dict[str, Any], field: str) -> None:
    async with running(sample, "BTCUSDT") as rig:
        with pytest.raises(BadInput) as refusal:
            await rig.control.fault(**body)

    assert refusal.value.field == field
    assert refusal.value.fix
