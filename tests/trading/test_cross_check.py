"""What is compared with what, and what of it is news."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.series import at, flat_minutes
from trading.candles import UNIT
from trading.cross_check import Compared, Finding, Watch, counterpart, newest_common, wants_pool
from trading.intervals import MINUTE_MS
from trading.markets import Market

T0 = at("2026-01-01 00:00")
PAIR = ("hyperliquid:BTC", "binance:BTCUSDT")


def market(venue: str, base: str, quote: str = "USDT") -> Market:
    return Market(venue, "X", "spot", base, quote, 1, 5, Decimal("0.1"), Decimal("0.00001"), Decimal(10))


def compared(ours: float, theirs: float = 100.0, minute: int = 0) -> Compared:
    return Compared(*PAIR, T0 + minute * MINUTE_MS, round(ours * UNIT), round(theirs * UNIT))


def failed(*, lasting: bool = False) -> Compared:
    return Compared(*PAIR, T0, error="No answer.", lasting=lasting)


def told(found: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.reason, finding.over) for finding in found]


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (market("hyperliquid", "BTC", "USDC"), "binance:BTCUSDT"),
        (market("hyperliquid", "UBTC", "USDC"), "binance:BTCUSDT"),
        (market("pionex", "ETH"), "binance:ETHUSDT"),
        (market("binance_usdm", "SOL"), "binance:SOLUSDT"),
        (market("binance", "BTC"), "hyperliquid:BTC"),
        (market("binance", "ETH", "BTC"), None),
        (market("hyperliquid", "kPEPE", "USDC"), None),
        (market("binance_usdm", "1000PEPE"), None),
    ],
)
def test_the_same_coin_elsewhere_is_the_counterpart(here: Market, there: str | None) -> None:
    assert counterpart(here) == there


def test_only_bitcoin_in_dollars_is_compared_with_the_pools() -> None:
    assert wants_pool(market("hyperliquid", "BTC", "USDC"))
    assert wants_pool(market("hyperliquid", "UBTC", "USDC"))
    assert not wants_pool(market("binance", "ETH"))
    assert not wants_pool(market("binance", "BTC", "EUR"))


def test_the_newest_minute_that_both_have_is_compared() -> None:
    ours, theirs = flat_minutes(T0, [1, 2, 3, 4]), flat_minutes(T0, [5, 6, 7, 8])
    pair = newest_common(ours, [theirs[0], theirs[2]])
    assert pair == (ours[2], theirs[2])
    assert newest_common(ours, []) is None


@pytest.mark.covers("S2-22")
@pytest.mark.parametrize("price", [101.01, 98.99, 150.0, 1.0])
def test_a_deviation_is_told_once_on_the_way_in_and_once_on_the_way_back(price: float) -> None:
    watch = Watch(1.0)
    assert watch.see(compared(101.0)) == []
    (begun,) = watch.see(compared(price, minute=5))
    assert (begun.reason, begun.over, begun.from_ms) == ("deviation", False, T0 + 5 * MINUTE_MS)
    assert f"{abs(price - 100):.2f} %" in begun.title
    assert ("above" if price > 100 else "below") in begun.title
    assert watch.see(compared(price, minute=10)) == []
    assert watch.see(compared(100.9, minute=15)) == []
    (ended,) = watch.see(compared(100.5, minute=20))
    assert (ended.reason, ended.over) == ("deviation", True)
    assert watch.see(compared(100.5)) == []


def test_a_price_at_the_limit_does_not_flap() -> None:
    watch = Watch(1.0)
    prices = [101.01, 100.99, 101.01, 100.99, 101.01]
    assert sum(len(watch.see(compared(price))) for price in prices) == 1


def test_what_was_told_before_a_restart_is_not_told_again() -> None:
    watch = Watch(1.0, {(*PAIR, "deviation")})
    assert watch.see(compared(105.0)) == []
    assert told(watch.see(compared(100.0))) == [("deviation", True)]


def test_a_lasting_failure_is_told_at_once_a_passing_one_the_third_time() -> None:
    watch = Watch(1.0)
    assert told(watch.see(failed(lasting=True))) == [("unchecked", False)]
    assert told(watch.see(compared(100.0))) == [("unchecked", True)]
    assert [told(watch.see(failed())) for _ in range(4)] == [[], [], [("unchecked", False)], []]
    assert told(watch.see(compared(105.0))) == [("unchecked", True), ("deviation", False)]


@given(st.lists(st.one_of(st.none(), st.integers(1, 10_000_000)), max_size=30))
def test_beginnings_and_ends_alternate_whatever_happens(prices: list[int | None]) -> None:
    watch = Watch(1.0)
    is_open: dict[str, bool] = {}
    for price in prices:
        for finding in watch.see(failed() if price is None else compared(price / 1000)):
            assert is_open.get(finding.reason, False) == finding.over
            is_open[finding.reason] = not finding.over
