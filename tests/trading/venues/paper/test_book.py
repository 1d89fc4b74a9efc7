"""The paper venue's matching: when an order fills, at what, and in how many parts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.accounts.ledger import PAID, D, market, minute
from tests.trading.series import MARKET
from trading.accounts.broker import OrderRequest, OrderStatus
from trading.venues.paper.book import Matcher, VenueBook, report

MATCHER = Matcher(PAID, {MARKET: market()})
BUY = OrderRequest("o", MARKET, "BUY", None, D(1000), minute(1, 100).open_time_ms)
SELL = OrderRequest("s", MARKET, "SELL", D("9.999"), None, minute(1, 100).open_time_ms)


@pytest.mark.covers("W4")
def test_an_order_waits_for_the_first_open_from_its_time_on() -> None:
    early, due = minute(0, 100), minute(7, 100)
    order = MATCHER.accept(BUY, early)
    assert (order.status, order.filled) == (OrderStatus.OPEN, 0)
    assert MATCHER.match(order, early) is order
    done = MATCHER.match(order, due)
    # 1000 / (100.02 * 1.001) = 9.988…
    assert (done.status, done.filled, done.updated_ms) == (OrderStatus.FILLED, D("9.988"), due.open_time_ms)
    assert [(fill.number, fill.price, fill.time_ms) for fill in done.fills] == [(1, D("100.02"), due.open_time_ms)]
    assert MATCHER.match(done, minute(8, 50)) is done


def test_an_order_for_the_open_that_is_shown_fills_as_it_comes_in() -> None:
    assert MATCHER.accept(BUY, minute(1, 100)).status is OrderStatus.FILLED
    assert MATCHER.accept(BUY, None).status is OrderStatus.OPEN


@pytest.mark.parametrize(
    ("amount", "words"), [("-3", "no equity"), ("0", "no equity"), ("0.05", "one lot"), ("4.9", "least of 5")]
)
def test_what_cannot_be_bought_is_rejected_at_the_open_with_its_reason(amount: str, words: str) -> None:
    order = MATCHER.accept(replace(BUY, quote_amount=D(amount)), minute(1, 100))
    assert (order.status, order.fills) == (OrderStatus.REJECTED, ())
    assert words in order.reason


def test_however_small_a_position_can_be_closed() -> None:
    order = MATCHER.accept(replace(SELL, quantity=D("0.001")), minute(1, 1))
    assert (order.status, order.filled) == (OrderStatus.FILLED, D("0.001"))


@given(st.integers(1, 9_999), st.integers(1, 12), st.sampled_from(["BUY", "SELL"]))
def test_parts_are_whole_lots_and_add_up_to_the_undivided_fill_exactly(lots: int, parts: int, side: str) -> None:
    request = replace(SELL, side=side, quantity=lots * D("0.001"))
    (whole,) = MATCHER.accept(request, minute(1, "123.45678901")).fills
    split = MATCHER.accept(request, minute(1, "123.45678901"), parts).fills
    assert len(split) == min(parts, lots)
    assert [fill.number for fill in split] == list(range(1, len(split) + 1))
    assert all(fill.quantity > 0 and fill.quantity % D("0.001") == 0 for fill in split)
    assert {(fill.price, fill.time_ms) for fill in split} == {(whole.price, whole.time_ms)}
    for name in ("quantity", "fee", "slippage"):
        assert sum((getattr(fill, name) for fill in split), Decimal(0)) == getattr(whole, name)


def test_a_book_keeps_orders_until_their_market_moves() -> None:
    book = VenueBook(PAID, {MARKET: market()})
    assert book.candle(minute(0, 100)) == []
    assert book.place(BUY).status is OrderStatus.OPEN
    assert book.place(replace(SELL, placed_ms=minute(5, 100).open_time_ms)).status is OrderStatus.OPEN
    (bought,) = book.candle(minute(1, 100))
    assert report(bought).client_id == "o"
    assert report(bought).filled == bought.filled == D("9.988")
    assert book.candle(minute(4, 100)) == []
    (sold,) = book.candle(minute(5, 100))
    assert (sold.request.client_id, book.candle(minute(6, 100))) == ("s", [])
