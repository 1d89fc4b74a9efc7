"""The perpetual futures' candle stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trading.venues.conformance.suite import MINUTE_MS, playing, plenty, recorded, sample
from tests.trading.venues.rig import feeding
from trading.candles import Candle
from trading.config.model import BinanceUsdmVenue
from trading.venues.adapter import Forming, adapter


@pytest.mark.conforms("BU-05")
async def test_candles_come_below_market_too() -> None:
    columns = sample("binance_usdm", 60)
    async with playing("binance_usdm", columns) as rig:
        settings = plenty("binance_usdm") | {"stream_url": rig.simulator.stream_url + "/market"}
        async with feeding(rig, start={"high_water_ms": columns.start_ms}, **settings) as fed:
            await fed.until_told(columns.end_ms)
        assert len(fed.series()) == 60
        assert fed.statuses == []
        assert fed.feed.stats()["finals"] > 30
        assert fed.series()[0].open_time_ms % MINUTE_MS == 0


@pytest.mark.conforms("BU-06")
def test_recorded_candles_of_four_contracts_are_read(shared_data: Path) -> None:
    parts = adapter("binance_usdm")
    wire = parts.wire(BinanceUsdmVenue())
    closed: dict[str, int] = {}
    forming: dict[str, int] = {}
    for raw in recorded(shared_data, "binance_usdm"):
        symbol = wire.route(raw) if "usdt@kline_1m" in raw else None
        if symbol not in {"SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"}:
            continue
        (message,) = parts.reader(f"binance_usdm:{symbol}", symbol).read(raw, 1)
        assert isinstance(message, Candle | Forming), message
        counts = closed if isinstance(message, Candle) else forming
        counts[symbol] = counts.get(symbol, 0) + 1
    assert sum(closed.values()) + sum(forming.values()) >= 67
    assert set(forming) == {"SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"}
