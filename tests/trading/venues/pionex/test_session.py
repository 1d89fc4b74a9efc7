"""A Pionex market feed against the simulator: candles come by REST, the socket only says that the market lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.trading.venues.rig import MINUTE_MS, feeding, gateway
from tests.trading.venues.simulator.rig import Rig, running
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.errors import BadInput, ConfigError, VenueRetryable
from trading.venues.pionex.history import HORIZON_ROWS
from trading.venues.simulator.dialect import VenueLimits
from trading.venues.simulator.sample import SAMPLE_FILE

SYMBOL = "BTC_USDT"
DAY = 1440
# A replay of minutes in milliseconds asks more often than the venue would allow in life.
PLENTY = VenueLimits(weight=100_000)


@pytest.fixture(scope="session")
def month() -> CandleColumns:
    return load_columns(SAMPLE_FILE, f"pionex:{SYMBOL}")


def part(month: CandleColumns, minutes: int) -> CandleColumns:
    return month.slice(month.start_ms, month.start_ms + minutes * MINUTE_MS)


def facts(candles: object) -> list[tuple[int, ...]]:
    """Open time, prices and volume of candles."""
    return [(c.open_time_ms, *c[4:9]) for c in candles]  # type: ignore[attr-defined]


@asynccontextmanager
async def playing(columns: CandleColumns, **options: Any) -> AsyncIterator[Rig]:
    async with running(columns, SYMBOL, venue="pionex", **({"limits": PLENTY} | options)) as rig:
        yield rig


@pytest.mark.covers("S1-5c", "W11")
async def test_px_20_history_comes_in_pages_and_the_poll_goes_on_from_it(month: CandleColumns) -> None:
    columns = part(month, 3 * DAY)
    start = columns.start_ms + 2 * DAY * MINUTE_MS
    async with playing(columns, start_ms=start) as rig:
        async with feeding(rig, start={"warmup_from_ms": columns.start_ms}, weight_per_second=1000) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert {candle.source for candle in fed.series()} == {"rest"}
        assert fed.statuses == []
        assert fed.notes == []
        assert fed.holes() == []


async def test_px_20_in_life_a_candle_is_polled_for_a_second_after_its_close(month: CandleColumns) -> None:
    rate, first = 20, month.start_ms + 30 * MINUTE_MS
    async with (
        playing(month, speed=rate, start_ms=first + 30 * MINUTE_MS) as rig,
        feeding(rig, rate=rate, start={"high_water_ms": first}, weight_per_second=1000) as fed,
    ):
        await fed.until(lambda: fed.high_ms >= first + 30 * MINUTE_MS)
        high_ms = fed.high_ms
        await fed.until(lambda: fed.high_ms > high_ms)
        late_s = ((fed.feed.venue_now_ms() or 0) - fed.high_ms) / 1000 / rate
        assert 0.9 < late_s < 2.9
        assert facts(fed.series()) == facts(month.slice(first, fed.high_ms).candles())
        await fed.until(lambda: bool(fed.forming))
        truth = {candle.open_time_ms: candle for candle in month.slice(end_ms=first + DAY * MINUTE_MS).candles()}
        for candle in fed.forming:
            whole = truth[candle.open_time_ms]
            assert whole.low <= candle.low <= candle.high <= whole.high
            assert candle.volume <= whole.volume


@pytest.mark.covers("S1-4")
@pytest.mark.parametrize(("fault", "told"), [("drop", [False, True]), ("retire", [])])
async def test_px_09_after_a_break_or_an_announced_close_nothing_is_missing(
    month: CandleColumns, fault: str, told: list[bool]
) -> None:
    async with (
        playing(month, speed=600) as rig,
        feeding(rig, rate=600, start={"high_water_ms": month.start_ms}, weight_per_second=1000) as fed,
    ):
        await fed.until(lambda: bool(fed.forming))
        await rig.control.fault(fault, **({"seconds": 1800} if fault == "retire" else {}))
        await fed.until(lambda: fed.feed.stats()["connections"] >= 2 and fed.feed.state.links.up)
        await fed.until_told(fed.high_ms + 10 * MINUTE_MS)
        assert [up for up, _ in fed.statuses] == told
        series = fed.series()
        assert facts(series) == facts(month.slice(end_ms=series[-1].close_time_ms).candles())


async def test_px_09_pongs_keep_the_connection_and_pings_keep_a_market_without_trades_up(month: CandleColumns) -> None:
    quiet = replace(month, volume=month.volume * 0)
    limits = replace(PLENTY, ping_interval_s=0.1)
    async with (
        playing(quiet, limits=limits, speed=60) as rig,
        feeding(rig, rate=60, silence_timeout_s=1.0, weight_per_second=1000) as fed,
    ):
        await fed.until(lambda: fed.feed.health()["up"])
        began = time.monotonic()
        await fed.until(lambda: time.monotonic() - began > 2.0)
        assert (fed.feed.stats()["connections"], fed.statuses) == (1, [])


async def test_px_10_a_subscription_without_acknowledgement_is_made_again(month: CandleColumns) -> None:
    quiet = replace(month, volume=month.volume * 0)
    limits = replace(PLENTY, ping_interval_s=0.1)
    async with playing(quiet, limits=limits, speed=60) as rig:
        await rig.control.fault("no_ack", times=1)
        async with feeding(rig, rate=60, silence_timeout_s=1.0, weight_per_second=1000) as fed:
            await fed.until(lambda: fed.feed.health()["up"])
            assert fed.feed.stats()["connections"] == 2
            assert [note.detail for note in fed.notes] == ["no SUBSCRIBED for TRADE of BTC_USDT"]


@pytest.mark.parametrize("how", ["json", "value", "nan", "negative", "jump", "symbol", "future"])
async def test_px_15_garbage_over_rest_is_refused_and_fetched_again(month: CandleColumns, how: str) -> None:
    columns = part(month, 400)
    async with playing(columns, start_ms=columns.start_ms + 300 * MINUTE_MS) as rig:
        await rig.control.fault("corrupt_rows", times=2, how=how)
        async with feeding(rig, start={"high_water_ms": columns.start_ms}, weight_per_second=1000) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())


async def test_px_05_the_simulators_horizon_is_the_venues(month: CandleColumns) -> None:
    async with (
        playing(month, start_ms=month.end_ms - MINUTE_MS, speed=1) as rig,
        gateway(rig, weight_per_second=1000) as venue,
    ):
        now_ms = (await venue.history.time()).venue_ms
        got = await venue.history.page(SYMBOL, "1m", month.start_ms, None, now_ms)
        first_ms = now_ms // MINUTE_MS * MINUTE_MS - (HORIZON_ROWS - 1) * MINUTE_MS
        assert abs(got.candles[0].open_time_ms - first_ms) <= MINUTE_MS
        assert got.unusable == tuple(range(month.start_ms, got.candles[0].open_time_ms, MINUTE_MS))


async def test_px_05_a_new_feed_begins_at_the_horizon_and_a_late_one_knows_what_it_lost(month: CandleColumns) -> None:
    now_ms = month.end_ms - 60 * MINUTE_MS
    async with playing(month, start_ms=now_ms) as rig:
        async with feeding(rig, start={"warmup_from_ms": month.start_ms}, weight_per_second=1000) as fed:
            await fed.until_told(month.end_ms)
        series = fed.series()
        assert facts(series) == facts(month.slice(series[0].open_time_ms).candles())
        assert now_ms - series[0].open_time_ms in (HORIZON_ROWS * MINUTE_MS, (HORIZON_ROWS - 1) * MINUTE_MS)
        assert fed.holes() == []
    async with playing(month, start_ms=now_ms) as rig:
        async with feeding(rig, start={"high_water_ms": month.start_ms}, weight_per_second=1000) as fed:
            await fed.until(lambda: fed.high_ms >= month.end_ms)
        (lost,) = fed.holes()
        assert lost == ("missing", month.start_ms, series[0].open_time_ms)


async def test_px_06_the_simulators_native_candles_are_the_tapes(month: CandleColumns) -> None:
    async with (
        playing(month, start_ms=month.end_ms - MINUTE_MS, speed=1) as rig,
        gateway(rig, weight_per_second=1000) as venue,
    ):
        now_ms = (await venue.history.time()).venue_ms
        for interval, width in (("1h", 60), ("4h", 240), ("1d", DAY)):
            from_ms = month.end_ms - 20 * width * MINUTE_MS
            got = await venue.history.page(SYMBOL, interval, from_ms, month.end_ms, now_ms)
            assert len(got.candles) == 19
            first = got.candles[0]
            minutes = month.slice(first.open_time_ms, first.close_time_ms)
            assert first[4:9] == (
                minutes.open[0], minutes.high.max(), minutes.low.min(), minutes.close[-1], minutes.volume.sum(),
            )  # fmt: skip
        with pytest.raises(BadInput):
            await venue.history.page(SYMBOL, "2h", from_ms, None, now_ms)


async def test_px_07_a_ban_of_the_simulator_is_waited_out_and_not_lengthened(month: CandleColumns) -> None:
    limits = VenueLimits(weight=3, ban_s=60.0)
    async with playing(month, speed=1, limits=limits) as rig, gateway(rig, weight_per_second=10) as venue:
        with pytest.raises(VenueRetryable) as caught:
            await asyncio.gather(*(venue.history.time() for _ in range(6)))
        assert caught.value.retry_after_s is not None
        assert caught.value.retry_after_s > 50
        asked = (await rig.control.state())["rest_requests"]
        with pytest.raises(VenueRetryable, match="wants no request"):
            await venue.history.market(SYMBOL)
        assert (await rig.control.state())["rest_requests"] == asked


async def test_px_18_the_simulators_symbol_is_described_and_a_wrong_one_gets_its_name(month: CandleColumns) -> None:
    async with playing(month, speed=1) as rig, gateway(rig, weight_per_second=1000) as venue:
        assert (await venue.history.market(SYMBOL)).key == "pionex:BTC_USDT"
        with pytest.raises(ConfigError, match="Did you mean BTC_USDT"):
            await venue.history.market("BTCUSDT")
