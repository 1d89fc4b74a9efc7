"""The rule of each built-in strategy, on series made by hand."""

from __future__ import annotations

import pytest

from tests.trading.strategies.built_in import bars, line, signals
from tests.trading.strategies.own import MARKET
from trading.errors import BadInput
from trading.events import Signal
from trading.features.averages import ema
from trading.intervals import DAY_MS, MINUTE_MS
from trading.strategies.check.series import made_up
from trading.strategies.contract import HOLD, LONG, SHORT
from trading.strategies.registry import STRATEGIES, load_strategy

# Candles of an hour until the longer trend is known: 50 of eight hours, the next longer than five.
LONGER_WARM_UP = {"scalper": 50 * 8}
UP_DOWN_UP = [10, 10, 10, 12, 14, 16, 12, 8, 6, 6, 10, 14]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_built_in_strategy_has_defaults_a_summary_and_says_nothing_before_its_warm_up(name: str) -> None:
    strategy = load_strategy(name)
    assert len(strategy.summary) > 20
    assert all(
        feature.need <= strategy.warmup for feature in strategy.features_on("1h").values() if not feature.interval
    )
    warmup = LONGER_WARM_UP.get(name, strategy.warmup)
    found = signals(name, bars([100.0 + n % 7 for n in range(warmup + 1)]))
    assert line(found)[: warmup - 1] == "-" * (warmup - 1)
    # The session's average begins with a session, and these candles begin within none.
    assert line(found)[warmup] != "-"


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_built_in_strategy_is_quiet_in_a_market_that_does_not_move(name: str) -> None:
    found = signals(name, bars([100.0] * (LONGER_WARM_UP.get(name, load_strategy(name).warmup) + 60)))
    assert found[-1].status == "ready"
    if name in ("rsi_reversion", "accumulate"):
        # RSI is 0 where nothing moves, by convention, which reads as oversold.
        assert {item.target for item in found if item.status == "ready"} == {"LONG"}
    else:
        assert {item.target for item in found if item.status == "ready"} <= {"HOLD", "FLAT"}


@pytest.mark.covers("S1-19")
def test_ma_is_long_above_its_average_and_short_below() -> None:
    #        averages of 2:  10  10  11  13  15  14  10   7   6   8  12
    assert line(signals("ma44", bars(UP_DOWN_UP), {"period": 2})) == "-..LLLSSS.LL"


def test_sma_cross_acts_where_the_averages_cross_and_nowhere_else() -> None:
    # fast 1, slow 3; the slow one: 10, 10.67, 12, 14, 14, 12, 8.67, 6.67, 7.33, 10
    assert line(signals("sma_cross", bars(UP_DOWN_UP), {"fast": 1, "slow": 3})) == "---L..S...L."
    assert line(signals("sma_cross", bars(UP_DOWN_UP), {"fast": 1, "slow": 3}, profile="spot")) == "---L..f...L."


@pytest.mark.covers("S2-19a")
def test_ema_cross_acts_where_the_averages_cross_and_nowhere_else() -> None:
    # fast 1 is the close; slow 3, weight 1/2, from 10: 11, 12.5, 14.25, 13.1, 10.6, 8.3, 7.1, 8.6, 11.3
    assert line(signals("ema_cross", bars(UP_DOWN_UP), {"fast": 1, "slow": 3})) == "---L..S...L."


@pytest.mark.parametrize("name", ["sma_cross", "ema_cross"])
def test_averages_in_the_wrong_order_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="fast is 9, slow is 9") as caught:
        load_strategy(name, {"fast": 9, "slow": 9})
    assert caught.value.field == "fast"


def test_rsi_reversion_buys_low_sells_high_and_leaves_at_the_middle() -> None:
    series = [10, 10, 9, 8, 7, 8, 9, 10, 11, 12, 13, 12, 11, 10]
    found = signals("rsi_reversion", bars(series), {"period": 2, "low": 20, "high": 80})
    values = [item.features["rsi"] for item in found]
    # RSI(2) by hand: 0 while it falls, then gains of 0.5 against losses of 0.44 …
    assert [round(value, 1) for value in values[4:8] if value is not None] == [0.0, 53.3, 77.4, 88.9]
    assert line(found) == "---LLf.SSSSf.L"
    assert [round(item.confidence, 2) for item in found[3:8]] == [1.0, 1.0, 0.07, 0.0, 0.78]


