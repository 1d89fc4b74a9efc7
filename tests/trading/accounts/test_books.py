"""Capital is divided to the last digit; the numbers of orders are cut against us, never for us."""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.accounts.ledger import FREE, PAID, D
from tests.trading.series import at
from trading.accounts.books import MONEY, SleeveBook, divide_capital
from trading.accounts.fills import close_at, funding_boundaries, liquidation_price, open_at
from trading.config.costs import Costs
from trading.instances import Instance
from trading.intervals import MINUTE_MS

SHARES = st.decimals("0.001", "1000", places=3)
PRICES = st.decimals("0.00000001", "1000000", places=8)
MONEYS = st.decimals("0.00000001", "100000000", places=12)
LOTS = st.sampled_from([D("0.00000001"), D("0.00001"), D("0.001"), D(1), D("0.3"), D(100)])
RATES = st.decimals("0", "0.0999", places=5)


def instance(name: str, share: Decimal, markets: int, intervals: int, book: str = "paper") -> Instance:
    names = tuple(f"binance:M{number}USDT" for number in range(markets))
    widths = ("1m", "37m", "148m", "1d", "1w")[:intervals]
    return Instance(name, name, "ma44", {}, "perp", names, widths, book, D(1), D(1), share, 7)


def test_shares_are_divided_over_markets_and_intervals_in_order() -> None:
    mine = [instance("a", D(1), 1, 3), instance("b", D(3), 2, 1), instance("c", D(5), 1, 1, "other")]
    sleeves = divide_capital(mine, "paper", D(1000))
    assert [(item.instance_id, item.market, item.interval, item.deposit) for item in sleeves] == [
        ("a", "binance:M0USDT", "1m", D("83.33333334")),
        ("a", "binance:M0USDT", "37m", D("83.33333333")),
        ("a", "binance:M0USDT", "148m", D("83.33333333")),
        ("b", "binance:M0USDT", "1m", D(375)),
        ("b", "binance:M1USDT", "1m", D(375)),
    ]
    assert divide_capital(mine, "nobody", D(1000)) == []


@given(
    st.lists(st.tuples(SHARES, st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=6),
    st.decimals("0.00001", "1000000000", places=5),
)
def test_deposits_add_up_to_the_capital_exactly(parts: list[tuple[Decimal, int, int]], capital: Decimal) -> None:
    instances = [instance(str(number), *part) for number, part in enumerate(parts)]
    sleeves = divide_capital(instances, "paper", capital)
    assert sum(Fraction(item.deposit) for item in sleeves) == Fraction(capital)
    total = sum(share for share, *_ in parts)
    for own, (share, markets, intervals) in zip(instances, parts, strict=True):
        fair = Fraction(capital) * Fraction(share) / Fraction(total) / (markets * intervals)
        for sleeve in (item for item in sleeves if item.instance_id == own.instance_id):
            assert sleeve.deposit >= 0
            assert abs(Fraction(sleeve.deposit) - fair) <= Fraction(len(sleeves), 10**8)


@pytest.mark.covers("W4")
@settings(deadline=None)
@given(st.sampled_from(["BUY", "SELL"]), PRICES, MONEYS, LOTS, RATES, RATES)
def test_the_lot_floor_never_overspends_and_never_leaves_a_whole_lot(
    side: str, price: Decimal, amount: Decimal, lot: Decimal, fee: Decimal, slippage: Decimal
) -> None:
    costs = Costs(taker_fee=fee, slippage=slippage)
    with localcontext(MONEY):
        got = open_at(side, price, amount, lot, costs.of("binance"))
        back = close_at(side, price, got.quantity, costs.of("binance"))
    sign = 1 if side == "BUY" else -1
    assert Fraction(got.price) == Fraction(price) * (1 + sign * Fraction(slippage))
    each = Fraction(got.price) * (1 + Fraction(fee))
    lots = Fraction(got.quantity) / Fraction(lot)
    assert lots.denominator == 1
    assert Fraction(got.quantity) * each <= Fraction(amount) < (Fraction(got.quantity) + Fraction(lot)) * each
    assert Fraction(got.fee) == Fraction(got.quantity) * Fraction(got.price) * Fraction(fee)
    assert Fraction(got.slippage) == Fraction(got.quantity) * Fraction(price) * Fraction(slippage)
    assert back == got


def test_nothing_is_bought_with_nothing_or_with_debt() -> None:
    for amount in (D(0), D("-200")):
        assert open_at("BUY", D(100), amount, D("0.001"), PAID.of("binance")).quantity == 0


@pytest.mark.parametrize(
    ("cash", "position", "price"),
    [
        ("-2000", "30", "67.00167504"),
        ("4000", "-30", "132.66998342"),
        ("0", "10", None),  # bought without credit: nothing to liquidate
        ("5", "10", None),
        ("2000", "-10", "199.00497513"),
        ("100", "0", None),
    ],
)
def test_the_liquidation_price_is_where_equity_is_the_maintenance_margin(cash: str, position: str, price: str) -> None:
    with localcontext(MONEY):
        found = liquidation_price(SleeveBook(D(cash), D(position)), FREE.of("binance"))
    assert found == (None if price is None else D(price))


@pytest.mark.parametrize(
    ("before", "opened", "due"),
    [
        ("2025-06-02 07:59", "2025-06-02 07:59", []),
        ("2025-06-02 08:00", "2025-06-02 08:00", ["2025-06-02 08:00"]),
        ("2025-06-02 08:01", "2025-06-02 15:59", []),
        ("2025-06-02 07:30", "2025-06-02 08:45", ["2025-06-02 08:00"]),
        ("2025-06-02 08:00", "2025-06-03 00:00", ["2025-06-02 08:00", "2025-06-02 16:00", "2025-06-03 00:00"]),
    ],
)
def test_funding_is_due_at_each_boundary_once(before: str, opened: str, due: list[str]) -> None:
    assert list(funding_boundaries(at(before), at(opened))) == [at(text) for text in due]


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=50))
def test_no_boundary_is_lost_or_doubled_however_minutes_are_absent(gaps: list[int]) -> None:
    times = [at("2025-06-02 05:11")]
    for gap in gaps:
        times.append(times[-1] + gap * MINUTE_MS)
    told = [
        boundary
        for before, opened in itertools.pairwise(times)
        for boundary in funding_boundaries(before + MINUTE_MS, opened)
    ]
    eight_hours = 480 * MINUTE_MS
    assert told == list(range(-(-(times[0] + 1) // eight_hours) * eight_hours, times[-1] + 1, eight_hours))
