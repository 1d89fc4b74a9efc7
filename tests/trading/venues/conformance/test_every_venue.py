"""What every venue's adapter must do, against the simulator that speaks as the venue does and recorded messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.venues.conformance.suite import (
    MINUTE_MS,
    SYMBOLS,
    playing,
    plenty,
    recorded,
    rule,
    sample,
)
from tests.trading.venues.rig import feeding, gateway
from trading.candles import Candle, check_candle
from trading.clock import steady_ns
from trading.config.model import Venues
from trading.errors import ConfigError, MantaError, VenueRetryable
from trading.fold_columns import fold_columns
from trading.intervals import DAY_MS, parse_interval
from trading.jumps import jumps
from trading.venues.adapter import Forming, History, ServerShutdown, adapter
from trading.venues.gateway import Gateway
from trading.venues.simulator.faults import How

DAY = 1440


def facts(candles: Any) -> list[tuple[int, ...]]:
    """Open time, prices and volume of candles."""
    return [(c.open_time_ms, *c[4:9]) for c in candles]


async def all_pages(history: History, symbol: str, interval: str, from_ms: int, now_ms: int) -> list[Candle]:
    """Everything from ``from_ms`` on, page by page, as a download asks."""
    found: list[Candle] = []
    for _ in range(100):
        page = await history.page(symbol, interval, from_ms, None, now_ms)
        assert page.unusable == ()
        assert page.anomalies == ()
        assert all(candle.open_time_ms >= from_ms for candle in page.candles)
        found += page.candles
        if not page.more:
            return found
        assert page.through_ms > from_ms
        from_ms = page.through_ms
    raise AssertionError("the pages have no end")


@rule(51)
@pytest.mark.covers("S3-4a")
async def test_history_is_complete_from_any_start(venue: str) -> None:
    columns = sample(venue, 3 * DAY)
    now_ms = columns.start_ms + 3 * DAY * MINUTE_MS - 90 * 1000
    async with (
        playing(venue, columns, start_ms=now_ms // MINUTE_MS * MINUTE_MS) as rig,
        gateway(rig, **plenty(venue)) as opened,
    ):
        rig.simulator.session.run_to(now_ms)
        for from_ms in (columns.start_ms, columns.start_ms + 777 * MINUTE_MS, now_ms - 5 * MINUTE_MS):
            got = await all_pages(opened.history, SYMBOLS[venue], "1m", from_ms, now_ms)
            assert facts(got) == facts(columns.slice(from_ms, now_ms // MINUTE_MS * MINUTE_MS).candles())
            assert {candle.source for candle in got} == {"rest"}
            assert {candle.market for candle in got} == {f"{venue}:{SYMBOLS[venue]}"}


@rule(52)
async def test_a_live_feed_tells_every_minute_once(venue: str) -> None:
    columns = sample(venue, 500)
    start = columns.start_ms + 200 * MINUTE_MS
    async with playing(venue, columns, start_ms=start) as rig:
        async with feeding(rig, start={"warmup_from_ms": columns.start_ms}, **plenty(venue)) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert (fed.holes(), fed.notes, fed.statuses) == ([], [], [])


@rule(53)
async def test_what_a_lost_connection_missed_is_told_after_all(venue: str) -> None:
    columns = sample(venue, 600)
    async with playing(venue, columns) as rig:
        await rig.control.fault("refuse", at_ms=columns.start_ms + 299 * MINUTE_MS)
        await rig.control.fault("drop", at_ms=columns.start_ms + 300 * MINUTE_MS)
        async with feeding(rig, start={"high_water_ms": columns.start_ms}, **plenty(venue)) as fed:
            await fed.until_told(columns.end_ms)
            await fed.until(lambda: [up for up, _ in fed.statuses] == [False, True])
        assert facts(fed.series()) == facts(columns.candles())
        assert fed.holes() == []


@rule(54)
async def test_broken_messages_harm_no_minute(venue: str) -> None:
    """What a broken message hid is asked from REST; one from the future changes nothing."""
    columns = sample(venue, 500)
    # A frame of Hyperliquid names its market once: one of another market is no message of this one at all.
    hows = ("json", "nan", "negative", "future", *(() if venue == "hyperliquid" else ("symbol",)))
    async with playing(venue, columns) as rig:
        for number, how in enumerate(hows, 1):
            await rig.control.fault("corrupt", at_ms=columns.start_ms + number * 80 * MINUTE_MS, times=4, how=how)
        async with feeding(rig, start={"high_water_ms": columns.start_ms}, **plenty(venue)) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert fed.holes() == []
        assert len(fed.notes) >= 8
        assert {note.market for note in fed.notes} == {f"{venue}:{SYMBOLS[venue]}"}


@rule(55)
async def test_an_unknown_symbol_is_refused_with_the_nearest_names(venue: str) -> None:
    symbol = SYMBOLS[venue]
    async with playing(venue, sample(venue, 10)) as rig, gateway(rig, **plenty(venue)) as opened:
        market = await opened.history.market(symbol)
        assert (market.key, market.base, market.warning) == (f"{venue}:{symbol}", "BTC", "")
        assert market.tick_size > 0
        assert market.lot_size > 0
        with pytest.raises(ConfigError, match=symbol) as caught:
            await opened.history.market(symbol[:-1] + "X" if len(symbol) > 3 else symbol + "X")
        assert caught.value.field == "markets"


@rule(56)
async def test_the_venues_time_is_paired_with_the_midpoint(venue: str) -> None:
    columns = sample(venue, 60)
    start = columns.start_ms + 30 * MINUTE_MS
    async with playing(venue, columns, start_ms=start) as rig, gateway(rig, **plenty(venue)) as opened:
        before = steady_ns()
        told = await opened.history.time()
        assert before <= told.host.steady_ns <= steady_ns()
        assert abs(told.venue_ms - start) <= MINUTE_MS


@rule(57)
async def test_while_the_venue_wants_no_request_none_is_sent(venue: str) -> None:
    async with playing(venue, sample(venue, 60)) as rig, gateway(rig, **plenty(venue)) as opened:
        await rig.control.fault("rest_status", status=429, times=1, retry_after=60)
        with pytest.raises(VenueRetryable) as caught:
            await opened.history.market(SYMBOLS[venue])
        asked = opened.history.requests
        with pytest.raises(VenueRetryable) as again:
            await opened.history.time()
        for error in (caught.value, again.value):
            assert error.retry_after_s is not None
            assert error.retry_after_s > 5
        assert opened.history.requests == asked


@rule(58)
def test_nothing_that_may_come_raises(venue: str, shared_data: Path) -> None:
    parts, market = adapter(venue), f"{venue}:{SYMBOLS[venue]}"
    wire, seeds = parts.wire(Venues().of(venue)), list(recorded(shared_data, venue))[:60]
    json_like = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
    cut = st.tuples(st.sampled_from(seeds), st.integers(0, 400), st.text(max_size=4)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
    )

    @settings(max_examples=150, deadline=None)
    @given(st.text() | st.binary() | json_like.map(json.dumps) | cut | cut.map(str.encode))
    def check(raw: str | bytes) -> None:
        reader = parts.reader(market, SYMBOLS[venue])
        assert wire.route(raw) is None or isinstance(wire.route(raw), str)
        assert wire.answer(raw) is None or isinstance(wire.answer(raw), str)
        for want_forming in (True, False):
            for message in reader.read(raw, 1, want_forming=want_forming):
                if isinstance(message, Candle):
                    assert check_candle(message) is None

    check()


@rule(59)
def test_recorded_messages_are_read_or_named(venue: str, shared_data: Path) -> None:
    parts = adapter(venue)
    wire = parts.wire(Venues().of(venue))
    routed = 0
    for raw in recorded(shared_data, venue):
        symbol = wire.route(raw)
        if symbol is None:
            continue
        routed += bool(symbol)
        market = f"{venue}:{symbol or SYMBOLS[venue]}"
        for message in parts.reader(market, symbol or SYMBOLS[venue]).read(raw, 1):
            if isinstance(message, Candle | Forming):
                candle = message.candle if isinstance(message, Forming) else message
                assert candle is None or (candle.market == market and check_candle(candle) is None)
            elif not isinstance(message, ServerShutdown):
                assert message.market == market
    assert routed > 0


@rule(60)
async def test_native_intervals_fold_from_the_minutes(venue: str) -> None:
    more = sample(venue, 6 * DAY + 10)
    columns = more.slice(more.start_ms, more.start_ms + 6 * DAY * MINUTE_MS)
    now_ms = columns.end_ms + MINUTE_MS
    async with playing(venue, more, start_ms=now_ms) as rig, gateway(rig, **plenty(venue)) as opened:
        for interval in adapter(venue).intervals:
            if interval == "1m" or parse_interval(interval).typical_ms > DAY_MS:
                continue
            assert parse_interval(interval).name == interval
            got = await all_pages(opened.history, SYMBOLS[venue], interval, columns.start_ms, now_ms)
            assert facts(got) == facts(fold_columns(columns, interval).candles()), interval
            assert {candle.source for candle in got} == {"native"}
            assert {candle.interval for candle in got} == {interval}


@rule(61)
async def test_endpoints_fit_the_origin_and_redirects_lead_nowhere(venue: str) -> None:
    real = Venues().of(venue)
    loopback = real.model_copy(update={"rest_url": "http://127.0.0.1:1", "stream_url": "ws://127.0.0.1:1"})
    for chosen, origin in ((loopback, "venue"), (real, "simulator")):
        with pytest.raises(ConfigError):
            Gateway(venue, chosen, origin=origin)  # type: ignore[arg-type]
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", redirect)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Gateway(venue, loopback.model_copy(update={"rest_url": url}), origin="simulator") as opened:
            with pytest.raises(MantaError):
                await opened.history.time()
        assert "/elsewhere" not in asked
    finally:
        await runner.cleanup()


@rule(62)
@pytest.mark.parametrize("how", get_args(How))
async def test_garbage_in_rows_is_refused_and_named(venue: str, how: str) -> None:
    """A spoiled row is told by nobody: the answer is refused as a whole, or the row's minute is left open and noted."""
    columns = sample(venue, 200)
    now_ms = columns.start_ms + 100 * MINUTE_MS
    from_ms, spoiled_ms = now_ms - 20 * MINUTE_MS, now_ms - MINUTE_MS
    truth = facts(columns.slice(from_ms, now_ms).candles())
    reasons = {"value": "insane", "nan": "malformed", "negative": "insane", "future": "future"}
    async with playing(venue, columns, start_ms=now_ms) as rig, gateway(rig, **plenty(venue)) as opened:
        await rig.control.fault("corrupt_rows", how=how, times=1)
        try:
            page = await opened.history.page(SYMBOLS[venue], "1m", from_ms, None, now_ms)
        except VenueRetryable:
            assert how in {"future", "symbol", "interval"}
        else:
            if how == "jump":
                # Only the candles around it tell that it is no price of this market: the feed looks at them.
                assert jumps(page.candles[-2], page.candles[-1])
            elif how in reasons:
                assert facts(page.candles) == truth[:-1]
                assert spoiled_ms in page.unusable or page.through_ms <= spoiled_ms
                assert [note.reason for note in page.anomalies] == [reasons[how]]
            else:
                # Rows that name no market and no interval have nothing to spoil; a cut answer is asked for again.
                assert facts(page.candles) == truth
                assert opened.history.retries == (how == "json")
        page = await opened.history.page(SYMBOLS[venue], "1m", from_ms, None, now_ms)
        assert (facts(page.candles), page.unusable, page.anomalies) == (truth, (), ())