def test_macd_acts_where_its_line_crosses_its_signal() -> None:
    series = [10, 10, 10, 10, 10, 11, 13, 16, 18, 18, 16, 13, 10, 9, 9, 11, 14, 17]
    found = signals("macd", bars(series), {"fast": 2, "slow": 4, "signal": 2})
    above = [
        None if item.features["line"] is None or item.features["signal"] is None
        else item.features["line"] - item.features["signal"]
        for item in found
    ]  # fmt: skip
    assert line(found) == "-----L...S....L..."
    assert [n for n in range(6, len(above)) if above[n] * above[n - 1] < 0] == [9, 14]  # type: ignore[operator]


def test_bollinger_goes_against_what_left_the_bands_until_the_middle() -> None:
    # Bands of 4 candles at one deviation: after three closes of 10, 10 + 2 (mean 10.5, deviation 0.87) breaks out.
    series = [10, 10, 10, 10, 12, 11, 10, 10, 8, 9, 10, 10]
    found = signals("bollinger", bars(series), {"period": 4, "width": 1})
    assert line(found) == "----S.f.L.f."


def test_accumulate_buys_for_the_same_amount_each_time_rsi_falls_below_its_level_and_sells_nothing() -> None:
    series = [10, 10, 11, 12, 8, 7, 6, 12, 14, 15, 8, 7, 30, 2]
    found = signals("accumulate", bars(series), {"rsi_period": 2, "rsi_low": 40, "quote": 25, "max_lots": 2})
    lots = [item.plan.lots or () for item in found]
    assert [len(item) for item in lots] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    assert [(lot.quote, lot.price) for lot in lots[-1]] == [(25.0, 8.0), (25.0, 8.0)]
    assert line(found) == "--ffLLLLLLLLLL"
    assert found[4].plan.tag == "accumulate"


@pytest.mark.covers("S3-17", "S3-18")
def test_dip_buys_below_the_peak_since_the_last_buy_and_sells_each_lot_at_its_own_profit() -> None:
    params = {"dip_pct": 10, "take_profit_pct": 10, "max_lots": 2, "percent_per_lot": 25}
    #        peak 100     dip   no: at 2     sells 80: 88      sells 90: 99
    series = [100, 95, 90, 85, 80, 70, 84, (88, 88, 88, 88), 92, 99, 100, 89]
    found = signals("dip", bars(series), params)
    prices = [[lot.price for lot in item.plan.lots or ()] for item in found]
    assert prices == [
        [], [], [90], [90], [90, 80], [90, 80], [90, 80], [90], [90], [], [], [89],
    ]  # fmt: skip
    assert [item.target for item in found] == ["FLAT", "FLAT", *["LONG"] * 7, "FLAT", "FLAT", "LONG"]
    lot = (found[2].plan.lots or ())[0]
    assert (lot.share, lot.profit_distance, lot.stop_distance) == (0.25, 9.0, None)


def test_dip_takes_profit_at_the_high_of_a_candle_and_buys_at_its_close() -> None:
    params = {"dip_pct": 10, "take_profit_pct": 10, "max_lots": 1}
    found = signals("dip", bars([100, 90, (90, 99, 80, 89)]), params)
    assert [[lot.price for lot in item.plan.lots or ()] for item in found] == [[], [90], [89]]


@pytest.mark.covers("S3-17")
def test_dip_with_one_lot_waits_until_it_is_flat_and_starts_from_a_new_peak() -> None:
    params = {"dip_pct": 0.5, "take_profit_pct": 0.8, "max_lots": 1}
    #         buys      holds        sells    new peak  not yet  buys
    series = [1000, 995, 900, 1002, 1003, 1010, 1006, 1004]
    found = signals("dip", bars(series), params)
    assert [[lot.price for lot in item.plan.lots or ()] for item in found] == [
        [], [995], [995], [995], [], [], [], [1004],
    ]  # fmt: skip


@pytest.mark.covers("S2-19f")
def test_weighted_acts_on_the_signed_sum_of_opinions_beyond_its_threshold() -> None:
    only_trend = {"rsi_weight": 0, "macd_weight": 0, "bollinger_weight": 0, "trend_period": 2, "threshold": 0.5}
    series = [100.0] * 34 + [101.0, 103.0, 103.5, 102.0, 98.0]
    found = signals("weighted", bars(series), only_trend)
    # The close over the mean of the last two, in parts of 2 %: 0.25, 0.49, 0.12, −0.36, −1.
    assert line(found)[34:] == "....S"
    lower = signals("weighted", bars(series), {**only_trend, "threshold": 0.2})
    assert line(lower)[34:] == "LL.SS"
    assert [round(item.confidence, 2) for item in lower[34:]] == [0.25, 0.49, 0.0, 0.36, 1.0]
    assert lower[34].plan.reasons[1] == "together +0.25 against 0.2"


