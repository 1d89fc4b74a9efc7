"""The fill model of paper trading and of the reference backtest.

An order decided at the close of a candle fills at the open of the first present minute at or after that close, at a
price ``slippage`` worse, for the taker fee. A position whose loss reaches the maintenance margin is closed inside the
candle that does it, at the liquidation price, or at the open if the candle opens beyond it, with slippage and fee like
every market order; a price that jumped can leave a sleeve below zero. Fill prices are not rounded to the tick: slippage
stands for the average of many fills, and rounding would hide it on cheap coins. Closing orders always fill, however
small.

A limit or stop entry fills inside the first minute that reaches its price: a limit for the maker fee and without
slippage, a stop for the taker fee and with it.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from trading.accounts.books import SleeveBook
from trading.candles import Candle, from_units
from trading.config.costs import Charges
from trading.intervals import HOUR_MS

__all__ = [
    "FUNDING_MS", "Execution", "close_at", "funding_boundaries", "liquidation_price", "open_at",
    "rested_at", "wait_at",
]  # fmt: skip

FUNDING_MS = 8 * HOUR_MS
_ZERO = Decimal(0)
_ONE = Decimal(1)
_STEP = Decimal("1e-8")


class Execution(NamedTuple):
    """What an order gets: ``slippage`` is its cost in quote currency, already contained in ``price``."""

    price: Decimal
    quantity: Decimal
    fee: Decimal
    slippage: Decimal


def open_at(
    side: str, reference: Decimal, quote_amount: Decimal, lot: Decimal, costs: Charges, *, spread: Decimal = _ZERO
) -> Execution:
    """Spend at most ``quote_amount``, fee included, at ``reference`` plus slippage, in whole lots, maybe none.

    ``spread`` is what lies between the high and the low of the minute.
    """
    price = costs.slipped(side, reference, spread)
    # One integer division: nothing is rounded before the lots are counted.
    lots = max(_ZERO, quote_amount) // (price * (_ONE + costs.taker_fee) * lot)
    return _execution(price, reference, lots * lot, costs)


def close_at(side: str, reference: Decimal, quantity: Decimal, costs: Charges, *, spread: Decimal = _ZERO) -> Execution:
    """Trade exactly ``quantity`` at ``reference`` plus slippage."""
    return _execution(costs.slipped(side, reference, spread), reference, quantity, costs)


def wait_at(price: Decimal, quantity: Decimal, costs: Charges) -> Execution:
    """Trade exactly ``quantity`` by an order that stood at ``price``: for the maker fee, without slippage."""
    return Execution(price, quantity, quantity * price * costs.maker_fee, _ZERO)


def rested_at(side: str, kind: str, price: Decimal, candle: Candle) -> Decimal | None:
    """Where ``candle`` fills an order of type ``kind`` that rests at ``price``, before slippage; None: not reached.

    A buying STOP and a selling LIMIT wait for a high at or above their price, the others for a low at or below it. If
    the candle opened beyond the price, it is the open.
    """
    opened = from_units(candle.open)
    if (kind == "STOP") == (side == "BUY"):
        return max(opened, price) if from_units(candle.high) >= price else None
    return min(opened, price) if from_units(candle.low) <= price else None


def liquidation_price(book: SleeveBook, costs: Charges) -> Decimal | None:
    """The price at which equity equals ``maintenance_margin`` times the position's value; None if there is none.

    From ``cash + q * p = m * |q| * p``: a long falls to ``-cash / (q * (1 - m))``, a short rises to ``cash / (|q| * (1
    + m))``. In steps of 10**-8, rounded against us, which keeps all cash exact. A short that owes more than its cash is
    past any price.
    """
    if book.position > 0:
        price = -book.cash / (book.position * (_ONE - costs.maintenance_margin))
        price = price.quantize(_STEP, rounding=ROUND_FLOOR)
        return price if price > 0 else None
    if book.position < 0:
        price = book.cash / (-book.position * (_ONE + costs.maintenance_margin))
        return max(_STEP, price.quantize(_STEP, rounding=ROUND_CEILING))
    return None


def funding_boundaries(previous_close_ms: int, open_ms: int) -> range:
    """The funding times (00:00, 08:00, 16:00 UTC) at or after the last candle's close, up to this candle's open."""
    first = -(-previous_close_ms // FUNDING_MS) * FUNDING_MS
    return range(first, open_ms + 1, FUNDING_MS)


def _execution(price: Decimal, reference: Decimal, quantity: Decimal, costs: Charges) -> Execution:
    return Execution(price, quantity, quantity * price * costs.taker_fee, quantity * abs(price - reference))
