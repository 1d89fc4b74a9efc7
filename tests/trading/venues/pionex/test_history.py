"""Pionex's REST side: pages that go backwards and come out oldest first, envelopes, bans and symbols."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.trading.venues.pionex.venue import MINUTE_MS, START, Venue, answering, refusal, success
from trading.clock import ReplayClock
from trading.config.model import PionexVenue
from trading.errors import BadInput, ConfigError, MantaError, VenueAuth, VenueRetryable
from trading.markets import Market
from trading.venues.adapter import Page, adapter
from trading.venues.pionex.history import HORIZON_ROWS, PionexHistory


def minutes(page: Page) -> list[int]:
    return [(candle.open_time_ms - START) // MINUTE_MS for candle in page.candles]


async def page(
    history: PionexHistory, from_minute: int, to_minute: int | None, now_ms: int, interval: str = "1m"
) -> Page:
    to_ms = None if to_minute is None else START + to_minute * MINUTE_MS
    return await history.page("BTC_USDT", interval, START + from_minute * MINUTE_MS, to_ms, now_ms)


async def everything(history: PionexHistory, from_minute: int, to_minute: int, now_ms: int) -> list[Page]:
    """Pages until ``to_minute``, each from where the last one ended."""
    pages = [await page(history, from_minute, to_minute, now_ms)]
    while pages[-1].more and pages[-1].through_ms < START + to_minute * MINUTE_MS:
        pages.append(await page(history, (pages[-1].through_ms - START) // MINUTE_MS, to_minute, now_ms))
    return pages


async def test_px_01_result_false_at_http_200_is_no_success() -> None:
    async with answering((200, refusal("MARKET_INVALID_SYMBOL"))) as history:
        with pytest.raises(BadInput, match="MARKET_INVALID_SYMBOL"):
            await page(history, 0, None, START)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, refusal("MARKET_INVAILD_SYMBOL"), BadInput),
        (400, refusal("MARKET_INVALID_SYMBOL"), BadInput),
        (200, refusal("MARKET_PARAMETER_ERROR"), ConfigError),
        (200, refusal("IP_NOT_WHITELISTED"), VenueAuth),
        (200, refusal("SOMETHING_ELSE"), VenueRetryable),
        (200, {"klines": []}, VenueRetryable),
        (200, "<html>", VenueRetryable),
        (200, "[[", VenueRetryable),
        (200, success({}), VenueRetryable),
        (200, success({"klines": [{"time": "x"}]}), VenueRetryable),
        (500, "", VenueRetryable),
        (403, "<html>WAF</html>", VenueAuth),
        (404, "not found", ConfigError),
    ],
)
async def test_px_01_each_refusal_says_what_to_do(status: int, body: object, kind: type[MantaError]) -> None:
    async with answering((status, body)) as history:
        with pytest.raises(kind) as caught:
            await page(history, 0, None, START)
        assert type(caught.value) is kind


@pytest.mark.parametrize("newest_first", [True, False])
async def test_px_02_newest_first_or_ascending_pages_come_out_oldest_first(newest_first: bool) -> None:
    venue = Venue(START + 30 * MINUTE_MS, list(range(31)), newest_first)
    async with answering(venue.answer) as history:
        got = await page(history, 3, None, venue.now_ms)
        assert minutes(got) == list(range(3, 30))
        assert got.through_ms == venue.now_ms


async def test_px_03_the_open_candle_is_left_out_until_the_envelopes_time_is_past_its_end() -> None:
    venue = Venue(START + 5 * MINUTE_MS - 1, list(range(5)))
    async with answering(venue.answer) as history:
        got = await page(history, 0, None, venue.now_ms)
        assert minutes(got) == [0, 1, 2, 3]
        assert (got.through_ms, got.more) == (START + 4 * MINUTE_MS, False)
        venue.now_ms += 1
        # The row may have been read before the envelope was stamped: it was not surely asked for after its end.
        assert minutes(await page(history, 0, None, venue.now_ms - 1)) == [0, 1, 2, 3]
        assert minutes(await page(history, 0, None, venue.now_ms)) == [0, 1, 2, 3, 4]


async def test_px_03_a_clock_that_runs_ahead_closes_no_candle() -> None:
    venue = Venue(START + 5 * MINUTE_MS - 30_000, list(range(5)))

    def answer(request: web.Request) -> web.Response:
        body = json.loads(venue.answer(request).body)  # type: ignore[arg-type]
        return web.json_response(body | {"timestamp": venue.now_ms + 3_600_000})

    async with answering(answer) as history:
        ahead_ms = venue.now_ms + 3_600_000
        assert minutes(await page(history, 0, None, ahead_ms)) == [0, 1, 2, 3]
    async with answering(venue.answer) as history:
        venue.now_ms += MINUTE_MS
        assert minutes(await page(history, 0, None, venue.now_ms)) == [0, 1, 2, 3, 4]


async def test_px_03_a_later_row_proves_a_candle_closed_though_the_envelope_tells_no_time() -> None:
    rows = [
        {"time": START + n * MINUTE_MS, "open": "1", "close": "1", "high": "1", "low": "1", "volume": "0"}
        for n in range(3)
    ]
    async with answering((200, {"result": True, "data": {"klines": rows}, "timestamp": 1})) as history:
        assert minutes(await page(history, 0, None, START + 2 * MINUTE_MS)) == [0, 1]


@pytest.mark.covers("W10")
async def test_px_04_pages_of_500_join_without_duplicates_or_gaps() -> None:
    venue = Venue(START + 1800 * MINUTE_MS, list(range(1801)))
    async with answering(venue.answer) as history:
        pages = await everything(history, 0, 1700, venue.now_ms)
        found = [minute for each in pages for minute in minutes(each)]
        assert found == list(range(found[-1] + 1))
        assert found[-1] in (1700, 1701)
        assert [len(each.candles) for each in pages[:3]] == [500, 500, 500]
        assert {query["limit"] for query in venue.asked[:3]} == {"500"}


async def test_px_04_a_venue_that_gives_less_than_asked_is_asked_backwards_by_the_oldest_time_less_one() -> None:
    venue = Venue(START + 300 * MINUTE_MS, list(range(301)))

    def answer(request: web.Request) -> web.Response:
        reply = venue.answer(request)
        if len(venue.asked) > 1:
            return reply
        # One row beyond what was asked takes the place of the oldest.
        body = json.loads(reply.body)  # type: ignore[arg-type]
        rows = body["data"]["klines"]
        body["data"]["klines"] = [rows[0] | {"time": rows[0]["time"] + MINUTE_MS}, *rows[:-1]]
        return web.json_response(body)

    async with answering(answer) as history:
        got = await page(history, 100, 199, venue.now_ms)
        assert minutes(got) == list(range(100, 201))
        ends = [int(query["endTime"]) for query in venue.asked]
        assert len(ends) == 2
        assert ends[1] == START + 101 * MINUTE_MS - 1


async def test_px_04_the_end_of_a_question_is_right_whether_it_is_inclusive_or_not() -> None:
    venue = Venue(START + 300 * MINUTE_MS, list(range(301)))
    async with answering(venue.answer) as history:
        await page(history, 10, 19, venue.now_ms)
        (query,) = venue.asked
        assert (int(query["endTime"]) - START) % MINUTE_MS == MINUTE_MS - 1
        assert (query["interval"], query["limit"]) == ("1M", "11")


async def test_px_05_before_the_venues_10000_rows_minutes_are_unknown_and_never_absent() -> None:
    last = HORIZON_ROWS + 199
    venue = Venue(START + last * MINUTE_MS, list(range(last + 1)))
    async with answering(venue.answer) as history:
        got = await page(history, 0, None, venue.now_ms)
        assert minutes(got)[0] == 200
        assert got.unusable == tuple(START + minute * MINUTE_MS for minute in range(200))
        found = [minute for each in await everything(history, 0, last, venue.now_ms) for minute in minutes(each)]
        assert found == list(range(200, last))
        assert history.horizon_ms("1m") == HORIZON_ROWS * MINUTE_MS
        assert history.horizon_ms("1h") == HORIZON_ROWS * 60 * MINUTE_MS


async def test_px_05_what_the_venue_keeps_no_more_is_not_asked_for() -> None:
    last = HORIZON_ROWS + 199
    venue = Venue(START + last * MINUTE_MS, list(range(last + 1)))
    async with answering(venue.answer) as history:
        got = await page(history, 20, 30, venue.now_ms)
        assert got == Page((), START + 30 * MINUTE_MS, False, tuple(START + n * MINUTE_MS for n in range(20, 30)), ())
        assert venue.asked == []


async def test_px_05_a_market_that_is_younger_than_asked_begins_with_its_first_row() -> None:
    venue = Venue(START + 90 * MINUTE_MS, list(range(60, 91)))
    async with answering(venue.answer) as history:
        got = await page(history, 0, None, venue.now_ms)
        assert (minutes(got)[0], got.unusable) == (60, ())


async def test_px_06_every_interval_is_asked_by_the_venues_name() -> None:
    venue = Venue(START + 3000 * MINUTE_MS, list(range(3001)))
    async with answering(venue.answer) as history:
        for interval, minutes_wide in (("1h", 60), ("4h", 240), ("1d", 1440)):
            got = await page(history, 0, None, venue.now_ms, interval)
            assert [candle.open_time_ms for candle in got.candles] == [
                START + number * minutes_wide * MINUTE_MS for number in range(3000 // minutes_wide)
            ]
            assert {(candle.interval, candle.source) for candle in got.candles} == {(interval, "native")}
        assert [query["interval"] for query in venue.asked] == ["60M", "4H", "1D"]
        with pytest.raises(BadInput, match="no candles of 2h"):
            await page(history, 0, None, venue.now_ms, "2h")
        assert adapter("pionex").intervals == ("1m", "5m", "15m", "30m", "1h", "4h", "8h", "12h", "1d")


async def test_px_07_a_429_stops_every_call_of_the_process_for_60_s() -> None:
    answers: list[tuple[int, Any]] = [(429, "")]
    asked: list[str] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        status, body = answers.pop(0) if answers else (200, success({"klines": []}))
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    clock = ReplayClock(now_ns=1_000_000_000)
    async with answering(answer, clock=clock) as history:
        with pytest.raises(VenueRetryable) as caught:
            await page(history, 0, None, START)
        assert caught.value.retry_after_s == 60
        for call in (lambda: page(history, 0, None, START), lambda: history.market("BTC_USDT"), history.time):
            clock.advance(15)
            with pytest.raises(VenueRetryable, match="wants no request"):
                await call()
        venue = PionexVenue(rest_url="http://127.0.0.1:1")
        async with PionexHistory(venue, origin="simulator", limiter=history.limiter, clock=clock) as another:
            with pytest.raises(VenueRetryable, match="wants no request"):
                await page(another, 0, None, START)
            assert another.requests == 0
        assert len(asked) == 1
        clock.advance(15.1)
        await page(history, 0, None, START)
        assert len(asked) == 2


async def test_px_16_the_time_is_any_envelopes_time_a_refusal_included() -> None:
    for body in (success({"klines": []}, START + 7), refusal("MARKET_INVALID_SYMBOL", START + 7)):
        async with answering((200, body)) as history:
            assert (await history.time()).venue_ms == START + 7


async def test_px_17_an_absent_minute_is_passed_over_once_a_later_row_is_seen() -> None:
    venue = Venue(START + 2000 * MINUTE_MS, [*range(100), *range(1400, 2001)])
    async with answering(venue.answer) as history:
        pages = await everything(history, 0, 1500, venue.now_ms)
        found = [minute for each in pages for minute in minutes(each)]
        assert found == [*range(100), *range(1400, found[-1] + 1)]
        assert all(before.through_ms < after.through_ms for before, after in pairwise(pages))
        assert pages[-1].through_ms > START + 1500 * MINUTE_MS


async def test_px_17_a_row_of_another_time_in_place_of_one_proves_nothing_absent() -> None:
    venue = Venue(START + 30 * MINUTE_MS, list(range(31)))

    def answer(request: web.Request) -> web.Response:
        body = json.loads(venue.answer(request).body)  # type: ignore[arg-type]
        body["data"]["klines"][3]["time"] += 1440 * MINUTE_MS
        return web.json_response(body)

    async with answering(answer) as history:
        with pytest.raises(VenueRetryable, match="not asked for"):
            await page(history, 0, None, venue.now_ms)


async def test_px_17_nothing_proves_nothing() -> None:
    venue = Venue(START + 2000 * MINUTE_MS, list(range(100)))
    async with answering(venue.answer) as history:
        got = await page(history, 100, 300, venue.now_ms)
        assert (got.candles, got.through_ms, got.more) == ((), START + 100 * MINUTE_MS, False)


async def test_px_18_a_documented_symbol_is_described_with_its_rounding_rules(shared_data: Path) -> None:
    entry = json.loads((shared_data / "messages" / "pionex" / "rest_symbols_example.jsonl").read_text())
    async with answering((200, entry["body"])) as history:
        assert await history.market("BTC_USDT") == Market(
            "pionex", "BTC_USDT", "spot", "BTC", "USDT", 2, 6, Decimal("0.01"), Decimal("0.000001"), Decimal(10)
        )


def listing(*names: str, enable: bool = True) -> dict[str, Any]:
    shape = {"quoteCurrency": "USDT", "basePrecision": 6, "quotePrecision": 2, "minAmount": "10", "enable": enable}
    return success(
        {
            "symbols": [
                shape
                | {"symbol": name, "baseCurrency": name.split("_")[0], "type": "PERP" if "PERP" in name else "SPOT"}
                for name in names
            ]
        }
    )


@pytest.mark.parametrize("asked", ["BTCUSDT", "btc_usdt", "BTC-USDT", "BTC_USTD"])
async def test_px_18_an_unknown_symbol_is_refused_with_the_nearest_names(asked: str) -> None:
    def answer(request: web.Request) -> web.Response:
        if "symbols" in request.query:
            return web.json_response(refusal("MARKET_INVALID_SYMBOL"))
        return web.json_response(listing("ETH_USDT", "BTC_USDT"))

    async with answering(answer) as history:
        with pytest.raises(ConfigError, match="Did you mean BTC_USDT") as caught:
            await history.market(asked)
        assert (caught.value.field, caught.value.value) == ("markets", f"pionex:{asked}")


async def test_px_18_a_symbol_that_is_not_enabled_is_refused_and_a_perp_is_known_as_one() -> None:
    async with answering((200, listing("BTC_USDT", enable=False))) as history:
        with pytest.raises(ConfigError, match="does not trade BTC_USDT now"):
            await history.market("BTC_USDT")
    async with answering((200, listing("BTC_USDT_PERP"))) as history:
        assert (await history.market("BTC_USDT_PERP")).kind == "perp"


async def test_px_19_a_second_holds_no_more_weight_than_configured() -> None:
    async with answering((200, success({"klines": []})), weight_per_second=8) as history:
        await history.page("BTC_USDT_PERP", "1m", START, None, START)
        assert history.limiter.used() == 5
        assert history.limiter.limit == 8