def test_weighted_opinions_are_weighed_against_each_other() -> None:
    strategy = load_strategy("weighted", {"threshold": 0.2, "trend_weight": 3, "macd_weight": 0, "bollinger_weight": 0})
    assert strategy.rule is not None
    assert strategy.confidence is not None
    row = strategy.row(102.0, 100.0, 90.0, 0.0, 1.0, 95.0, 105.0)
    # Trend +1 at weight 3, an RSI of 90 −0.8 at weight 1.
    assert strategy.rule(row, row, strategy.params) == 1
    assert strategy.confidence(row, strategy.params) == pytest.approx((3 * 1 - 0.8) / 4)
    none = load_strategy("weighted", {f"{part}_weight": 0 for part in ("trend", "rsi", "macd", "bollinger")})
    assert none.rule is not None
    assert none.rule(row, row, none.params) == 2


@pytest.mark.covers("S0-24")
def test_price_gap_follows_a_gap_or_trades_its_filling_with_levels_of_its_height() -> None:
    # An up gap of 2 (the high 101 to the low 103), then a down gap of 2 (the low 104 to the high 102).
    series = [
        (100, 101, 99, 100), (100, 104, 100, 104), (104, 106, 103, 105), (105, 107, 104, 106), (106, 106, 100, 101),
        (101, 102, 98, 99), (99, 100, 98, 99),
    ]  # fmt: skip
    found = signals("price_gap", bars(series), {"min_percent": 0.5})
    assert line(found) == "--L..S."
    assert (found[2].plan.stop_distance, found[2].plan.profit_distance, found[2].plan.tag) == (2.0, 4.0, "gap up")
    assert (found[5].plan.stop_distance, found[5].plan.profit_distance, found[5].plan.tag) == (2.0, 4.0, "gap down")
    assert line(signals("price_gap", bars(series), {"min_percent": 0.5, "follow": 0})) == "--S..L."
    assert line(signals("price_gap", bars(series), {"min_percent": 50})) == "--....."


def scalp(rows: list[dict[str, float]], **params: float) -> list[tuple[int, float]]:
    """Target and confidence of a scalper that sees these rows; what a row leaves out is on the bullish side."""
    strategy = load_strategy("scalper", params)
    assert strategy.step is not None
    assert strategy.confidence is not None
    state, said = strategy.start, []
    for values in rows:
        bullish = {"close": 100.0, "fast": 11.0, "slow": 10.0, "vwap": 99.0, "rsi": 50.0, "spike": 2.0, "trend": 98.0}
        row = strategy.row(**{**bullish, "atr": 2.0, **values})
        state = strategy.step(state, row, strategy.params)
        said.append((state.target, round(strategy.confidence(row, strategy.params), 1)))
    return said


BELOW = {"fast": 9.0}


@pytest.mark.covers("S4-2", "S4-3", "S4-4", "S4-5", "S4-6", "S4-7")
def test_scalper_wants_all_five_factors() -> None:
    assert scalp([BELOW, {}]) == [(HOLD, 0.6), (LONG, 1.0)]
    against: dict[str, dict[str, float]] = {
        "no cross": {}, "bias": {"vwap": 101.0}, "momentum": {"rsi": 70.1}, "volume": {"spike": 1.5},
        "longer trend": {"trend": 101.0},
    }  # fmt: skip
    for name, values in against.items():
        first = {} if name == "no cross" else BELOW
        assert scalp([first, values])[1] == (HOLD, 1.0 if name == "no cross" else 0.8), name
    short = {"fast": 9.0, "close": 100.0, "vwap": 101.0, "trend": 102.0}
    assert scalp([{}, short])[1] == (SHORT, 1.0)
    assert scalp([{"fast": 10.0}, {}])[1] == (LONG, 1.0)
    assert scalp([BELOW, {"rsi": 70.0}])[1] == (LONG, 1.0)
    assert scalp([{}])[0][0] == HOLD


@pytest.mark.covers("S4-6")
def test_scalper_may_do_without_the_longer_trend_and_says_four_of_five() -> None:
    assert scalp([BELOW, {"trend": 101.0}], require_htf=0)[1] == (LONG, 0.8)
    assert scalp([BELOW, {"vwap": 101.0}], require_htf=0)[1][0] == HOLD


