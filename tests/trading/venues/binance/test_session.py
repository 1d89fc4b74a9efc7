"""A market feed against the simulator over real sockets: whatever happens to them, the candles come out right."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.trading.venues.rig import MINUTE_MS, feeding, gateway
from tests.trading.venues.simulator.rig import Rig, running
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.config.model import BinanceVenue
from trading.errors import ConfigError
from trading.venues.gateway import Gateway
from trading.venues.session import MarketFeed, Outlets
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

DAY = 1440


@pytest.fixture(scope="session")
def month() -> CandleColumns:
    return load_columns(SAMPLE_FILE, SAMPLE_MARKET)


def part(month: CandleColumns, minutes: int) -> CandleColumns:
    return month.slice(month.start_ms, month.start_ms + minutes * MINUTE_MS)


def facts(candles: object) -> list[tuple[int, ...]]:
    """Open time, prices and volume of candles."""
    return [(c.open_time_ms, *c[4:9]) for c in candles]  # type: ignore[attr-defined]


async def broken_at(rig: Rig, minute: int, kind: str, **arguments: object) -> None:
    at_ms = rig.simulator.session.start_ms + minute * MINUTE_MS
    await rig.control.fault(kind, at_ms=at_ms, **arguments)


@pytest.mark.covers("S1-5c", "W11", "W15")
async def test_history_comes_in_pages_and_the_stream_goes_on_from_it(month: CandleColumns) -> None:
    columns = part(month, 4 * DAY)
    start = columns.start_ms + 2 * DAY * MINUTE_MS
    async with running(columns, "BTCUSDT", start_ms=start) as rig:
        async with feeding(rig, start={"warmup_from_ms": columns.start_ms}) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        stats = fed.feed.stats()
        assert stats["emitted"] == 4 * DAY
        assert stats["frames"] > DAY
        assert stats["connections"] == 1
        assert fed.statuses == []
        assert fed.notes == []
        assert fed.largest <= 1000
        assert {item.source for item in fed.items[: 2 * DAY - 1]} == {"rest"}  # type: ignore[union-attr]
        assert all(candle.received_ns > 0 for candle in fed.series() if candle.source == "live")


@pytest.mark.covers("S2-18b")
async def test_days_pass_in_lockstep_in_order_and_whole(month: CandleColumns) -> None:
    columns = part(month, 8 * DAY)
    async with running(columns, "BTCUSDT") as rig, feeding(rig) as fed:
        await fed.until_told(columns.end_ms, 120)
    assert facts(fed.series()) == facts(columns.candles())


async def test_damaged_repeated_swapped_and_lost_frames_change_nothing(month: CandleColumns) -> None:
    columns = part(month, DAY)
    async with running(columns, "BTCUSDT") as rig:
        await broken_at(rig, 100, "duplicate", times=20)
        await broken_at(rig, 200, "reorder", times=3)
        await broken_at(rig, 300, "corrupt", times=5, how="json")
        await broken_at(rig, 400, "corrupt", times=5, how="value")
        await broken_at(rig, 500, "lose_minutes", minutes=10)
        async with feeding(rig, start={"high_water_ms": columns.start_ms}) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert fed.holes() == []
        assert [note.reason for note in fed.notes] == ["malformed"] * 5 + ["insane"] * 5
        assert fed.feed.stats()["duplicates"] >= 20


@pytest.mark.covers("S1-4", "W19")
@pytest.mark.conforms("BN-05")
async def test_after_a_dropped_and_refused_connection_everything_in_between_is_filled(month: CandleColumns) -> None:
    columns = part(month, DAY)
    async with running(columns, "BTCUSDT") as rig:
        await broken_at(rig, 299, "refuse")
        await broken_at(rig, 300, "drop")
        async with feeding(rig, start={"high_water_ms": columns.start_ms}) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert [up for up, _ in fed.statuses] == [False, True]
        assert fed.feed.stats()["reconnects"] >= 2


@pytest.mark.covers("S1-5b")
@pytest.mark.conforms("BN-10")
async def test_a_socket_that_freezes_without_closing_is_replaced(month: CandleColumns) -> None:
    async with (
        running(month, "BTCUSDT", speed=600) as rig,
        feeding(rig, rate=600, start={"high_water_ms": month.start_ms}, silence_timeout_s=1.0) as fed,
    ):
        await fed.until(lambda: fed.feed.stats()["finals"] > 5)
        await rig.control.fault("freeze")
        await fed.until(lambda: [up for up, _ in fed.statuses] == [False, True])
        assert fed.statuses[0] == (False, "silent for 1 s")
        assert fed.feed.health()["up"]
        await fed.until_told(fed.high_ms + 30 * MINUTE_MS)
        series = fed.series()
        assert facts(series) == facts(month.slice(end_ms=series[-1].close_time_ms).candles())


@pytest.mark.conforms("BN-11")
async def test_an_old_connection_is_replaced_without_being_down(month: CandleColumns) -> None:
    async with (
        running(month, "BTCUSDT", speed=600) as rig,
        feeding(rig, rate=600, start={"high_water_ms": month.start_ms}, max_connection_age_s=1.5) as fed,
    ):
        await fed.until(lambda: fed.feed.stats()["connections"] >= 3)
        assert fed.statuses == []
        series = fed.series()
        assert facts(series) == facts(month.slice(end_ms=series[-1].close_time_ms).candles())


async def test_minutes_lost_while_rest_is_down_are_missing_and_healed_later(month: CandleColumns) -> None:
    columns = part(month, DAY)
    async with running(columns, "BTCUSDT") as rig, feeding(rig) as fed:
        await fed.until(lambda: len(fed.items) > 100)
        rig.simulator.session.pause()
        await rig.control.fault("rest_status", status=503, times=3, path="klines")
        await rig.control.fault("lose_minutes", minutes=10)
        await rig.control.advance(30)
        await fed.until(lambda: bool(fed.holes()))
        (hole,) = fed.holes()
        assert (hole[0], hole[2] - hole[1]) == ("missing", 10 * MINUTE_MS)
        await fed.until(lambda: fed.high_ms == hole[2] + 20 * MINUTE_MS, 5)
        rig.simulator.session.resume()
        await fed.until_told(fed.high_ms + 20 * MINUTE_MS)
        assert fed.feed.stats()["healed"] == 10
        series = fed.series()
        assert facts(series) == facts(columns.slice(series[0].open_time_ms, series[-1].close_time_ms).candles())


@pytest.mark.parametrize("status", [429, 418, 500])
async def test_history_goes_on_when_the_venue_answers_again(month: CandleColumns, status: int) -> None:
    columns = part(month, DAY)
    start = columns.start_ms + 600 * MINUTE_MS
    async with running(columns, "BTCUSDT", start_ms=start) as rig:
        await rig.control.fault("rest_status", status=status, times=2, retry_after=1, path="klines")
        async with feeding(rig, start={"warmup_from_ms": columns.start_ms}) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert fed.holes() == []


async def test_slow_answers_are_asked_again(month: CandleColumns) -> None:
    columns = part(month, 200)
    async with running(columns, "BTCUSDT", start_ms=columns.start_ms + 100 * MINUTE_MS) as rig:
        await rig.control.fault("slow", seconds=5, times=2, path="klines")
        async with feeding(rig, start={"warmup_from_ms": columns.start_ms}, request_timeout_s=0.3) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert fed.feed.stats()["rest_retries"] >= 2


@pytest.mark.conforms("BN-07")
async def test_minutes_without_trades_at_the_venue_are_absent(gapped: CandleColumns) -> None:
    async with running(gapped, "BTCUSDT") as rig, feeding(rig, start={"high_water_ms": gapped.start_ms}) as fed:
        await fed.until_told(gapped.end_ms)
    assert facts(fed.series()) == facts(gapped.candles())
    absent = [minute for _, start, end in fed.holes() for minute in range(start, end, MINUTE_MS)]
    times = set(gapped.open_time_ms.tolist())
    assert absent == [t for t in range(gapped.start_ms, gapped.end_ms, MINUTE_MS) if t not in times]
    assert {reason for reason, _, _ in fed.holes()} == {"absent"}


async def test_the_last_candle_before_a_rest_is_told_even_if_its_frame_was_lost(month: CandleColumns) -> None:
    columns = part(month, 60)
    async with running(columns, "BTCUSDT") as rig:
        await broken_at(rig, 58, "corrupt", times=2)
        async with feeding(rig, start={"high_water_ms": columns.start_ms}) as fed:
            await fed.until_told(columns.end_ms)
    assert facts(fed.series()) == facts(columns.candles())


async def test_a_slow_receiver_costs_memory_for_at_most_1000_candles_and_loses_none(month: CandleColumns) -> None:
    columns = part(month, 3 * DAY)
    async with running(columns, "BTCUSDT") as rig:
        rig.simulator.session.pause()
        async with feeding(rig, start={"high_water_ms": columns.start_ms}) as fed:
            await fed.until(lambda: fed.feed.stats()["connections"] == 1)
            fed.gate.clear()
            await rig.control.advance(3 * DAY)
            await fed.until(lambda: fed.feed.stats()["frames"] >= 4 * 3 * DAY)
            assert fed.feed.stats()["dropped"] > 0
            assert fed.feed.stats()["waiting"] < 1100
            fed.gate.set()
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert {note.reason for note in fed.notes} == {"overflow"}


async def test_after_a_resume_nothing_found_before_is_delivered_and_everything_since_is(month: CandleColumns) -> None:
    columns = part(month, DAY)
    again_ms = columns.start_ms + 100 * MINUTE_MS
    async with running(columns, "BTCUSDT") as rig, feeding(rig, start={"high_water_ms": columns.start_ms}) as fed:
        await fed.until(lambda: len(fed.items) > 200)
        fed.gate.clear()
        await fed.until(lambda: fed.feed.stats()["waiting"] > 10)
        before = len(fed.items)
        fed.feed.resume(again_ms, ())
        fed.gate.set()
        await fed.until_told(columns.end_ms)
    opens = [item.open_time_ms for item in fed.items[before - 1 :]]  # type: ignore[union-attr]
    jumps = [place for place in range(1, len(opens)) if opens[place] != opens[place - 1] + MINUTE_MS]
    # Perhaps the delivery that was under way, and then everything from where storage stands.
    assert [opens[place] for place in jumps] == [again_ms]
    assert opens[-1] == columns.end_ms - MINUTE_MS


async def test_the_open_candle_is_told_at_most_once_a_second(month: CandleColumns) -> None:
    async with (
        running(month, "BTCUSDT", speed=600) as rig,
        feeding(rig, rate=600, start={"high_water_ms": month.start_ms}) as fed,
    ):
        began = time.monotonic()
        await fed.until(lambda: len(fed.forming) >= 3)
        assert time.monotonic() - began > 1.9
        assert fed.feed.stats()["forming_unread"] > 20


async def test_what_a_receiver_raises_ends_the_feed_and_leaves_nothing(month: CandleColumns) -> None:
    async def refuse(*_: object) -> None:
        raise RuntimeError("storage is gone")

    async with running(part(month, 100), "BTCUSDT") as rig:
        before = asyncio.all_tasks()
        async with gateway(rig) as open_gateway:
            feed = MarketFeed(SAMPLE_MARKET, open_gateway, Outlets(refuse), time_rate=0)
            with pytest.raises(RuntimeError, match="storage is gone"):
                await asyncio.wait_for(feed.run(high_water_ms=month.start_ms), 60)
            assert {task for task in asyncio.all_tasks() - before if "MarketFeed" in repr(task)} == set()
        assert {task for task in asyncio.all_tasks() - before if "_Socket" in repr(task)} == set()


async def test_a_gateway_refuses_an_endpoint_of_the_other_kind() -> None:
    loopback = BinanceVenue(rest_url="http://127.0.0.1:1", stream_url="ws://127.0.0.1:1")
    for settings, origin in ((loopback, "venue"), (BinanceVenue(), "simulator")):
        with pytest.raises(ConfigError):
            Gateway("binance", settings, origin=origin)  # type: ignore[arg-type]


@pytest.mark.parametrize("offset_ms", [10_000, -10_000])
async def test_a_venue_whose_clock_is_off_has_no_candle_taken_before_it_closed(
    month: CandleColumns, offset_ms: int
) -> None:
    """Five seconds before the close the venue's clock says that it is past, and REST shows the candle as it is then."""
    columns = part(month, 120)
    start = columns.start_ms + 60 * MINUTE_MS
    async with running(columns, "BTCUSDT", start_ms=start, speed=600) as rig:
        rig.simulator.session.run_to(start + 10 * MINUTE_MS - 5_000)
        rig.simulator.session.pause()
        await rig.control.fault("clock", offset_ms=offset_ms)
        async with feeding(rig, rate=600, start={"warmup_from_ms": columns.start_ms}) as fed:
            await fed.until_told(start + 9 * MINUTE_MS)
            await fed.until(lambda: fed.feed.venue_now_ms() is not None)
            await rig.control.resume()
            await fed.until_told(start + 30 * MINUTE_MS)
        told = fed.series()
        assert facts(told) == facts(columns.slice(columns.start_ms, told[-1].close_time_ms).candles())
        assert fed.notes == []
        assert fed.statuses == []
