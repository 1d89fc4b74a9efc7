"""What the REST side of Binance's perpetual futures tells differently from spot: ``fapi`` paths, weights, listing."""

from __future__ import annotations

from typing import Any, ClassVar

from trading.errors import ConfigError
from trading.markets import Market
from trading.venues.binance.history import BinanceHistory

__all__ = ["BinanceUsdmHistory"]

# (most rows of a question, its weight); above the last it is 10.
_WEIGHTS = ((99, 1), (499, 2), (1000, 5))


class BinanceUsdmHistory(BinanceHistory):
    """A client for the REST side of the perpetual futures. Contracts with a delivery date are no markets of ours."""

    venue: ClassVar[str] = "binance_usdm"
    title: ClassVar[str] = "Binance USD-M"
    path: ClassVar[str] = "/fapi/v1"

    def kline_weight(self, limit: int) -> int:
        return next((weight for most, weight in _WEIGHTS if limit <= most), 10)

    async def listing(self, symbol: str) -> Any:
        return await self._http.get("exchangeInfo", {}, weight=1)

    def describe(self, info: dict[str, Any]) -> Market:
        if info["contractType"] != "PERPETUAL":
            raise ConfigError(
                f"{info['symbol']} is no perpetual: its contract type is {info['contractType'] or 'not told'}.",
                field="markets",
                value=f"{self.venue}:{info['symbol']}",
                fix="Use a perpetual such as BTCUSDT.",
            )
        notional, filters = self.filters(info)
        return self.build(info, "perp", filters, notional.get("notional", "0"))
