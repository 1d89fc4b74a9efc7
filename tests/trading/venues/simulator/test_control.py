"""The control port and its client."""

import asyncio

import aiohttp
import pytest

from tests.trading.venues.simulator.rig import MINUTE_MS, closes, running
from trading.candle_columns import CandleColumns
from trading.errors import BadInput, VenueRetryable
from trading.venues.simulator.control import SimulatorControl
from trading.venues.simulator.server import Simulator


async def test_state_tells_what_is_going_on(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT", lead=3) as rig, rig.connect() as socket:
        await closes(socket, 3)
        await rig.control.fault("reorder", at_ms=sample.end_ms - MINUTE_MS)
        state = await rig.control.watermark(sample.start_ms + MINUTE_MS, "binance:BTCUSDT")

    assert state["mode"] == "lockstep"
    assert (state["lead"], state["symbols"]) == (3, ["BTCUSDT"])
    assert (state["start_ms"], state["end_ms"]) == (sample.start_ms, sample.end_ms)
    assert state["watermark_ms"] == sample.start_ms + MINUTE_MS
    assert state["connections"] == 1
    assert state["faults"] == [{"kind": "reorder", "at_ms": sample.end_ms - MINUTE_MS}]
    assert state["ended"] is False


@pytest.mark.parametrize("speed", [None, 1.0])
async def test_paused_and_stepped(sample: CandleColumns, speed: float | None) -> None:
    async with running(sample, "BTCUSDT", speed=speed) as rig:
        await rig.control.pause()
        async with rig.connect() as socket:
            state = await rig.control.advance(2)
            assert state["position_ms"] == sample.start_ms + 2 * MINUTE_MS + 5
            assert await closes(socket, 2) == [sample.start_ms, sample.start_ms + MINUTE_MS]
            await rig.control.advance(1)
            assert await closes(socket, 1) == [sample.start_ms + 2 * MINUTE_MS]
            assert (await rig.control.state())["candles_sent"] == 3
            state = await rig.control.resume()
            assert state["paused"] is False


async def test_stop(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig:
        waiting = asyncio.create_task(rig.simulator.wait_stopped())
        await rig.control.stop()
        await asyncio.wait_for(waiting, 60)


async def test_orders_that_make_no_sense(sample: CandleColumns) -> None:
    async with running(sample, "BTCUSDT") as rig:
        with pytest.raises(BadInput, match="XRPUSDT"):
            await rig.control.watermark(sample.start_ms, "binance:XRPUSDT")
        async with aiohttp.ClientSession() as http:
            for path, body in (
                ("watermark", '{"position_ms":"x"}'),
                ("advance", "{}"),
                ("faults", "["),
                ("pause", "7"),
            ):
                async with http.post(f"{rig.simulator.control_url}/{path}", data=body) as response:
                    assert response.status == 422
                    assert set(await response.json()) == {"message", "field", "value", "fix"}


async def test_nobody_there(sample: CandleColumns) -> None:
    async with Simulator(sample, "BTCUSDT") as simulator:
        url = simulator.control_url
    async with SimulatorControl(url) as control:
        with pytest.raises(VenueRetryable, match="does not answer"):
            await control.state()


async def test_a_taken_port_is_named(sample: CandleColumns) -> None:
    async with Simulator(sample, "BTCUSDT") as first:
        port = int(first.rest_url.rpartition(":")[2])
        for options, field in (({"port": port}, "port"), ({"control_port": port}, "control_port")):
            with pytest.raises(BadInput, match=str(port)) as refusal:
                await Simulator(sample, "BTCUSDT", **options).__aenter__()
            assert refusal.value.field == field
            assert "choose another" in str(refusal.value)


async def test_candles_may_be_given_as_a_list(sample: CandleColumns) -> None:
    candles = sample.slice(end_ms=sample.start_ms + 3 * MINUTE_MS).candles()
    async with running(candles, "BTCUSDT") as rig, rig.connect() as socket:
        assert await closes(socket, 3) == [candle.open_time_ms for candle in candles]
