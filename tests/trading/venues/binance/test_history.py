"""Binance's REST side: what a market is, which candles have closed, and what each refusal means."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.trading.venues.simulator.rig import running
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.clock import steady_ns
from trading.config.model import BinanceVenue
from trading.errors import ConfigError, MantaError, VenueAuth, VenueRetryable
from trading.markets import Market
from trading.venues.binance.history import BinanceHistory
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

MINUTE_MS = 60_000
Answer = Callable[[web.Request], web.StreamResponse]


@pytest.fixture(scope="session")
def month() -> CandleColumns:
    return load_columns(SAMPLE_FILE, SAMPLE_MARKET)


@asynccontextmanager
async def answering(answer: Answer, **settings: Any) -> AsyncIterator[tuple[BinanceHistory, list[str]]]:
    """A client of a server that answers every request with ``answer``, and the paths it was asked for."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path_qs)
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        venue = BinanceVenue(rest_url=url).model_copy(update=settings)
        async with BinanceHistory(venue, origin="simulator", jitter=lambda: 0.01) as history:
            yield history, asked
    finally:
        await runner.cleanup()


def saying(status: int, body: object, **headers: str) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return lambda _: web.Response(
        status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def page(history: BinanceHistory, from_ms: int = 0, to_ms: int | None = None, closed_by_ms: int = 0) -> Any:
    return await history.page("BTCUSDT", "1m", from_ms, to_ms, closed_by_ms)


def row(minute: int, high: str = "2.0") -> list[Any]:
    opened = minute * MINUTE_MS
    return [opened, "1.0", high, "1.0", "1.5", "3", opened + MINUTE_MS - 1, "4", 5, "1", "1", "0"]


def exchange_info(path: Path) -> dict[str, Any]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        entry = json.loads(lines.readline())
    info = json.loads(entry["raw"]) if "raw" in entry else entry["body"]
    assert isinstance(info, dict)
    return info


def listing(info: dict[str, Any]) -> Answer:
    """Answers as the venue does: one symbol, all, or code -1121."""

    def answer(request: web.Request) -> web.Response:
        wanted = request.query.get("symbol")
        symbols = [item for item in info["symbols"] if wanted in (None, item["symbol"])]
        if not symbols:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        return web.json_response(info | {"symbols": symbols})

    return answer


@pytest.mark.conforms("BN-17")
async def test_the_venues_time_is_paired_with_the_midpoint_of_the_question() -> None:
    async with answering(saying(200, {"serverTime": 1499827319559})) as (history, _):
        before = steady_ns()
        sample = await history.time()
        assert sample.venue_ms == 1499827319559
        assert before <= sample.host.steady_ns <= steady_ns()


@pytest.mark.conforms("BN-18")
async def test_a_recorded_market_is_described_with_its_rounding_rules(shared_data: Path) -> None:
    path = shared_data / "messages" / "binance" / "rest_exchangeInfo_spot_20211012_full.jsonl.gz"
    async with answering(listing(exchange_info(path))) as (history, _):
        assert await history.market("BTCUSDT") == Market(
            "binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(10)
        )
        assert history.limiter.limit == 1200


async def test_every_recorded_spot_market_that_trades_can_be_described(shared_data: Path) -> None:
    folder = shared_data / "messages" / "binance"
    for name in ("spot_20211012_full.jsonl.gz", "spot_202508_BTCUSDT_ETHUSDT.jsonl"):
        info = exchange_info(folder / f"rest_exchangeInfo_{name}") | {"rateLimits": []}
        async with answering(listing(info), weight_per_minute=10**6) as (history, _):
            trading = [item["symbol"] for item in info["symbols"] if item["status"] == "TRADING"]
            for symbol in trading[:150]:
                market = await history.market(symbol)
                assert market.tick_size > 0
                assert market.lot_size > 0
                assert market.min_notional > 0


@pytest.mark.conforms("BN-15")
async def test_the_lower_of_the_venues_and_the_configured_weight_limit_holds(shared_data: Path) -> None:
    path = shared_data / "messages" / "binance" / "rest_exchangeInfo_spot_20211012_full.jsonl.gz"
    for configured, expected in ((5000, 1200), (100, 100)):
        async with answering(listing(exchange_info(path)), weight_per_minute=configured) as (history, _):
            await history.market("ETHUSDT")
            assert history.limiter.limit == expected


@pytest.mark.conforms("BN-18")
async def test_an_unknown_symbol_is_refused_with_the_nearest_names(shared_data: Path) -> None:
    path = shared_data / "messages" / "binance" / "rest_exchangeInfo_spot_20211012_full.jsonl.gz"
    async with answering(listing(exchange_info(path))) as (history, _):
        with pytest.raises(ConfigError, match="BTCUSDT") as caught:
            await history.market("BTCUSTD")
        assert caught.value.field == "markets"


@pytest.mark.conforms("BN-18")
async def test_a_market_that_does_not_trade_is_refused(shared_data: Path) -> None:
    path = shared_data / "messages" / "binance" / "rest_exchangeInfo_spot_20211012_full.jsonl.gz"
    info = exchange_info(path)
    broken = next(item["symbol"] for item in info["symbols"] if item["status"] == "BREAK")
    async with answering(listing(info)) as (history, _):
        with pytest.raises(ConfigError, match="BREAK"):
            await history.market(broken)


async def test_the_simulators_market_is_described_and_an_unknown_one_is_not(month: CandleColumns) -> None:
    async with running(month, "BTCUSDT") as rig:
        venue = BinanceVenue(rest_url=rig.simulator.rest_url)
        async with BinanceHistory(venue, origin="simulator") as history:
            market = await history.market("BTCUSDT")
            assert (market.key, market.base, market.quote) == ("binance:BTCUSDT", "BTC", "USDT")
            with pytest.raises(ConfigError, match="BTCUSDT"):
                await history.market("BTCUSD")


@pytest.mark.conforms("BN-06")
async def test_the_open_candle_is_left_out_and_proves_what_is_before_it() -> None:
    async with answering(saying(200, [row(1), row(2), row(4)])) as (history, _):
        got = await page(history, MINUTE_MS, None, closed_by_ms=4 * MINUTE_MS + 30_000)
        assert [candle.open_time_ms // MINUTE_MS for candle in got.candles] == [1, 2]
        assert got.through_ms == 4 * MINUTE_MS
        got = await page(history, MINUTE_MS, None, closed_by_ms=5 * MINUTE_MS)
        assert [candle.open_time_ms // MINUTE_MS for candle in got.candles] == [1, 2, 4]
        assert got.through_ms == 5 * MINUTE_MS


@pytest.mark.covers("W10")
@pytest.mark.conforms("BN-06")
async def test_a_full_page_says_that_there_is_more_and_a_question_is_no_larger_than_needed() -> None:
    async with answering(saying(200, [row(1), row(2), row(3)])) as (history, asked):
        got = await page(history, MINUTE_MS, 2 * MINUTE_MS, closed_by_ms=10 * MINUTE_MS)
        assert got.more
        assert "limit=3" in asked[0]
        assert not (await page(history, MINUTE_MS, None, closed_by_ms=10 * MINUTE_MS)).more
        assert "limit=1000" in asked[1]


async def test_nothing_proves_nothing() -> None:
    async with answering(saying(200, [])) as (history, _):
        got = await page(history, MINUTE_MS)
        assert (got.candles, got.through_ms, got.more) == ((), MINUTE_MS, False)


async def test_a_last_row_that_is_unusable_counts_as_seen() -> None:
    async with answering(saying(200, [row(1), row(2, high="0.5")])) as (history, _):
        got = await page(history, MINUTE_MS, None, closed_by_ms=9 * MINUTE_MS)
        assert got.unusable == (2 * MINUTE_MS,)
        assert got.through_ms == 3 * MINUTE_MS


@pytest.mark.parametrize(
    ("answer", "kind", "asked_times"),
    [
        (saying(500, {"code": -1000, "msg": "?"}), VenueRetryable, 3),
        (saying(503, "<html>"), VenueRetryable, 3),
        (saying(200, "<html>"), VenueRetryable, 3),
        (saying(200, "[["), VenueRetryable, 3),
        (saying(200, {"rows": 1}), VenueRetryable, 1),
        (saying(200, [["x"]]), VenueRetryable, 1),
        (saying(429, {"code": -1003, "msg": "slow"}, Retry_After="30"), VenueRetryable, 1),
        (saying(418, {"code": -1003, "msg": "ban"}, Retry_After="120"), VenueRetryable, 1),
        (saying(403, "<html>WAF</html>"), VenueAuth, 1),
        (saying(451, {"code": 0, "msg": "restricted location"}), VenueAuth, 1),
        (saying(404, "not found"), ConfigError, 1),
        (saying(302, "", Location="http://127.0.0.1:1/elsewhere"), ConfigError, 1),
        (saying(400, {"code": -1121, "msg": "Invalid symbol."}), MantaError, 1),
    ],
)
@pytest.mark.conforms("BN-16", "BN-19")
async def test_each_refusal_says_what_to_do(answer: Answer, kind: type[MantaError], asked_times: int) -> None:
    async with answering(answer) as (history, asked):
        with pytest.raises(kind):
            await page(history)
        assert len(asked) == asked_times


@pytest.mark.conforms("BN-16")
async def test_after_a_ban_the_venue_is_left_alone() -> None:
    async with answering(saying(418, {"code": -1003, "msg": "ban"}, Retry_After="120")) as (history, asked):
        with pytest.raises(VenueRetryable) as caught:
            await page(history)
        assert caught.value.retry_after_s == 120
        with pytest.raises(VenueRetryable) as caught:
            await page(history)
        assert caught.value.retry_after_s == pytest.approx(120, abs=60)
        assert len(asked) == 1


@pytest.mark.conforms("BN-15")
async def test_the_weight_that_the_venue_counts_is_ours_too() -> None:
    async with answering(saying(200, [], X_MBX_USED_WEIGHT_1M="77")) as (history, _):
        await page(history)
        assert history.limiter.used() == 77


async def test_a_venue_that_cannot_be_reached_or_is_silent_may_be_asked_again() -> None:
    async with BinanceHistory(
        BinanceVenue(rest_url="http://127.0.0.1:1"), origin="simulator", jitter=lambda: 0
    ) as none:
        with pytest.raises(VenueRetryable, match="could not be asked"):
            await none.time()


async def test_a_late_answer_is_no_answer(month: CandleColumns) -> None:
    async with running(month, "BTCUSDT") as rig:
        await rig.control.fault("slow", seconds=30, times=3)
        venue = BinanceVenue(rest_url=rig.simulator.rest_url, request_timeout_s=0.1)
        async with BinanceHistory(venue, origin="simulator", jitter=lambda: 0) as history:
            with pytest.raises(VenueRetryable, match=r"no answer within 0\.1 s"):
                await history.time()
