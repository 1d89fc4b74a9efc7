"""Passing over calm minutes gives what handling each by itself gives: records, marks and scores, to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.minutes import Minutes
from backtest.reference import ReferenceResult, run_reference
from tests.trading.accounts.ledger import D, market, minute, signal, spec, state
from tests.trading.series import MARKET, Item, at, end_of, histories, hole, random_minutes
from tests.trading.strategies.own import PRICED
from tests.trading.test_other_intervals import SOURCE
from trading.candles import Candle, Hole, HoleReason
from trading.config.costs import Costs
from trading.config.model import Book, Config, FeatureSpec
from trading.config.rules import Exits
from trading.fold import fold
from trading.instances import resolve_instances
from trading.intervals import CANONICAL, HOUR_MS, MINUTE_MS

AVERAGE: dict[str, Any] = {"strategy": "ma44", "params": {"period": 5}}
LOTS: dict[str, Any] = {"strategy": "dip", "params": {"dip_pct": 0.3, "take_profit_pct": 0.4, "percent_per_lot": 20.0}}
WIDE: dict[str, Any] = {"strategy": "mine", "source": SOURCE}
OWN_PRICE: dict[str, Any] = {"strategy": "mine", "source": PRICED, "params": {"level": 250}}
# Half an hour before funding and midnight.
BEGIN = at("2025-06-02 23:30")


def both(
    items: Sequence[Item],
    *strategies: dict[str, Any],
    capital: str = "10000",
    costs: Costs | None = None,
    live_after: int = 0,
    **more: Any,
) -> ReferenceResult:
    """The run that passes over calm minutes, once the one that does not has given the same."""
    candles = [item for item in items if isinstance(item, Candle)]
    start_ms = min(item.open_time_ms for item in candles) + live_after * MINUTE_MS
    names = tuple(dict.fromkeys(item.market for item in candles))
    named = [{"name": f"n{number}", "profile": "perp", **item} for number, item in enumerate(strategies)]
    config = Config.model_validate({"strategies": named})
    book = Book(capital=D(capital), costs=costs or Costs())
    stepped, passed = (
        run_reference(
            candles,
            instances=[replace(item, markets=names) for item in resolve_instances(config, start_ms)],
            book_id="paper",
            book=book,
            markets=[replace(market(lot="0.00001", least="5"), symbol=name.partition(":")[2]) for name in names],
            live_from_ms=start_ms,
            holes=[item for item in items if isinstance(item, Hole) and item.reason == HoleReason.MISSING],
            twin_costs=book.costs.model_copy(update={"taker_fee": D("0.003")}),
            every_mark=False,
            stop_when_ruined=True,
            by_minute=by_minute,
            **more,
        )
        for by_minute in (True, False)
    )
    # Of Decimals the text too: 1.0 and 1.00 are stored differently.
    assert repr(passed) == repr(stepped)
    return passed


@st.composite
def days(draw: st.DrawFn) -> list[Item]:
    """One to two days of minutes on a coarse grid, with absent and missing ones between them."""
    items: list[Item] = []
    at_ms = BEGIN
    for number in range(draw(st.integers(1, 3))):
        if number:
            kind = draw(st.sampled_from((HoleReason.ABSENT, HoleReason.MISSING)))
            items.append(hole(at_ms, draw(st.sampled_from((1, 3, 40, 500))), kind))
            at_ms = end_of(items[-1])
        extras = draw(st.booleans())
        items += random_minutes(at_ms, draw(st.integers(30, 700)), draw(st.integers(0, 2**16)), extras=extras)
        at_ms = end_of(items[-1])
    return items


DISTANCE = st.sampled_from((None, "0.3", "1", "4"))
EXITS = st.sampled_from(("percent", "atr")).flatmap(
    lambda unit: st.fixed_dictionaries(
        {
            f"stop_loss_{unit}": DISTANCE,
            f"take_profit_{unit}": DISTANCE,
            f"trailing_stop_{unit}": DISTANCE,
            "max_hold_candles": st.sampled_from((None, 1, 9)),
        }
    )
)
TIMES = st.sampled_from((None, "0.5", "2", "6"))
IN_ATR = st.fixed_dictionaries({"stop_loss_atr": TIMES, "take_profit_atr": TIMES, "trailing_stop_atr": TIMES})


ENTRIES = st.just({}) | st.fixed_dictionaries(
    {
        "order_type": st.sampled_from(("limit", "stop")),
        "offset_bps": st.sampled_from(("0", "7", "40")),
        "expires_candles": st.sampled_from((1, 2, 9)),
    }
)


@st.composite
def instances(draw: st.DrawFn) -> dict[str, Any]:
    rule = draw(st.sampled_from((AVERAGE, AVERAGE, LOTS, WIDE, OWN_PRICE)))
    expires = st.fixed_dictionaries({"expires_candles": st.sampled_from((1, 2, 9))})
    return {
        **rule,
        "intervals": draw(st.sampled_from((["5m"], ["37m"], ["3m", "15m"], ["1m"], ["1h"]))),
        "leverage": draw(st.sampled_from((1, 3, 20, 100))),
        "exits": draw(EXITS | IN_ATR),
        "entries": {} if rule is LOTS else draw(ENTRIES | expires if rule is OWN_PRICE else ENTRIES),
        "size": draw(st.sampled_from(("1", "0.37"))),
    }


@pytest.mark.covers("S1-22", "S1-24", "W6")
@settings(max_examples=20, deadline=None)
@given(
    items=days(),
    first=instances(),
    second=st.none() | instances(),
    latency=st.sampled_from((0, 0, 2)),
    capital=st.sampled_from(("10000", "7")),
    live_after=st.sampled_from((0, 100)),
)
def test_calm_minutes_are_passed_over_without_a_trace(
    items: list[Item],
    first: dict[str, Any],
    second: dict[str, Any] | None,
    latency: int,
    capital: str,
    live_after: int,
) -> None:
    strategies = [first] if second is None else [first, second]
    costs = Costs(order_latency_minutes=latency, slippage_of_range=D("0.01"))
    both(items, *strategies, costs=costs, capital=capital, live_after=live_after)


@pytest.mark.covers("S1-22", "W6")
@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(days(), min_size=2, max_size=3),
    later=st.sampled_from((0, 0, 7, 600)),
    first=instances(),
    second=st.none() | instances(),
    latency=st.sampled_from((0, 0, 2)),
    capital=st.sampled_from(("10000", "10000", "25")),
    live_after=st.sampled_from((0, 100)),
)
def test_several_markets_are_passed_over_as_if_side_by_side(
    parts: list[list[Item]],
    later: int,
    first: dict[str, Any],
    second: dict[str, Any] | None,
    latency: int,
    capital: str,
    live_after: int,
) -> None:
    """Markets that begin and end at other times, with other holes, each in the order that it has alone."""
    items = [moved(item, number, number * later) for number, part in enumerate(parts) for item in part]
    strategies = [first] if second is None else [first, second]
    both(items, *strategies, costs=Costs(order_latency_minutes=latency), capital=capital, live_after=live_after)


def moved(item: Item, number: int, minutes: int) -> Item:
    """``item`` on the market of that number, so many minutes later."""
    name, by_ms = f"{MARKET}{number or ''}", minutes * MINUTE_MS
    if isinstance(item, Hole):
        return item._replace(market=name, from_ms=item.from_ms + by_ms, to_ms=item.to_ms + by_ms)
    times = {"open_time_ms": item.open_time_ms + by_ms, "close_time_ms": item.close_time_ms + by_ms}
    return item._replace(market=name, **times)


def test_a_market_that_nobody_trades_and_an_instance_that_begins_later_are_run_minute_by_minute() -> None:
    items = [moved(item, number, 0) for number in range(2) for item in random_minutes(BEGIN, 300, number)]
    start_ms = items[0].open_time_ms if isinstance(items[0], Candle) else 0
    config = Config.model_validate({"strategies": [{"name": name, **AVERAGE, "intervals": ["5m"]} for name in "ab"]})
    early, late = (
        replace(item, markets=(MARKET,), live_from_ms=at_ms)
        for item, at_ms in zip(resolve_instances(config, start_ms), (start_ms, start_ms + 200 * MINUTE_MS), strict=True)
    )
    both_markets = (MARKET, f"{MARKET}1")
    for chosen in ([early], [replace(item, markets=both_markets) for item in (early, late)]):
        stepped, passed = (
            run_reference(
                [item for item in items if isinstance(item, Candle)],
                instances=chosen,
                book_id="paper",
                book=Book(capital=D(10_000)),
                markets=[replace(market(), symbol=name.partition(":")[2]) for name in both_markets],
                live_from_ms=start_ms,
                every_mark=False,
                by_minute=by_minute,
            )
            for by_minute in (True, False)
        )
        assert repr(passed) == repr(stepped)
        assert passed.records.fills


def test_several_markets_are_ruined_together_at_the_same_minute() -> None:
    items = [moved(item, number, 0) for number in range(2) for item in random_minutes(BEGIN, 1500, 3 + number)]
    result = both(items, {**AVERAGE, "intervals": ["5m"], "leverage": 100}, capital="30")
    assert result.ruined_ms is not None
    assert result.candles < 3000


def test_funding_and_hours_fall_between_signals() -> None:
    result = both(random_minutes(BEGIN, 2000, 2), {**AVERAGE, "intervals": ["1h"]})
    assert {item.kind for item in result.records.transfers} == {"deposit", "funding"}
    assert sum(1 for mark in result.records.equity if mark.time_ms % HOUR_MS == 0) == 33
    assert result.candles == 2000


def test_a_leveraged_book_is_liquidated_and_ruined_at_the_same_minute() -> None:
    result = both(random_minutes(BEGIN, 1500, 3), {**AVERAGE, "intervals": ["5m"], "leverage": 100}, capital="20")
    assert "liquidation" in {fill.reason for fill in result.records.fills}
    assert result.ruined_ms is not None
    assert result.candles < 1500


@pytest.mark.parametrize(
    ("exits", "reason"),
    [
        ({"stop_loss_percent": 1}, "stop_loss"),
        ({"take_profit_percent": 1}, "take_profit"),
        ({"trailing_stop_percent": "0.9"}, "trailing_stop"),
        ({"trailing_stop_atr": 1}, "trailing_stop"),
        ({"max_hold_candles": 2}, "time_exit"),
        ({"trailing_stop_atr": "1.5", "atr_period": 7}, "trailing_stop"),
    ],
)
def test_every_exit_strikes_in_the_same_minute(exits: dict[str, Any], reason: str) -> None:
    result = both(random_minutes(BEGIN, 1500, 4), {**AVERAGE, "intervals": ["15m"], "exits": exits})
    assert {fill.reason for fill in result.records.fills} == {"decision", reason}


@pytest.mark.parametrize("order_type", ["limit", "stop"])
@pytest.mark.parametrize("latency", [0, 3])
def test_entries_that_rest_fill_and_expire_in_the_same_minute(order_type: str, latency: int) -> None:
    entries = {"order_type": order_type, "offset_bps": 60, "expires_candles": 2}
    result = both(
        random_minutes(BEGIN, 1500, 4),
        {**AVERAGE, "intervals": ["15m"], "exits": {"stop_loss_percent": 1}, "entries": entries},
        costs=Costs(order_latency_minutes=latency),
    )
    assert {fill.reason for fill in result.records.fills} == {"decision", order_type, "stop_loss"}
    assert "expired" in {order.reason for order in result.records.orders.values()}


@pytest.mark.parametrize("latency", [0, 3])
def test_prices_of_the_strategys_own_are_reached_in_the_same_minute(latency: int) -> None:
    result = both(
        random_minutes(BEGIN, 1500, 4),
        {**OWN_PRICE, "intervals": ["15m"], "exits": {"stop_loss_percent": 1}, "entries": {"expires_candles": 2}},
        costs=Costs(order_latency_minutes=latency),
    )
    assert {fill.reason for fill in result.records.fills} == {"decision", "limit", "stop", "stop_loss"}
    assert "expired" in {order.reason for order in result.records.orders.values()}


def test_progress_and_features_are_told_alike() -> None:
    told: list[int] = []
    shown = FeatureSpec(name="shown", kind="sma", params={"period": 3}, intervals=("5m",))
    candles = random_minutes(BEGIN, 4100, 5)
    both(candles, {**AVERAGE, "intervals": ["37m"]}, features=[shown], on_progress=told.append)
    assert told == [candles[1999].close_time_ms, candles[3999].close_time_ms] * 2


def test_with_an_exit_that_is_not_named_there_no_minute_is_calm() -> None:
    class Later(Exits):
        break_even_percent: Decimal | None = None

    for exits, is_calm in ((Exits(), True), (Later(), True), (Later(break_even_percent=D(1)), False)):
        book = state(spec(exits=exits))
        book.start()
        first = minute(0, 100)
        for item in (first, signal(first, "LONG"), minute(1, 100)):
            book.handle(item)
        assert (book.state.calm(MARKET) is not None) == is_calm


@pytest.mark.covers("S1-11", "S1-12")
@settings(max_examples=25, deadline=None)
@given(history=histories())
def test_minutes_fold_as_the_plain_fold_does(history: list[Item]) -> None:
    candles = [item for item in history if isinstance(item, Candle)]
    holes = [item for item in history if isinstance(item, Hole)]
    for interval in CANONICAL if candles else ():
        assert Minutes(candles).fold(interval, holes) == fold(candles, interval, holes)


def test_what_is_unknown_of_some_minutes_is_unknown_of_their_candles_alone() -> None:
    minutes = random_minutes(at("2025-06-02 00:00"), 20, 6, extras=False)
    minutes = [item._replace(quote_volume=5, trade_count=2) for item in minutes]
    minutes[7] = minutes[7]._replace(quote_volume=None)
    minutes[12] = minutes[12]._replace(origin="kraken:BTC")
    folded = Minutes(minutes).fold("5m", [hole(at("2025-06-02 00:16"), 2, HoleReason.MISSING)])
    assert [item.quote_volume for item in folded] == [25, None, 25, 25]
    assert [item.trade_count for item in folded] == [10, 10, 10, 10]
    assert [item.origin for item in folded] == [None, None, "kraken:BTC", None]
    assert [item.complete for item in folded] == [True, True, True, False]
