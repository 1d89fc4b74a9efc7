"""What a backtest charges, as the whole numbers that walks count with."""

from __future__ import annotations

from decimal import Decimal

from backtest.requests import BacktestRequest
from backtest.sources import Source
from backtest.sweep.kernel.exact import exact
from backtest.sweep.kernel.holding import waits_of
from backtest.sweep.kernel.lot_walk import Waits
from backtest.sweep.kernel.tape import Tape
from backtest.sweep.kernel.walk import Terms

__all__ = ["terms_of"]

_MOST_WHOLE, _MOST_LOTS = 2**62, 2**52
# Far enough below 2**127 for the sum of a few such amounts.
_MOST_MONEY = 2**121


def terms_of(request: BacktestRequest, source: Source, tape: Tape) -> tuple[Terms, Waits, int]:
    """What is charged, also of orders that wait, in whole numbers, and what a slipped price is scaled by besides.

    Raises OverflowError where some amount might not fit into an ``Exact``.
    """
    market = source.market
    charges = request.costs.of(market.venue)
    slips, lots = _decimals(charges.slippage), _decimals(market.lot_size)
    fees = max(_decimals(charges.taker_fee), _decimals(charges.maker_fee), _decimals(charges.funding_per_8h))
    digits = 8 + slips + lots + fees
    stake = (request.size * request.leverage).as_integer_ratio()
    margin = charges.maintenance_margin.as_integer_ratio()
    scale, steps = 10**slips, 10**fees
    lot = int(market.lot_size.scaleb(lots))
    slip = int(charges.slippage.scaleb(slips))
    fee = int(charges.taker_fee.scaleb(fees))
    buy, sell = (scale + slip) * lot, (scale - slip) * lot
    least = _scaled(market.min_notional, digits)
    funding = int(charges.funding_per_8h.scaleb(fees)) * lot * scale
    # One lot at the highest price, with all that it may be multiplied by.
    marked = lot * scale * steps
    dearest = max(buy * (steps + fee), 2 * marked * margin[1], abs(funding) * int(tape.times.max(initial=1)))
    dearest *= tape.most * stake[1]
    if dearest > _MOST_MONEY or max(*stake, *margin, marked, abs(funding), tape.most * (scale + slip)) > _MOST_WHOLE:
        raise OverflowError(f"{dearest} steps of money for a lot")
    terms = Terms(
        capital=exact(_scaled(request.capital, digits)),
        unit=exact(10**digits),
        buy=scale + slip,
        sell=scale - slip,
        buys=exact(buy * steps),
        sells=exact(sell * steps),
        buy_costs=exact(buy * (steps + fee)),
        sell_costs=exact(sell * (steps + fee)),
        sell_gets=exact(sell * (steps - fee)),
        lot=marked,
        funding=funding,
        fee=float(charges.taker_fee),
        stake=stake[0],
        stake_of=stake[1],
        least=exact(least),
        most_refused=exact(least * (steps + fee) * stake[1] // (steps * stake[0])),
        margin=margin[0],
        margin_of=margin[1],
        ruin=exact(least),
        most_lots=float(min(_MOST_LOTS, _MOST_MONEY // dearest)),
        most_cash=_MOST_MONEY / max(stake[0], margin[1]),
        is_perp=request.profile == "perp",
        may_short=request.profile != "spot" and not request.entries.long_only,
    )
    return terms, waits_of(scale, steps, lot, charges.maker_fee), scale


def _scaled(number: Decimal, digits: int) -> int:
    """``number`` times a power of ten, rounded up to a whole one where it is finer: it is only compared with."""
    numerator, denominator = number.as_integer_ratio()
    return -(-numerator * int(10**digits) // denominator)


def _decimals(number: Decimal) -> int:
    """How many decimals ``number`` is written with, without trailing zeros."""
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
