"""What trading costs, as configured and as charged on one venue's market."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from pydantic import Field

from trading.config.section import Section

__all__ = ["PUBLIC_FEES", "Charges", "Costs"]

PUBLIC_FEES: Mapping[str, tuple[Decimal, Decimal]] = {
    "binance": (Decimal("0.001"), Decimal("0.001")),
    "binance_usdm": (Decimal("0.0005"), Decimal("0.0002")),
    "hyperliquid": (Decimal("0.00045"), Decimal("0.00015")),
    "pionex": (Decimal("0.0005"), Decimal("0.0005")),
}
"""Taker and maker fee of an account without discounts, as shares of the order's value."""

_ELSEWHERE = PUBLIC_FEES["binance"]


class Charges(NamedTuple):
    """The costs on one market; the fields are those of ``Costs``, with nothing left open."""

    taker_fee: Decimal
    maker_fee: Decimal
    slippage: Decimal
    slippage_of_range: Decimal
    entry_share_of_volume: Decimal | None
    funding_per_8h: Decimal
    maintenance_margin: Decimal

    def waiting(self) -> Charges:
        """What an order that stood at its price pays: the maker fee, and no slippage."""
        return self._replace(taker_fee=self.maker_fee, slippage=_NOTHING, slippage_of_range=_NOTHING)

    def slipped(self, side: str, price: Decimal, spread: Decimal) -> Decimal:
        """``price`` worsened for a market order, in a minute whose high and low are ``spread`` apart."""
        worse = price * self.slippage + spread * self.slippage_of_range
        if side == "BUY":
            return price + worse
        return price - worse if worse < price else _LEAST


_LEAST = Decimal("1e-8")
_NOTHING = Decimal(0)


class Costs(Section):
    """What trading costs. Defaults are the venue's public figures for an account without discounts."""

    taker_fee: Decimal | None = Field(
        None, ge=0, lt=Decimal("0.1"), description="Share of order value; none: the venue's public one."
    )
    maker_fee: Decimal | None = Field(
        None, gt=Decimal("-0.01"), lt=Decimal("0.1"), description="The same of orders that wait at a price."
    )
    slippage: Decimal = Field(Decimal("0.0002"), ge=0, lt=Decimal("0.1"), description="Share of price, against us.")
    slippage_of_range: Decimal = Field(
        Decimal(0), ge=0, le=1, description="Share of the minute's high less its low, against us, on top."
    )
    entry_share_of_volume: Decimal | None = Field(
        None, gt=0, le=1, description="An entry gets at most this share of its minute's volume; none: all it wants."
    )
    order_latency_minutes: int = Field(
        0, ge=0, le=1440, description="Minutes from a decision until its order can be filled."
    )
    funding_per_8h: Decimal = Field(
        Decimal("0.0001"),
        gt=Decimal("-0.01"),
        lt=Decimal("0.01"),
        description="Share of position value that a perp-profile long pays a short at 00:00, 08:00 and 16:00 UTC.",
    )
    maintenance_margin: Decimal = Field(
        Decimal("0.005"), ge=0, lt=Decimal("0.5"), description="Liquidation when equity falls to this share of value."
    )

    def of(self, venue: str) -> Charges:
        """What is charged on a market of ``venue``."""
        taker, maker = PUBLIC_FEES.get(venue, _ELSEWHERE)
        return Charges(
            taker if self.taker_fee is None else self.taker_fee,
            maker if self.maker_fee is None else self.maker_fee,
            self.slippage,
            self.slippage_of_range,
            self.entry_share_of_volume,
            self.funding_per_8h,
            self.maintenance_margin,
        )

    def doubled(self) -> Costs:
        """The same at twice the fees, slippage and funding, whatever the venue."""
        return _DoubledCosts.model_validate(dict(self))


class _DoubledCosts(Costs):
    def of(self, venue: str) -> Charges:
        charges = super().of(venue)
        return charges._replace(
            taker_fee=charges.taker_fee * 2,
            maker_fee=charges.maker_fee * 2,
            slippage=charges.slippage * 2,
            slippage_of_range=charges.slippage_of_range * 2,
            funding_per_8h=charges.funding_per_8h * 2,
        )
