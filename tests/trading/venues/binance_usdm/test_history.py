"""What the perpetual futures' REST side tells differently from spot."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from trading.config.model import BinanceUsdmVenue
from trading.errors import ConfigError
from trading.markets import Market
from trading.venues.binance_usdm.history import BinanceUsdmHistory


class Listing:
    """A server that lists recorded contracts and has no candles; ``asked`` are the paths it was asked for."""

    def __init__(self, shared_data: Path) -> None:
        path = shared_data / "messages" / "binance" / "rest_exchangeInfo_usdm_20210722_full.jsonl.gz"
        with gzip.open(path, "rt") as lines:
            self.info: dict[str, Any] = json.loads(json.loads(lines.readline())["raw"])
        self.asked: list[str] = []

    async def __aenter__(self) -> Listing:
        async def answer(request: web.Request) -> web.Response:
            self.asked.append(request.path_qs)
            return web.json_response(self.info if request.path.endswith("exchangeInfo") else [])

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def client(self, **settings: Any) -> BinanceUsdmHistory:
        venue = BinanceUsdmVenue(rest_url=f"http://127.0.0.1:{self._runner.addresses[0][1]}")
        return BinanceUsdmHistory(venue.model_copy(update=settings), origin="simulator")


@pytest.mark.conforms("BU-01")
@pytest.mark.parametrize(("minutes", "weight"), [(50, 1), (98, 2), (400, 2), (900, 5), (None, 5)])
async def test_a_question_weighs_by_its_limit(shared_data: Path, minutes: int | None, weight: int) -> None:
    async with Listing(shared_data) as venue, venue.client() as history:
        await history.page("BTCUSDT", "1m", 0, None if minutes is None else minutes * 60_000, 0)
        assert history.limiter.used() == weight
        assert venue.asked[0].startswith("/fapi/v1/klines?")


@pytest.mark.conforms("BU-02", "BU-03", "BU-04")
async def test_every_recorded_perpetual_that_trades_can_be_described(shared_data: Path) -> None:
    async with Listing(shared_data) as venue, venue.client(weight_per_minute=5000) as history:
        assert await history.market("BTCUSDT") == Market(
            "binance_usdm", "BTCUSDT", "perp", "BTC", "USDT", 2, 3, Decimal("0.01"), Decimal("0.001"), Decimal(5)
        )
        assert history.limiter.limit == 2400
        assert venue.asked == ["/fapi/v1/exchangeInfo"]
        others = []
        for info in venue.info["symbols"]:
            if info["status"] == "TRADING" and info["contractType"] == "PERPETUAL":
                market = history.describe(info)
                assert market.kind == "perp"
                assert min(market.tick_size, market.lot_size, market.min_notional) > 0
            else:
                others.append(info["symbol"])
        assert len(others) == 3
        for symbol in others:
            with pytest.raises(ConfigError, match=symbol):
                await history.market(symbol)


@pytest.mark.conforms("BU-02")
async def test_an_unknown_contract_is_refused_with_the_nearest_names(shared_data: Path) -> None:
    async with Listing(shared_data) as venue, venue.client() as history:
        with pytest.raises(ConfigError, match="BTCUSDT"):
            await history.market("BTCUSTD")
