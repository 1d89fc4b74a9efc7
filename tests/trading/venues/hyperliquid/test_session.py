"""A Hyperliquid market feed, and its REST side, against the simulator that speaks as the venue does."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from tests.trading.venues.conformance.suite import MINUTE_MS, playing, plenty, sample
from tests.trading.venues.rig import Fed, feeding, gateway
from trading.candles import Candle
from trading.config.model import Config, HyperliquidVenue
from trading.errors import VenueRetryable
from trading.events import Heal
from trading.feed_events import Anomaly
from trading.venues.hyperliquid.history import KEPT, HyperliquidHistory
from trading.venues.hyperliquid.messages import CandleReader
from trading.venues.hyperliquid.stream import HyperliquidWire
from trading.venues.resolve import resolve_markets
from trading.venues.simulator.dialect import VenueLimits

VENUE = "hyperliquid"
PLENTY = plenty(VENUE)
IMPATIENT = VenueLimits(weight=10_000_000, silence_s=0.6)


def heals(fed: Fed) -> list[Heal]:
    return [item for item in fed.items if isinstance(item, Heal)]


def facts(candles: object) -> list[tuple[int, ...]]:
    """Open time, prices and volume of candles."""
    return [(c.open_time_ms, *c[4:9]) for c in candles]  # type: ignore[attr-defined]


@pytest.mark.covers("S2-2")
@pytest.mark.parametrize("ping_s", [0.1, 60.0])
async def test_hl_03_a_connection_that_nothing_was_sent_to_is_dropped_unless_we_ping(
    ping_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HyperliquidWire, "ping", (ping_s, '{"method":"ping"}'))
    columns = sample(VENUE, 3000)
    async with (
        playing(VENUE, columns, speed=600, limits=IMPATIENT) as rig,
        feeding(rig, rate=600, start={"high_water_ms": columns.start_ms}, **PLENTY) as fed,
    ):
        await fed.until(lambda: fed.feed.health()["up"])
        await rig.control.pause()
        if ping_s < 1:
            frames = fed.feed.stats()["frames"]
            await fed.until(lambda: fed.feed.stats()["frames"] > frames + 10)
            assert fed.statuses == []
        else:
            await fed.until(lambda: [up for up, _ in fed.statuses] == [False])
        await rig.control.resume()
        await fed.until_told(fed.high_ms + 10 * MINUTE_MS)
        await fed.until(lambda: [up for up, _ in fed.statuses] == ([] if ping_s < 1 else [False, True]))
        told = fed.series()
        assert facts(told) == facts(columns.slice(end_ms=told[-1].close_time_ms).candles())


async def test_hl_04_an_unknown_coin_costs_the_known_ones_a_reconnect_and_no_candle() -> None:
    columns = sample(VENUE, 3000)
    async with (
        playing(VENUE, columns, speed=600) as rig,
        feeding(rig, rate=600, start={"high_water_ms": columns.start_ms}, **PLENTY) as fed,
    ):
        await fed.until(lambda: fed.feed.health()["up"])
        async with fed.gateway.hub.line("NOSUCH", lambda _: None, lambda _: None) as line:
            assert await line.lost()
        await fed.until(lambda: fed.feed.stats()["connections"] == 2)
        await fed.until_told(fed.high_ms + 10 * MINUTE_MS)
        told = fed.series()
        assert facts(told) == facts(columns.slice(end_ms=told[-1].close_time_ms).candles())


async def test_hl_02_a_revision_is_noted_and_changes_what_was_told_when_rest_confirms_it() -> None:
    columns = sample(VENUE, 300)
    async with playing(VENUE, columns) as rig:
        await rig.control.fault("revise", at_ms=columns.start_ms + 100 * MINUTE_MS)
        async with feeding(rig, start={"high_water_ms": columns.start_ms}, **PLENTY) as fed:
            await fed.until_told(columns.end_ms)
            await fed.until(lambda: bool(heals(fed)))
        candles = [item for item in fed.items if isinstance(item, Candle)]
        assert facts(candles) == facts(columns.candles())
        assert {note.reason for note in fed.notes} == {"revised"}
        (heal,) = heals(fed)
        (row,) = heal.candles
        assert heal.why
        assert row.high > next(each for each in candles if each.open_time_ms == row.open_time_ms).high


@pytest.mark.conforms("HL-15")
@pytest.mark.parametrize("rate", [0, 1200], ids=["lockstep", "at speed"])
async def test_minutes_whose_last_frame_the_stream_left_out_are_corrected_by_rest(rate: int) -> None:
    """A slow machine may ask REST for one or another before the stream tells it: of thirty, not for all."""
    columns = sample(VENUE, 90)
    true = {candle.open_time_ms: candle for candle in columns.candles()}
    skipped_ms = columns.start_ms + 20 * MINUTE_MS

    def told_false() -> list[int]:
        """What a candle is, is told by the next one's first frame."""
        candles = [item for item in fed.items if isinstance(item, Candle)]
        return [each.open_time_ms for each in candles if each[4:9] != true[each.open_time_ms][4:9]]

    async with playing(VENUE, columns, speed=rate or None, lead=20) as rig:
        await rig.control.fault("skip_closing", at_ms=skipped_ms, times=30)
        async with feeding(rig, rate=rate, start={"high_water_ms": columns.start_ms}, **PLENTY) as fed:
            await fed.until_told(skipped_ms + 60 * MINUTE_MS)
            await fed.until(lambda: len(heals(fed)) == len(told_false()))
        told = fed.series()
        assert told_false() == [heal.from_ms for heal in heals(fed)] != []
        assert facts(told) == facts(columns.slice(end_ms=told[-1].close_time_ms).candles())
        assert {note.reason for note in fed.notes} <= {"revised"}, "REST may show one before it is asked to"
        assert fed.feed.stats()["corrected"] == len(heals(fed))


