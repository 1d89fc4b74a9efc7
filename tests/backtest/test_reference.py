"""The reference backtest: what it trades over, what it keeps, and how it scores parts and twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import pytest

from backtest.reference import ReferenceResult, run_reference
from tests.trading.accounts.ledger import OTHER, D, market
from tests.trading.series import MARKET, at, random_minutes
from trading.accounts.records import EquityMark
from trading.candles import Candle, Hole, HoleReason
from trading.config.model import Book, Config, FeatureSpec
from trading.instances import resolve_instances
from trading.intervals import HOUR_MS, MINUTE_MS


def reference(
    candles: Sequence[Candle],
    *,
    period: int = 44,
    intervals: Sequence[str] = ("37m",),
    profile: str = "perp",
    leverage: str = "1",
    capital: str = "10000",
    live_from_ms: int | None = None,
    **more: Any,
) -> ReferenceResult:
    strategy = {
        "name": "a", "strategy": "ma44", "params": {"period": period}, "intervals": intervals, "profile": profile,
        "leverage": leverage,
    }  # fmt: skip
    start_ms = candles[0].open_time_ms if live_from_ms is None else live_from_ms
    config = Config.model_validate({"strategies": [strategy]})
    return run_reference(
        candles,
        instances=resolve_instances(config, start_ms),
        book_id="paper",
        book=Book(capital=D(capital)),
        markets=[market(lot="0.00001", least="5")],
        live_from_ms=start_ms,
        **more,
    )


@pytest.mark.covers("W6")
def test_only_candles_after_the_start_are_traded_and_warm_up_comes_before() -> None:
    candles = random_minutes(at("2025-06-02 00:00"), 300, 1)
    start_ms = candles[100].close_time_ms
    result = reference(candles, period=50, intervals=["1m"], live_from_ms=start_ms)
    records = result.records
    assert result.candles == 199
    assert {signal.status for signal in records.signals} == {"ready"}
    assert min(item.close_ms for item in records.decisions) == start_ms + MINUTE_MS
    assert [mark.time_ms for mark in records.equity] == [item.close_time_ms for item in candles[101:]]
    assert [item.time_ms for item in records.transfers][:1] == [start_ms]


def test_missing_minutes_make_instances_hold() -> None:
    candles = random_minutes(at("2025-06-02 00:00"), 120, 2)
    gone = Hole(MARKET, candles[50].open_time_ms, candles[52].close_time_ms, HoleReason.MISSING.value)
    result = reference(candles[:50] + candles[53:], period=10, intervals=["1m"], holes=[gone])
    statuses = [signal.status for signal in result.records.signals]
    assert statuses[9:50] == ["ready"] * 41
    assert statuses[50:59] == ["hole"] * 9
    assert set(statuses[59:]) == {"ready"}


def test_each_sleeve_has_its_own_money_and_score() -> None:
    candles = random_minutes(at("2025-06-02 00:00"), 3000, 3)
    both = reference(candles, period=5, intervals=["1m", "37m"], capital="10000.00000001")
    scores = {key[2]: item for key, item in both.sleeves.items()}
    assert scores["1m"].final_equity + scores["37m"].final_equity == both.score.final_equity
    assert scores["1m"].trades + scores["37m"].trades == both.score.trades == len(both.trades) - both.score.open_trades
    alone = reference(candles, period=5, intervals=["37m"], capital="5000")
    assert scores["37m"] == alone.score


def test_the_twin_trades_the_same_signals_at_other_costs() -> None:
    candles = random_minutes(at("2025-06-02 00:00"), 2000, 4)
    costs = Book().costs
    dear = costs.model_copy(update={"taker_fee": costs.of("binance").taker_fee * 2})
    result = reference(candles, period=5, intervals=["5m"], twin_costs=dear, every_mark=False)
    assert result.twin is not None
    assert result.twin.trades == result.score.trades
    assert result.twin.final_equity < result.score.final_equity
    same = reference(candles, period=5, intervals=["5m"], twin_costs=costs)
    assert same.twin == same.score == result.score


def test_without_every_mark_hours_and_the_end_are_kept() -> None:
    candles = random_minutes(at("2025-06-02 00:00"), 150, 5)
    few = reference(candles, every_mark=False)
    every = reference(candles)
    assert [mark.time_ms - candles[0].open_time_ms for mark in few.records.equity] == [
        HOUR_MS, 2 * HOUR_MS, 150 * MINUTE_MS,
    ]  # fmt: skip
    assert set(few.records.equity) < set(every.records.equity)
    assert few.score == every.score
    assert all(isinstance(mark, EquityMark) for mark in few.records.equity)


def test_features_are_told_for_what_closed_after_the_start() -> None:
    candles = random_minutes(at("2025-06-02 00:00"), 100, 6)
    shown = FeatureSpec(name="shown", kind="sma", params={"period": 3}, intervals=("1m",))
    result = reference(candles, features=[shown], live_from_ms=candles[89].close_time_ms)
    assert [value.open_time_ms for value in result.records.features] == [item.open_time_ms for item in candles[90:]]
    assert None not in [value.value for value in result.records.features]


@pytest.mark.covers("S1-24")
def test_progress_is_told_on_the_way() -> None:
    told: list[int] = []
    candles = random_minutes(at("2025-06-02 00:00"), 4500, 7)
    reference(candles, on_progress=told.append)
    assert told == [candles[1999].close_time_ms, candles[3999].close_time_ms]


def test_the_same_run_twice_is_the_same() -> None:
    candles = random_minutes(at("2025-06-02 00:00"), 1000, 8)
    first, second = (reference(candles, period=5, intervals=["5m"]) for _ in range(2))
    assert first == second


def test_several_markets_share_a_book_and_each_trades_as_it_does_alone() -> None:
    first = random_minutes(at("2025-06-02 00:00"), 1500, 6)
    other = [item._replace(market=OTHER) for item in random_minutes(at("2025-06-02 00:00"), 1500, 7)]
    del other[200:230]
    known = [market(lot="0.00001"), market(OTHER, lot="0.0001")]
    config = Config.model_validate({
        "markets": [first[0].market, OTHER],
        "strategies": [{"name": "it", "strategy": "ma44", "params": {"period": 5}, "intervals": ["5m"]}],
    })  # fmt: skip

    def run(candles: list[Candle], capital: int, markets: list[str]) -> ReferenceResult:
        [instance] = resolve_instances(config, candles[0].open_time_ms)
        return run_reference(
            candles,
            instances=[replace(instance, markets=tuple(markets))],
            book_id="paper",
            book=Book(capital=D(capital)),
            markets=known,
            live_from_ms=candles[0].open_time_ms,
        )

    both = run(sorted([*first, *other], key=attrgetter("close_time_ms")), 10_000, [first[0].market, OTHER])
    alone = [run(first, 5000, [first[0].market]), run(other, 5000, [OTHER])]
    for name, own in zip((first[0].market, OTHER), alone, strict=True):
        mine = [
            (fill.time_ms, fill.side, fill.price, fill.quantity) for fill in both.records.fills if fill.market == name
        ]
        assert mine == [(fill.time_ms, fill.side, fill.price, fill.quantity) for fill in own.records.fills]
        assert len(mine) > 20
    assert both.equity.last == sum(own.equity.last for own in alone)
    # One value for each moment, and not one for each market.
    assert both.equity.marks == 1500
    assert both.score.final_equity == both.equity.last