def scalped(opening: list[float], **params: float) -> list[Signal]:
    """What a scalper on 1m says of ten quiet minutes of little volume, and of three in which it crosses up to 106.

    Fast is the close, slow EMA(3) of minutes, the longer trend EMA(2) of 5m candles, whose closes are ``opening``.
    """
    quiet = [(close, close, close, close, 0.01) for close in opening for _ in range(5)]
    rising = [(103, 103, 103, 103, 1), (100, 101, 99, 100, 1), (100, 106, 100, 106, 5)]
    short = {
        "ema_fast": 1, "ema_slow": 3, "ema_trend": 2, "atr_period": 2, "rsi_period": 2, "rsi_min": 0, "rsi_max": 100,
        "volume_ma_period": 2,
    }  # fmt: skip
    # The session begins with the second of the 5m candles.
    minutes = bars([*quiet, *rising], interval="1m", start_ms=DAY_MS - 5 * MINUTE_MS)
    return signals("scalper", minutes, {**short, **params})


@pytest.mark.covers("S4-2", "S4-3", "S4-5", "S4-6", "S4-7", "S4-8")
def test_scalper_reads_the_trend_of_longer_candles_and_may_do_without_it() -> None:
    with_trend = scalped([100, 104])
    assert line(with_trend) == "---------...L"
    # The mean of the two 5m closes seeds the EMA; the minutes of the unfinished third one do not count.
    assert [item.features["trend"] for item in with_trend[8:]] == [None, 102.0, 102.0, 102.0, 102.0]
    assert with_trend[-1].confidence == 1.0
    assert with_trend[-1].plan.reasons[0] == "5/5 for LONG"
    # True ranges of 1, 3 and 6 by hand: Wilder's average over two, then distances of 1.5 and 1 of it.
    average = with_trend[-1].features["atr"]
    assert average is not None
    assert (with_trend[-1].plan.stop_distance, with_trend[-1].plan.profit_distance) == (average * 1.5, average)

    against = scalped([120, 110])
    assert against[-1].features["trend"] == 115.0
    assert line(against)[-3:] == "..."
    without = scalped([120, 110], require_htf=0)
    assert line(without)[-3:] == "..L"
    assert (without[-1].confidence, without[-1].plan.reasons[0]) == (0.8, "4/5 for LONG")
    # Of its own candles the trend would have agreed: EMA(2) of minutes lies below their newest close.
    assert line(scalped([120, 110], trend_multiple=1))[-1] == "L"


@pytest.mark.covers("S4-6", "S4-22")
def test_scalper_takes_5m_candles_for_1m_and_1h_ones_for_5m() -> None:
    assert load_strategy("scalper").other_intervals(["1m"]) == ("5m",)
    assert load_strategy("scalper", {"trend_multiple": 12}).other_intervals(["5m"]) == ("1h",)
    assert load_strategy("scalper").features_on("1m")["trend"] == ema(50).on("5m")


@pytest.mark.covers("S4-8", "S4-22", "S4-23")
def test_scalper_sets_stop_and_profit_in_atr() -> None:
    strategy = load_strategy("scalper")
    assert strategy.bracket is not None
    row = strategy.row(65_432.5, 2.0, 1.0, 1.0, 50.0, 2.0, 1.0, 232.5)
    assert strategy.bracket(row, strategy.params) == (348.75, 232.5)
    given = strategy.params_dict()
    assert (given["ema_fast"], given["ema_slow"], given["ema_trend"], given["atr_period"]) == (9, 21, 50, 14)
    assert (given["rsi_period"], given["volume_ma_period"], given["volume_spike_threshold"]) == (6, 20, 1.5)


@pytest.mark.covers("S4-9")
def test_scalper_gives_no_signal_twice_within_time_and_price() -> None:
    assert [code for code, _ in scalp([BELOW, {}, BELOW, {}])] == [HOLD, LONG, HOLD, HOLD]
    assert [code for code, _ in scalp([BELOW, {}, BELOW, {"close": 100.31}])] == [HOLD, LONG, HOLD, LONG]
    later = [BELOW, {}, *[BELOW] * 4, {}]
    assert [code for code, _ in scalp(later)] == [HOLD, LONG, HOLD, HOLD, HOLD, HOLD, LONG]
    assert scalp([BELOW, {}, BELOW, {}], duplicate_candles=0)[3][0] == LONG


def test_scalper_trades_a_made_up_market_with_what_it_saw() -> None:
    loose = {"rsi_min": 0, "rsi_max": 100, "volume_spike_threshold": 0.5}
    acted = [item for item in signals("scalper", made_up(1_500, "5m", market=MARKET), loose) if item.target != "HOLD"]
    assert len(acted) > 5
    for item in acted:
        assert item.confidence == 1.0
        assert item.plan.stop_distance == pytest.approx((item.features["atr"] or 0) * 1.5)
        assert item.plan.reasons[0].startswith(f"5/5 for {item.target}")
