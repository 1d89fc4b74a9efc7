"""The fill model's arithmetic: whole lots, exact money, liquidation rounded against us, every funding time once."""

from __future__ import annotations

import itertools
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.accounts.books import MONEY, SleeveBook
from trading.accounts.fills import FUNDING_MS, close_at, funding_boundaries, liquidation_price, open_at
from trading.config.costs import Costs
from trading.intervals import MINUTE_MS

COSTS = Costs().of("binance")
MARGIN = Fraction(COSTS.maintenance_margin)
prices = st.integers(1, 10**13).map(lambda units: Decimal(units).scaleb(-8))
lots = st.sampled_from(["1", "0.1", "0.001", "0.00001", "1e-8"]).map(Decimal)
amounts = st.integers(-(10**9), 10**14).map(lambda units: Decimal(units).scaleb(-6))


@pytest.mark.covers("W4")
@given(side=st.sampled_from(["BUY", "SELL"]), price=prices, quote=amounts, lot=lots)
def test_an_opening_order_is_the_most_whole_lots_that_its_amount_pays(
    side: str, price: Decimal, quote: Decimal, lot: Decimal
) -> None:
    with localcontext(MONEY):
        got = open_at(side, price, quote, lot, COSTS)
    slipped = Fraction(price) * (1 + Fraction(COSTS.slippage) * (1 if side == "BUY" else -1))
    each = slipped * (1 + Fraction(COSTS.taker_fee))
    assert Fraction(got.quantity) == max(0, Fraction(quote)) // (each * Fraction(lot)) * Fraction(lot)
    assert Fraction(got.price) == slipped
    assert Fraction(got.fee) == Fraction(got.quantity) * slipped * Fraction(COSTS.taker_fee)
    assert Fraction(got.slippage) == Fraction(got.quantity) * abs(slipped - Fraction(price))


@pytest.mark.covers("W4")
@given(price=prices, quote=amounts, lot=lots)
def test_money_of_a_trade_is_never_rounded(price: Decimal, quote: Decimal, lot: Decimal) -> None:
    with localcontext(MONEY) as context:
        context.traps[Inexact] = True
        opened = open_at("BUY", price, quote, lot, COSTS)
        closed = close_at("SELL", price, opened.quantity, COSTS)
        gained = closed.quantity * (closed.price - opened.price) - closed.fee - opened.fee
    assert gained <= 0


@given(
    position=st.integers(-(10**10), 10**10).filter(bool).map(lambda units: Decimal(units).scaleb(-5)),
    cash=st.integers(-(10**16), 10**16).map(lambda units: Decimal(units).scaleb(-8)),
)
def test_at_the_liquidation_price_equity_is_at_the_margin_and_a_step_before_it_is_above(
    position: Decimal, cash: Decimal
) -> None:
    with localcontext(MONEY):
        limit = liquidation_price(SleeveBook(cash=cash, position=position, cost=position), COSTS)

    def spare(price: Fraction) -> Fraction:
        return Fraction(cash) + Fraction(position) * price - MARGIN * abs(Fraction(position)) * price

    step = Fraction(1, 10**8)
    if limit is None:
        # A long that owes nothing, or so little that no price of this grid is low enough.
        assert position > 0
        assert spare(step) > 0
    elif position > 0:
        assert spare(Fraction(limit)) <= 0 < spare(Fraction(limit) + step)
    else:
        assert spare(Fraction(limit)) <= 0
        assert limit == Decimal("1e-8") or spare(Fraction(limit) - step) > 0


def test_a_flat_sleeve_has_no_liquidation_price() -> None:
    assert liquidation_price(SleeveBook(cash=Decimal(-5)), COSTS) is None


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=40), st.integers(0, 480))
def test_every_funding_time_is_met_once_whatever_minutes_are_absent(gaps: list[int], offset: int) -> None:
    start = 1_750_032_000_000 + offset * MINUTE_MS
    opens = [start]
    for gap in gaps:
        opens.append(opens[-1] + gap * MINUTE_MS)
    met = [
        boundary
        for before, now in itertools.pairwise(opens)
        for boundary in funding_boundaries(before + MINUTE_MS, now)
    ]
    assert met == list(range(-(-(start + MINUTE_MS) // FUNDING_MS) * FUNDING_MS, opens[-1] + 1, FUNDING_MS))