async def test_hl_09_a_refusal_with_the_body_null_is_obeyed() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=429, text="null", content_type="application/json")

    app = web.Application()
    app.router.add_post("/info", refuse)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        venue = HyperliquidVenue(rest_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with HyperliquidHistory(venue, origin="simulator") as history:
            for _ in range(2):
                with pytest.raises(VenueRetryable) as caught:
                    await history.time()
                assert (caught.value.retry_after_s or 0) > 5
            assert history.requests == 1
    finally:
        await runner.cleanup()


async def test_hl_10_before_the_candles_that_the_venue_keeps_minutes_are_unknown() -> None:
    columns = sample(VENUE, KEPT + 500)
    now_ms = columns.start_ms + (KEPT + 400) * MINUTE_MS
    async with playing(VENUE, columns, start_ms=now_ms) as rig, gateway(rig, **PLENTY) as opened:
        page = await opened.history.page("BTC", "1m", columns.start_ms, None, now_ms)
        first_ms = page.candles[0].open_time_ms
        assert page.unusable == tuple(range(columns.start_ms, first_ms, MINUTE_MS))
        assert facts(page.candles) == facts(columns.slice(first_ms, now_ms).candles())
        assert KEPT - 2 <= len(page.candles) <= KEPT
        horizon_ms = opened.history.horizon_ms("1m")
        assert horizon_ms is not None
        assert now_ms - horizon_ms >= first_ms - MINUTE_MS


@pytest.mark.parametrize("name", ["cbBTC", "cbBTC-PERP"])
async def test_hl_11_a_name_from_elsewhere_means_the_venues_own_with_a_warning(name: str) -> None:
    async with playing(VENUE, sample(VENUE, 10)) as rig:
        urls = {"rest_url": rig.simulator.rest_url, "stream_url": rig.simulator.stream_url}
        written = Config.model_validate({"markets": [f"{VENUE}:{name}"], "venues": {VENUE: urls}})
        found = await resolve_markets(written, origin="simulator")
        assert found.config.markets == ("hyperliquid:BTC",)
        assert found.aliases == {f"{VENUE}:{name}": "hyperliquid:BTC"}
        assert len(found.warnings) == 1
        assert found.warnings[0].startswith(f"{VENUE}:{name} means hyperliquid:BTC. ")


async def test_hl_12_a_candle_that_no_later_frame_closes_is_asked_from_rest() -> None:
    columns = sample(VENUE, 60)
    async with playing(VENUE, columns) as rig:
        async with feeding(rig, start={"high_water_ms": columns.start_ms}, **PLENTY) as fed:
            await fed.until_told(columns.end_ms)
        assert facts(fed.series()) == facts(columns.candles())
        assert [candle.source for candle in fed.series()][-1] == "rest"
    assert HyperliquidVenue().close_grace_s == 2


def frame(minute: int, close: str = "2.0") -> str:
    opened = minute * MINUTE_MS
    data = {
        "t": opened, "T": opened + MINUTE_MS - 1, "s": "BTC", "i": "1m", "o": "1.0", "h": "3.0", "l": "1.0", "c": close,
        "v": "1.0", "n": 1,
    }  # fmt: skip
    return json.dumps({"channel": "candle", "data": data}, separators=(",", ":"))


def told(*messages: str) -> list[Candle | Anomaly]:
    """What one reader tells of ``messages`` besides forming candles."""
    reader = CandleReader("hyperliquid:BTC", "BTC")
    return [each for raw in messages for each in reader.read(raw, 1) if isinstance(each, Candle | Anomaly)]


def test_hl_13_a_candle_whose_last_frame_was_broken_is_not_told() -> None:
    (broken,) = told(frame(1), '{"channel":"candle","da', frame(2))
    assert isinstance(broken, Anomaly)
    first, second = told(frame(1), "{", frame(1, "2.5"), frame(2))
    assert isinstance(first, Anomaly)
    assert isinstance(second, Candle), "a later frame of the same candle says all that the broken one could"
    assert second.close == 250_000_000


def test_hl_13_a_frame_an_hour_ahead_is_not_believed_alone() -> None:
    (doubted, third) = told(frame(1), frame(1441), frame(2), frame(3))
    assert isinstance(doubted, Anomaly)
    assert doubted.reason == "future"
    assert isinstance(third, Candle)
    assert third.open_time_ms == 2 * MINUTE_MS
    after_a_pause = told(frame(1), frame(100), frame(100), frame(101))
    assert [each.open_time_ms for each in after_a_pause if isinstance(each, Candle)] == [100 * MINUTE_MS]
    begun_wrong = told(frame(1441), frame(2), frame(2), frame(3))
    assert [each.open_time_ms for each in begun_wrong if isinstance(each, Candle)] == [2 * MINUTE_MS]
