"""Scores: by hand, against numpy, and None wherever a figure is not defined."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.accounts.score import Drawdown, EquityCurve, score
from trading.accounts.trades import Trade
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS

DAY = 20_000 * DAY_MS  # a UTC midnight
CAPITAL = Decimal(1000)


def trade(pnl: str | None, fees: str = "1") -> Trade:
    gained = None if pnl is None else Decimal(pnl)
    ended = None if pnl is None else DAY + HOUR_MS
    return Trade(
        "a", "binance:BTCUSDT", "37m", 1, "LONG", Decimal(1), DAY, Decimal(100), ended, None, gained, None,
        Decimal(fees), "",
    )  # fmt: skip


def curve(*marks: tuple[int, str | int], start_ms: int = DAY, held: bool = True) -> EquityCurve:
    return EquityCurve.of(((time_ms, Decimal(value), held) for time_ms, value in marks), CAPITAL, start_ms)


def days(*values: str | int) -> EquityCurve:
    """One mark at the end of each day."""
    return curve(*((DAY + (n + 1) * DAY_MS, value) for n, value in enumerate(values)))


@pytest.mark.covers("S1-23")
def test_trades_are_counted_net_of_fees() -> None:
    found = score([trade("30"), trade("-10"), trade("0"), trade("-5", "2.5"), trade(None, "0.5")], days(1015))
    assert (found.trades, found.open_trades) == (4, 1)
    assert found.win_rate == 0.25
    assert found.profit_factor == 2.0
    assert found.fees == Decimal(6)
    assert found.total_return == 0.015
    assert found.final_equity == 1015


@pytest.mark.covers("S1-23", "W6")
def test_sharpe_and_sortino_of_daily_returns_over_a_year_of_365_days() -> None:
    found = score([], days(1010, 1000, 1040, "1019.2"))
    returns = np.array([1010 / 1000, 1000 / 1010, 1040 / 1000, 1019.2 / 1040]) - 1
    assert found.days == 4
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(365), rel=1e-12)
    downside = np.sqrt((np.minimum(returns, 0) ** 2).mean())
    assert found.sortino == pytest.approx(returns.mean() / downside * np.sqrt(365), rel=1e-12)


def test_sharpe_by_hand() -> None:
    # Returns +10 % and -10 %: mean 0. Returns +10 %, +30 %: mean 0.2, deviation sqrt(0.02), no downside.
    assert score([], days(1100, 990)).sharpe == pytest.approx(0, abs=1e-14)
    found = score([], days(1100, 1430))
    assert found.sharpe == pytest.approx(0.2 / 0.02**0.5 * 365**0.5, rel=1e-12)
    assert found.sortino is None


def test_drawdown_is_measured_at_every_mark_and_from_the_capital_on() -> None:
    minutes = [900, 950, 1200, 1199, 960, 1300, 1170]
    found = score([], curve(*((DAY + (n + 1) * MINUTE_MS, value) for n, value in enumerate(minutes))))
    assert found.max_drawdown == 0.2
    assert score([], curve((DAY + MINUTE_MS, 750))).max_drawdown == 0.25
    assert score([], curve((DAY + MINUTE_MS, 1001))).max_drawdown == 0.0


def test_the_deepest_fall_is_told_with_its_times_and_the_longest_with_its_duration() -> None:
    assert curve().deepest is None
    # Falls of 10 % for 3 days, 20 % for 2 days, 20 % again, and 5 % at the end.
    found = days(1000, 900, 950, 1000, 2000, 1600, 2000, 1600, 2100, 1995)
    at_day = [DAY + n * DAY_MS for n in range(11)]
    assert found.deepest == Drawdown(0.2, at_day[5], at_day[6], at_day[7])
    assert found.longest_ms == 3 * DAY_MS
    under = days(1000, 900, 990, 999)
    assert under.deepest == Drawdown(0.1, at_day[1], at_day[2], None)
    assert under.longest_ms == 3 * DAY_MS
    assert days(900).deepest == Drawdown(0.1, DAY, at_day[1], None)


def test_a_mark_at_midnight_ends_its_day_and_empty_days_keep_their_value() -> None:
    found = curve((DAY + DAY_MS, 1100), (DAY + DAY_MS + MINUTE_MS, 1200), (DAY + 4 * DAY_MS, 1300))
    assert found.daily == [1000, 1100, 1200, 1200, 1300]
    late = curve((DAY + 2 * DAY_MS + MINUTE_MS, 900), start_ms=DAY + 5 * HOUR_MS)
    assert late.daily == [1000, 1000, 1000, 900]


@pytest.mark.covers("S1-23")
def test_what_is_not_defined_is_none() -> None:
    nothing = score([], curve())
    assert (nothing.total_return, nothing.final_equity, nothing.max_drawdown, nothing.days) == (0.0, CAPITAL, 0.0, 0)
    assert nothing.sharpe is nothing.sortino is nothing.win_rate is nothing.profit_factor is nothing.exposure is None
    assert score([], days(1010)).sharpe is None  # one day has no deviation
    assert score([], days(1000, 1000, 1000)).sharpe is None
    assert score([], days(1001, Decimal("1002.001"), Decimal("1003.003001"))).sharpe is None  # the same every day
    only_gains = score([trade("1"), trade("2")], days(1003))
    assert (only_gains.win_rate, only_gains.profit_factor) == (1.0, None)
    assert score([trade("-1")], days(999)).profit_factor == 0.0


def test_after_ruin_there_are_no_returns() -> None:
    found = score([], days(1100, -20, 5))
    assert (found.sharpe, found.sortino, found.days) == (None, None, 0)
    assert found.max_drawdown == pytest.approx(1120 / 1100)


def test_exposure_is_the_share_of_marks_with_a_position() -> None:
    found = EquityCurve(CAPITAL, DAY)
    for n in range(8):
        found.add(DAY + n * MINUTE_MS + MINUTE_MS, CAPITAL, n < 2)
    assert score([], found).exposure == 0.25


def test_scores_are_plain_json() -> None:
    plain = score([trade("30")], days("1.1E+3")).to_dict()
    assert (plain["final_equity"], plain["fees"], plain["win_rate"], plain["sortino"]) == ("1100", "1", 1.0, None)


@given(st.lists(st.tuples(st.integers(1, 3 * 1440), st.integers(1, 10_000)), max_size=60))
def test_the_curve_keeps_what_the_whole_series_says(steps: list[tuple[int, int]]) -> None:
    time_ms, marks = DAY + 7 * HOUR_MS, []
    for minutes, value in steps:
        time_ms += minutes * MINUTE_MS
        marks.append((time_ms, value))
    found = curve(*marks, start_ms=DAY + 7 * HOUR_MS)

    values = [1000, *(value for _, value in marks)]
    peaks = np.maximum.accumulate(values)
    assert found.max_drawdown == pytest.approx(float((1 - np.array(values) / peaks).max()), abs=1e-12)
    expected = [1000]
    if marks:
        expected += [
            next((value for at_ms, value in reversed(marks) if at_ms <= midnight), 1000)
            for midnight in range(DAY + DAY_MS, marks[-1][0], DAY_MS)
        ]
        expected.append(marks[-1][1])
    assert found.daily == expected
