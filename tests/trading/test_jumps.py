"""Which prices are believed at once."""

from hypothesis import given
from hypothesis import strategies as st

from tests.trading.feed_world import minute
from trading.candles import Candle
from trading.jumps import Doubts, jumps


def priced(index: int, price: int) -> Candle:
    return minute(index)._replace(open=price, high=price, low=price, close=price)


def test_three_times_or_a_third_is_the_limit() -> None:
    before = priced(0, 3000)
    assert [jumps(before, priced(1, price)) for price in (9000, 9001, 1000, 999)] == [False, True, False, True]
    assert not jumps(None, priced(1, 10**12))
    assert not jumps(before, priced(1 + 1441, 10**12))


def test_a_long_wick_is_no_jump() -> None:
    crash = priced(1, 3000)._replace(low=1)
    assert not jumps(priced(0, 3000), crash)


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=30))
def test_what_moved_and_stayed_is_believed_and_what_stands_alone_is_not(prices: list[int]) -> None:
    steady = [priced(2 * n + half, price) for n, price in enumerate(prices) for half in (0, 1)]
    assert Doubts().first(priced(-1, prices[0]), steady) == (None, False)
    spoiled = [*steady[:2], priced(2, steady[1].close * 10), *(priced(3 + n, steady[1].close) for n in range(3))]
    assert Doubts().first(priced(-1, prices[0]), spoiled) == (spoiled[2], True)


def test_the_first_row_is_as_doubtful_as_the_second() -> None:
    rows = [priced(0, 1000), priced(1, 10), priced(2, 10)]
    assert Doubts().first(None, rows) == (rows[0], True)


def test_a_row_that_comes_again_and_again_is_believed() -> None:
    doubts, rows = Doubts(), [priced(1, 1000)]
    answers = [doubts.first(priced(0, 10), rows) for _ in range(7)]
    assert answers[:5] == [(rows[0], True), *[(rows[0], False)] * 4]
    assert answers[5] == (None, False)
    assert answers[6] == (rows[0], True)
