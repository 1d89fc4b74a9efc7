"""The compiled kernel does what the reference engine does: each trade the same, each figure to nine digits and more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from math import isclose
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.requests import BacktestRequest
from backtest.run import simulate
from backtest.sources import Source, load_file
from backtest.sweep.evaluator import ReferenceEvaluator
from backtest.sweep.kernel import KernelEvaluator, why_not
from tests.trading.accounts.ledger import market
from tests.trading.series import MARKET, Item, end_of, histories, hole, random_minutes
from trading.accounts.score import Score, daily_returns
from trading.candles import UNIT, Candle, Hole, HoleReason
from trading.config.costs import Costs
from trading.config.rules import Entries
from trading.errors import DataHole
from trading.intervals import MINUTE_MS

pytestmark = pytest.mark.long(3)

CROSSES = [{"fast": 2, "slow": 5}, {"fast": 3, "slow": 9}, {"fast": 3, "slow": 30}]
COMBOS: dict[str, list[dict[str, int | float]]] = {
    "sma_cross": CROSSES,  # type: ignore[dict-item]
    "ema_cross": CROSSES,  # type: ignore[dict-item]
    "ma44": [{"period": 2}, {"period": 7}, {"period": 40}],
    "rsi_reversion": [{"period": 3}, {"period": 5, "low": 40.0, "middle": 55.0, "high": 60.0}],
    "macd": [{"fast": 2, "slow": 5, "signal": 3}, {"fast": 3, "slow": 10, "signal": 1}],
    "bollinger": [{"period": 4, "width": 1.0}, {"period": 20, "width": 0.7}],
    "weighted": [{"trend_period": 4, "rsi_period": 3, "threshold": 0.05}],
}
CRASH = "binance_spot_BTCUSDT_1m_12col_20210515-20210522.csv.gz"
SPARSE = "bitfinex_BTCUSD_1m_2017.csv.gz"
CHEAP = "bitfinex_XRPUSD_1m_2019H1.csv.gz"


def source_of(items: Sequence[Item], *, lot: str = "0.00001", least: str = "5") -> Source:
    candles = [item for item in items if isinstance(item, Candle)]
    holes = [item for item in items if isinstance(item, Hole) and item.reason == HoleReason.MISSING]
    return Source(candles, holes, market(lot=lot, least=least), known_market=True)


def request(strategy: str, interval: str = "1m", **more: Any) -> BacktestRequest:
    return BacktestRequest(
        strategy=strategy, market=MARKET, intervals=(interval,), max_missing_percent=Decimal(100), **more
    )


def agree(asked: BacktestRequest, source: Source, combos: Sequence[dict[str, int | float]]) -> list[Score]:
    """The scores of both, once every trade and every figure was the same."""
    assert why_not(asked) is None
    kernel = KernelEvaluator(asked, source)
    scores = []
    for combo, found in zip(combos, kernel.evaluate(combos), strict=True):
        judged = simulate(
            asked.model_copy(update={"params": {**asked.params, **combo}}), [source], "reference", twin=False
        )
        trades = [(t.direction, t.entry_ms, t.entry_price, t.quantity, t.exit_ms, t.exit_price) for t in judged.trades]
        assert [tuple(trade) for trade in kernel.trades(combo)] == trades, combo
        assert found.trades == judged.score.trades
        assert found.returns == pytest.approx(daily_returns(judged.equity.daily), rel=1e-9, abs=1e-12)
        for name, value in found.metrics.items():
            wanted = getattr(judged.score, name)
            if wanted is None or value is None:
                assert value == wanted, (combo, name)
            else:
                assert isclose(value, float(wanted), rel_tol=1e-9, abs_tol=1e-12), (combo, name, value, wanted)
        scores.append(judged.score)
    return scores


@st.composite
def days(draw: st.DrawFn) -> list[Item]:
    """Half a day to two of minutes on a coarse grid, over midnight and funding, with absent and missing ones."""
    items: list[Item] = []
    at_ms = 1_748_907_000_000 + draw(st.integers(0, 90)) * MINUTE_MS
    for number in range(draw(st.integers(1, 4))):
        if number:
            kind = draw(st.sampled_from((HoleReason.ABSENT, HoleReason.MISSING)))
            items.append(hole(at_ms, draw(st.sampled_from((1, 3, 40, 500, 1_500))), kind))
            at_ms = end_of(items[-1])
        items += random_minutes(at_ms, draw(st.integers(60, 500)), draw(st.integers(0, 2**16)), extras=False)
        at_ms = end_of(items[-1])
    return items


@pytest.mark.parametrize("strategy", sorted(COMBOS))
@settings(max_examples=4)
@given(
    items=days(),
    interval=st.sampled_from(("1m", "1m", "5m", "37m")),
    profile=st.sampled_from(("spot", "perp")),
    long_only=st.booleans(),
    skipped=st.integers(0, 100),
    money=st.sampled_from((("10000", "0.00001", "5"), ("7.5", "0.001", "5"), ("1000", "0.37", "0"))),
)
def test_random_minutes(
    strategy: str, items: list[Item], interval: str, profile: str, long_only: bool, skipped: int, money: tuple[str, ...]
) -> None:
    capital, lot, least = money
    source = source_of(items, lot=lot, least=least)
    asked = request(
        strategy,
        interval,
        profile=profile,
        capital=Decimal(capital),
        entries=Entries(long_only=long_only),
        start_ms=source.candles[0].open_time_ms + skipped * MINUTE_MS,
        params=COMBOS[strategy][0],
    )
    try:
        agree(asked, source, COMBOS[strategy])
    except DataHole:
        with pytest.raises(DataHole, match="nothing to decide on"):
            KernelEvaluator(asked, source)


@settings(max_examples=6)
@given(items=histories(longest=1440), interval=st.sampled_from(("1m", "2m", "37m", "1h")))
def test_odd_histories(items: list[Item], interval: str) -> None:
    source = source_of(items) if any(isinstance(item, Candle) for item in items) else source_of(random_minutes(0, 60))
    asked = request("ma44", interval, params={"period": 3})
    try:
        agree(asked, source, COMBOS["ma44"])
    except DataHole:
        with pytest.raises(DataHole):
            KernelEvaluator(asked, source)


@settings(max_examples=6)
@given(
    seed=st.integers(0, 2**16),
    leverage=st.sampled_from(("1", "3.5", "20", "125")),
    size=st.sampled_from(("1", "0.3")),
    costs=st.sampled_from((
        Costs(),
        Costs(taker_fee=Decimal(0), slippage=Decimal(0), funding_per_8h=Decimal(0)),
        Costs(taker_fee=Decimal("0.00045"), slippage=Decimal("0.00125"), funding_per_8h=Decimal("-0.00937")),
    )),
)  # fmt: skip
def test_liquidation_funding_and_ruin(seed: int, leverage: str, size: str, costs: Costs) -> None:
    """A walk of up to three per mille a minute, through several fundings, with all the leverage there is."""
    items = random_minutes(1_748_907_000_000, 1_500, seed, extras=False)
    asked = request("ma44", leverage=Decimal(leverage), size=Decimal(size), costs=costs, params={"period": 3})
    agree(asked, source_of(items), COMBOS["ma44"])


def test_leverage_is_liquidated_and_ruined() -> None:
    """The property above is about something: these runs are liquidated, and one of them ends early."""
    items = random_minutes(1_748_907_000_000, 1_500, 7, extras=False)
    asked = request("ma44", leverage=Decimal(125), params={"period": 3})
    source = source_of(items)
    judged = simulate(asked, [source], "reference", twin=False)
    assert any(trade.exit_reason == "liquidation" for trade in judged.trades)
    assert judged.ruined_ms is not None
    agree(asked, source, COMBOS["ma44"])


@pytest.mark.covers("S1-42", "W6")
@pytest.mark.parametrize(
    ("strategy", "file", "interval", "profile"),
    [
        ("sma_cross", CRASH, "1m", "perp"),
        ("ema_cross", CRASH, "15m", "spot"),
        ("ema_cross", SPARSE, "5m", "perp"),
        ("sma_cross", CHEAP, "1m", "spot"),
    ],
)
def test_real_minutes(shared_data: Path, strategy: str, file: str, interval: str, profile: str) -> None:
    asked = request(strategy, interval, profile=profile, params={"fast": 20, "slow": 50})
    whole = load_file(shared_data / "candles_1m" / file, MARKET, asked)
    source = replace(whole, candles=whole.candles[:5_000])
    agree(asked, source, [{"fast": 20, "slow": 50}, {"fast": 7, "slow": 200}])


def test_a_range_is_scored_as_the_reference_scores_it() -> None:
    """Minutes before the range warm up and those behind it do not count, whatever the source holds."""
    source = source_of(random_minutes(1_748_907_000_000, 3_000, 11, extras=False))
    first, last = (source.candles[place].open_time_ms for place in (1_000, 2_500))
    asked = request("ema_cross", "5m", start_ms=first, end_ms=last, params={"fast": 2, "slow": 5})
    wanted = ReferenceEvaluator(asked, source).evaluate(CROSSES)
    found = KernelEvaluator(asked, source).evaluate(CROSSES)
    for judged, scored in zip(wanted, found, strict=True):
        assert (scored.params, scored.trades) == (judged.params, judged.trades)
        assert scored.metrics == pytest.approx(judged.metrics, rel=1e-9)
        assert scored.returns == pytest.approx(judged.returns, rel=1e-9, abs=1e-12)


def test_sums_that_a_float_does_not_hold_go_to_the_reference() -> None:
    """Prices with eight decimals, and averages so long that their sums pass 2**53: the score is the reference's own."""
    minutes = [
        minute._replace(**{name: getattr(minute, name) * 90_000 + 7 for name in ("open", "high", "low", "close")})
        for minute in random_minutes(0, 300, 3, extras=False)
    ]
    source = source_of(minutes, lot="0.00000001", least="0")
    asked = request("sma_cross", params={"fast": 2, "slow": 50})
    kernel = KernelEvaluator(asked, source)
    [found] = kernel.evaluate([{}])
    assert max(minute.close for minute in minutes) * 51 > 2**53 > UNIT
    judged = simulate(asked, [source], "reference", twin=False).score
    assert found.metrics["final_equity"] == float(judged.final_equity)
    assert kernel.trades({}) == []
