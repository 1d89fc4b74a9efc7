"""The paper venue's matching: orders against 1m candles. Pure; the reference backtest trades on it as it is.

A market order fills at the open of the first candle that opens at or after ``placed_ms``; one placed for the open of
the candle shown last fills at once. A limit or stop order fills in the first such candle that reaches its price, and is
canceled by the first that opens at or after its expiry. One that closes fills whole; one that opens gets at most the
share of that candle's volume that the costs say, and the rest is not bought. The fill model itself is
``trading.accounts.fills``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext

from trading.accounts.books import MONEY
from trading.accounts.broker import EXPIRED, FINAL, OrderRequest, OrderStatus, OrderUpdate, VenueFill
from trading.accounts.fills import Execution, close_at, open_at, rested_at
from trading.candles import Candle, from_units
from trading.config.costs import Costs
from trading.markets import Market

__all__ = ["Matcher", "PaperOrder", "VenueBook", "canceled", "report"]

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """An order as the venue knows it, with its executions."""

    request: OrderRequest
    status: OrderStatus
    fills: tuple[VenueFill, ...]
    reason: str
    updated_ms: int

    @property
    def filled(self) -> Decimal:
        with localcontext(MONEY):
            return sum((fill.quantity for fill in self.fills), _ZERO)


def report(order: PaperOrder) -> OrderUpdate:
    """All that the venue has to say of ``order``."""
    return OrderUpdate(order.request.client_id, order.status, order.filled, order.fills, order.reason, order.updated_ms)


def canceled(order: PaperOrder) -> PaperOrder:
    """``order`` without what is left of it."""
    return replace(order, status=OrderStatus.CANCELED, reason="canceled")


class Matcher:
    """What the venue makes of a request, and of an order at a candle; the same always gives the same."""

    def __init__(self, costs: Costs, markets: Mapping[str, Market]) -> None:
        self._charges = {key: costs.of(market.venue) for key, market in markets.items()}
        self._markets = markets

    def accept(self, request: OrderRequest, shown: Candle | None, parts: int = 1) -> PaperOrder:
        """The order as it stands after its arrival; ``shown`` is the newest candle of its market."""
        order = PaperOrder(request, OrderStatus.OPEN, (), "", request.placed_ms)
        return order if shown is None else self.match(order, shown, parts)

    def match(self, order: PaperOrder, candle: Candle, parts: int = 1) -> PaperOrder:
        """``order`` after ``candle``: filled, rejected or expired, or as it was if that came too early or did not reach
        its price.

        ``parts`` splits the fill into as many executions (of whole lots) at one price and time, as venues do to larger
        orders; they add up to the same.
        """
        request = order.request
        if order.status in FINAL or candle.open_time_ms < request.placed_ms:
            return order
        if request.expires_ms is not None and candle.open_time_ms >= request.expires_ms:
            return replace(order, status=OrderStatus.CANCELED, reason=EXPIRED, updated_ms=candle.open_time_ms)
        price = _reached(request, candle)
        if price is None:
            return order
        lot, charges = self._markets[request.market].lot_size, self._charges[request.market]
        if request.type == "LIMIT":
            charges = charges.waiting()
        spread = from_units(candle.high - candle.low)
        with localcontext(MONEY):
            quantity, refusal = request.quantity or _ZERO, ""
            if request.quote_amount is not None:
                got = open_at(request.side, price, request.quote_amount, lot, charges, spread=spread)
                quantity, refusal = got.quantity, self._refusal(request, got)
                if charges.entry_share_of_volume is not None and not refusal:
                    most = from_units(candle.volume) * charges.entry_share_of_volume // lot * lot
                    if not most and request.type == "LIMIT":
                        return order
                    quantity = min(quantity, most)
                    refusal = "" if quantity else "the minute traded too little"
            # Each part by itself: quantity, fee and slippage of all of them add up exactly.
            executions = [
                close_at(request.side, price, part, charges, spread=spread)
                for part in ([] if refusal else _parts(quantity, lot, parts))
            ]
        return replace(
            order,
            status=OrderStatus.REJECTED if refusal else OrderStatus.FILLED,
            fills=tuple(VenueFill(number, *each, candle.open_time_ms) for number, each in enumerate(executions, 1)),
            reason=refusal,
            updated_ms=candle.open_time_ms,
        )

    def _refusal(self, request: OrderRequest, got: Execution) -> str:
        market = self._markets[request.market]
        if (request.quote_amount or _ZERO) <= 0:
            return "no equity is left"
        if got.quantity <= 0:
            return f"{request.quote_amount} buys less than one lot of {market.lot_size}"
        if got.quantity * got.price < market.min_notional:
            return f"the order's value is below the venue's least of {market.min_notional}"
        return ""


class VenueBook:
    """The venue of a backtest: its working orders, and the candle each market was shown last, in memory alone."""

    def __init__(self, costs: Costs, markets: Mapping[str, Market]) -> None:
        self._matcher = Matcher(costs, markets)
        self._working: dict[str, list[PaperOrder]] = {}
        self._shown: dict[str, Candle] = {}

    def place(self, request: OrderRequest) -> PaperOrder:
        """Take ``request``; returns the order as it stands now. Each id must come once."""
        order = self._matcher.accept(request, self._shown.get(request.market))
        if order.status not in FINAL:
            self._working.setdefault(request.market, []).append(order)
        return order

    def show(self, candle: Candle) -> None:
        """Let ``candle`` be the newest of a market none of whose working orders it touches."""
        self._shown[candle.market] = candle

    def cancel(self, client_id: str, market: str) -> PaperOrder | None:
        """Cancel an order of ``market`` that waits; None when no such order does."""
        waiting = self._working.get(market, [])
        for order in waiting:
            if order.request.client_id == client_id:
                waiting.remove(order)
                return canceled(order)
        return None

    def candle(self, candle: Candle) -> list[PaperOrder]:
        """Match the market's working orders against ``candle``; returns those that are finished by it."""
        self.show(candle)
        waiting = self._working.get(candle.market)
        if not waiting:
            return []
        seen = [self._matcher.match(order, candle) for order in waiting]
        self._working[candle.market] = [order for order in seen if order.status not in FINAL]
        return [order for order in seen if order.status in FINAL]


def _reached(request: OrderRequest, candle: Candle) -> Decimal | None:
    """The price, before slippage, at which ``candle`` fills ``request``; None when it does not."""
    if request.price is None:
        return from_units(candle.open)
    return rested_at(request.side, request.type, request.price, candle)


def _parts(quantity: Decimal, lot: Decimal, parts: int) -> list[Decimal]:
    """``quantity`` in up to ``parts`` whole lots; the last takes the rest."""
    lots = int(quantity // lot)
    parts = max(1, min(parts, lots))
    each = lots // parts * lot
    return [each] * (parts - 1) + [quantity - each * (parts - 1)]
