"""Figures of trades: by hand, by group, and how far the price went for and against them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from backtest.metrics.trades import Excursion, excursions, grouped, trade_figures
from tests.trading.series import MARKET, at, candle
from trading.accounts.trades import Trade
from trading.candles import UNIT, Candle
from trading.intervals import HOUR_MS, MINUTE_MS

START = at("2025-06-02 00:00")  # a Monday


def trade(no: int, pnl: str | None, *, hours: float = 1, direction: str = "LONG") -> Trade:
    """A trade of 100 that began ``no`` hours after the start."""
    entry_ms = START + no * HOUR_MS
    gained = None if pnl is None else Decimal(pnl)
    return Trade(
        "a",
        MARKET,
        "37m",
        no,
        direction,
        Decimal(1),
        entry_ms,
        Decimal(100),
        None if gained is None else entry_ms + round(hours * HOUR_MS),
        None if gained is None else 100 + gained,
        gained,
        None if gained is None else gained / 100,
        Decimal(1),
        "" if gained is None else "signal",
    )


@pytest.mark.covers("S1-42")
def test_trades_by_hand() -> None:
    found = trade_figures(
        [trade(0, "30"), trade(2, "10"), trade(4, "-10", hours=3), trade(8, "0"), trade(10, "-5"), trade(12, None)]
    )
    assert (found["trades"], found["open_trades"], found["wins"], found["losses"]) == (5, 1, 2, 2)
    assert found["win_rate"] == pytest.approx(0.4)
    assert found["payoff"] == pytest.approx(20 / 7.5)
    assert found["profit_factor"] == pytest.approx(40 / 15)
    assert found["expectancy"] == pytest.approx(5)
    assert found["expectancy_return"] == pytest.approx(0.05)
    # Deviations from 5: 25, 5, -15, -5, -10, so the variance is 1000 / 4.
    assert found["sqn"] == pytest.approx(5**0.5 * 5 / 250**0.5)
    assert (found["longest_win_streak"], found["longest_loss_streak"]) == (2, 1)
    assert (found["best_profit"], found["worst_profit"]) == (30, -10)
    assert (found["best_return"], found["worst_return"]) == (pytest.approx(0.3), pytest.approx(-0.1))
    assert (found["mean_duration_ms"], found["median_duration_ms"]) == (round(1.4 * HOUR_MS), HOUR_MS)
    assert (found["shortest_ms"], found["longest_ms"]) == (HOUR_MS, 3 * HOUR_MS)


def test_streaks_follow_the_exits() -> None:
    # The first to be entered is the last to end: -, +, + rather than +, -, +.
    found = trade_figures([trade(0, "1", hours=9), trade(1, "-1"), trade(3, "1")])
    assert found["longest_win_streak"] == 2


def test_what_is_not_defined_is_none() -> None:
    nothing = trade_figures([trade(0, None)])
    assert (nothing["trades"], nothing["open_trades"], nothing["net_profit"]) == (0, 1, 0)
    unknown = {name for name, value in nothing.items() if value is None}
    assert unknown == {
        "win_rate", "payoff", "profit_factor", "expectancy", "expectancy_return", "sqn", "best_return", "worst_return",
        "best_profit", "worst_profit", "mean_duration_ms", "median_duration_ms", "shortest_ms", "longest_ms",
    }  # fmt: skip
    won = trade_figures([trade(0, "5"), trade(2, "5")])
    assert won["payoff"] is won["profit_factor"] is won["sqn"] is None
    lost = trade_figures([trade(0, "-5")])
    assert (lost["profit_factor"], lost["payoff"], lost["win_rate"]) == (0.0, None, 0.0)


def test_groups_add_up_to_the_whole() -> None:
    trades = [replace(trade(0, "30"), tag="dip"), trade(2, "-10", direction="SHORT"), trade(26, "5"), trade(27, None)]
    found = grouped(trades)
    assert {name: sum(item["trades"] for item in group.values()) for name, group in found.items()} == dict.fromkeys(
        ("tag", "side", "market", "exit", "weekday", "hour"), 3
    )
    assert found["tag"]["dip"]["net_profit"] == 30
    assert found["tag"][""]["trades"] == 2
    assert found["side"]["SHORT"]["win_rate"] == 0.0
    assert list(found["weekday"]) == ["Monday", "Tuesday"]
    assert set(found["hour"]) == {"00", "02", "03"}
    assert found["exit"]["open"]["open_trades"] == 1


def minute(n: int, low: float, high: float) -> Candle:
    made = candle(START + (n + 1) * MINUTE_MS, low)
    return made._replace(low=round(low * UNIT), high=round(high * UNIT))


def test_excursions_are_those_of_the_candles_within_the_trade() -> None:
    candles = [minute(0, 50, 200), minute(1, 95, 104), minute(2, 97, 112), minute(3, 40, 300)]
    held = replace(trade(0, "2"), entry_ms=START + MINUTE_MS, exit_ms=START + 3 * MINUTE_MS, exit_price=Decimal(102))
    short = replace(held, direction="SHORT")
    still_open = replace(held, exit_ms=None, exit_price=None, pnl=None)
    [long_, down, last] = excursions([held, short, still_open], candles)
    assert long_ == Excursion(pytest.approx(0.05), pytest.approx(0.12))
    assert down == Excursion(pytest.approx(0.12), pytest.approx(0.05))
    assert last == Excursion(pytest.approx(0.6), pytest.approx(2.0))


def test_a_stop_within_a_candle_counts_its_own_price_and_not_the_rest_of_the_candle() -> None:
    stopped = replace(trade(0, "-7"), entry_ms=START, exit_ms=START, exit_price=Decimal(93))
    assert excursions([stopped], [minute(0, 50, 200)]) == [Excursion(pytest.approx(0.07), 0.0)]


def test_a_trade_that_saw_no_candle_has_no_excursion() -> None:
    late = replace(trade(500, None), entry_ms=START + HOUR_MS)
    assert excursions([late], [minute(0, 50, 200)]) == [None]
    assert excursions([late], []) == [None]
