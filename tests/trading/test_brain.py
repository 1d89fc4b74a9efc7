"""The brain: closed candles in, feature values and signals out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.series import MARKET, Item, at, candle, end_of, histories, random_minutes, start_of, told
from tests.trading.strategies.own import stepping, text
from trading.brain import FAILED, BrainState, FeatureValue, Reseed, SeedNeed, warm_text
from trading.candle_files import load_candles
from trading.candles import UNIT, Candle, Hole, HoleReason
from trading.config.model import Config
from trading.events import Rebuild, Signal, StreamItem, Target
from trading.fold import fold
from trading.instances import resolve_instances
from trading.intervals import DAY_MS, MINUTE_MS
from trading.strategies.contract import StrategyFailed
from trading.timeframe import Refold, TimeframeState

NOON = at("2025-06-02 12:00")
OTHER = "binance:ETHUSDT"


def make(
    *strategies: dict[str, Any],
    features: Sequence[dict[str, Any]] = (),
    live_from_ms: int = 0,
    markets: Sequence[str] = (MARKET,),
    positions: dict[str, int] | None = None,
) -> BrainState:
    config = Config.model_validate({"markets": [MARKET, OTHER], "strategies": strategies, "features": list(features)})
    return BrainState(resolve_instances(config, live_from_ms), config.features, markets, positions)


def ma(period: int, *, intervals: Sequence[str] = ("1m",), name: str = "a", profile: str = "perp") -> dict[str, Any]:
    return {"name": name, "strategy": "ma44", "params": {"period": period}, "intervals": intervals, "profile": profile}


def shown(period: int, *, name: str = "shown", intervals: Sequence[str] = ("1m",)) -> dict[str, Any]:
    return {"name": name, "kind": "sma", "params": {"period": period}, "intervals": intervals}


def run(brain: BrainState, items: Iterable[StreamItem]) -> list[Candle | FeatureValue | Signal | Reseed]:
    out: list[Candle | FeatureValue | Signal | Reseed] = []
    for item in items:
        out += brain.handle(item)
        brain.validate()
    return out


def signals(out: Iterable[object]) -> list[Signal]:
    return [item for item in out if isinstance(item, Signal)]


def closes(*prices: float, start: int = 0, interval: str = "1m", minutes: int = 1) -> list[Candle]:
    width_ms = minutes * MINUTE_MS
    return [
        candle(NOON + (start + n + 1) * width_ms, price, interval=interval, width_ms=width_ms)
        for n, price in enumerate(prices)
    ]


def missing(first: int, count: int) -> Hole:
    return Hole(MARKET, NOON + first * MINUTE_MS, NOON + (first + count) * MINUTE_MS, HoleReason.MISSING.value)


def states(out: Iterable[object]) -> list[tuple[str, str, int]]:
    return [(s.target, s.status, s.warm_have) for s in signals(out)]


@pytest.mark.covers("S1-19", "S1-20")
def test_before_warm_up_it_holds_and_then_follows_the_rule() -> None:
    out = signals(run(make(ma(3)), closes(10, 11, 12, 9, 10, 10, 10)))
    assert [(s.target, s.status, s.warm_have, s.warm_need) for s in out] == [
        ("HOLD", "warming", 1, 3),
        ("HOLD", "warming", 2, 3),
        ("LONG", "ready", 3, 3),
        ("SHORT", "ready", 3, 3),
        ("SHORT", "ready", 3, 3),
        ("LONG", "ready", 3, 3),
        ("HOLD", "ready", 3, 3),
    ]
    assert [s.features["ma"] for s in out] == [None, None, 11.0, 32 / 3, 31 / 3, 29 / 3, 10.0]
    assert [s.confidence for s in out][:2] == [0.0, 0.0]
    assert out[2].confidence == 1.0
    assert out[6].confidence == 0.0
    near = signals(run(make(ma(2)), closes(100, 101)))[1]
    assert near.confidence == pytest.approx(0.5 / (0.02 * 100.5))


def test_a_signal_tells_which_candle_it_came_from() -> None:
    closing = closes(7.5)[0]._replace(revision=2, received_ns=99)
    brain = make(ma(2))
    passed, signal = run(brain, [closing])
    assert passed == closing
    assert isinstance(signal, Signal)
    assert signal.instance_id.startswith("a-")
    assert signal[1:5] == (MARKET, "1m", NOON, NOON + MINUTE_MS)
    assert (signal.price, signal.candle_revision, signal.received_ns) == (75 * UNIT // 10, 2, 99)
    assert brain.position_ms(MARKET) == NOON + MINUTE_MS


def test_a_spot_instance_holds_cash_where_a_perp_one_is_short() -> None:
    brain = make(ma(2, name="spot", profile="spot"), ma(2, name="perp"))
    out = signals(run(brain, closes(10, 9)))[2:]
    assert [(s.instance_id.split("-")[0], s.target) for s in out] == [("spot", Target.FLAT), ("perp", Target.SHORT)]
    assert out[0].confidence == out[1].confidence > 0


def test_minute_first_then_features_then_signals_in_configured_order() -> None:
    brain = make(ma(2, name="b"), ma(3, name="a"), features=[shown(4, name="z"), shown(2, name="y")])
    out = run(brain, closes(10))
    assert [type(item).__name__ for item in out] == ["Candle", "FeatureValue", "FeatureValue", "Signal", "Signal"]
    assert [item.name for item in out if isinstance(item, FeatureValue)] == ["z", "y"]
    assert [s.instance_id[0] for s in signals(out)] == ["b", "a"]


@pytest.mark.covers("S1-15")
def test_configured_features_are_told_for_every_closed_candle_of_their_intervals() -> None:
    brain = make(features=[shown(2, intervals=("37m",))])
    out = run(brain, closes(10, 12, 20, interval="37m", minutes=37))
    assert [item for item in out if not isinstance(item, FeatureValue)] == []
    values = [item for item in out if isinstance(item, FeatureValue)]
    assert [(v.value, v.have, v.need) for v in values] == [(None, 1, 2), (11.0, 2, 2), (16.0, 2, 2)]
    assert values[1][:5] == (MARKET, "37m", "shown", NOON + 37 * MINUTE_MS, NOON + 74 * MINUTE_MS)
    assert values[0].params == {"period": 2}
    assert [warm_text(v.have, v.need) for v in values] == ["warming 1/2", "", ""]


def test_a_displayed_feature_and_an_instances_own_are_the_same_number() -> None:
    brain = make(ma(3), features=[shown(3)])
    out = run(brain, closes(10, 11, 13, 17))
    mine = [s.features["ma"] for s in signals(out)]
    assert mine == [item.value for item in out if isinstance(item, FeatureValue)]


def test_outputs_of_one_feature_are_told_side_by_side() -> None:
    def line(name: str, output: str) -> dict[str, Any]:
        return {"name": name, "kind": "bollinger", "params": {"period": 2}, "output": output, "intervals": ["1m"]}

    specs = [line("low", "lower"), line("mid", ""), line("high", "upper")]
    out = [item for item in run(make(features=specs), closes(10, 12)) if isinstance(item, FeatureValue)]
    assert [(item.name, item.value, item.have, item.need) for item in out] == [
        ("low", None, 1, 2), ("mid", None, 1, 2), ("high", None, 1, 2),
        ("low", 9.0, 2, 2), ("mid", 11.0, 2, 2), ("high", 13.0, 2, 2),
    ]  # fmt: skip
    assert out[-1].params == {"period": 2, "width": 2.0}


def test_a_feature_that_is_not_defined_is_told_as_unknown() -> None:
    spec = {"name": "spike", "kind": "volume_spike", "params": {"period": 2}, "intervals": ["1m"]}
    traded = [(*closes(10, 10, 10),)[n]._replace(volume=volume * UNIT) for n, volume in enumerate((0, 0, 4))]
    out = [item for item in run(make(features=[spec]), traded) if isinstance(item, FeatureValue)]
    assert [(item.value, item.have) for item in out] == [(None, 1), (None, 2), (2.0, 2)]


def test_candles_that_closed_by_live_from_only_warm_up() -> None:
    brain = make(ma(2), live_from_ms=NOON + 3 * MINUTE_MS)
    out = run(brain, closes(10, 11, 12, 13))
    assert len([item for item in out if isinstance(item, Candle)]) == 4
    assert [(s.open_time_ms, s.target, s.status) for s in signals(out)] == [(NOON + 3 * MINUTE_MS, "LONG", "ready")]


def test_lanes_of_other_markets_and_intervals_are_their_own() -> None:
    brain = make(ma(2, intervals=("1m", "3m")), markets=(MARKET, OTHER))
    first = closes(10, 12)
    out = signals(run(brain, [first[0], first[0]._replace(market=OTHER), first[1]]))
    assert [(s.market, s.status) for s in out] == [(MARKET, "warming"), (OTHER, "warming"), (MARKET, "ready")]
    assert states(run(brain, closes(11, interval="3m", minutes=3))) == [("HOLD", "warming", 1)]


def test_a_candle_that_was_handled_is_ignored_when_it_comes_again() -> None:
    brain = make(ma(2))
    candles = closes(10, 11, 12)
    run(brain, candles)
    assert run(brain, [*candles, candles[1]._replace(revision=1)]) == []
    derived = make(ma(2, intervals=("3m",)))
    wide = closes(10, 11, interval="3m", minutes=3)
    assert len(signals(run(derived, wide))) == 2
    assert run(derived, [wide[1], wide[0]._replace(revision=1)]) == []


def test_after_a_missing_minute_nothing_is_computed_across_it() -> None:
    brain = make(ma(2), features=[shown(2)])
    out = run(brain, [*closes(10, 11), missing(2, 1), *closes(20, 22, 24, start=3)])
    assert states(out) == [
        ("HOLD", "warming", 1),
        ("LONG", "ready", 2),
        ("HOLD", "hole", 1),
        ("LONG", "ready", 2),
        ("LONG", "ready", 2),
    ]
    assert [item.value for item in out if isinstance(item, FeatureValue)] == [None, 10.5, None, 21.0, 23.0]


def test_absent_minutes_do_not_disturb() -> None:
    absent = missing(2, 3)._replace(reason=HoleReason.ABSENT.value)
    out = run(make(ma(2)), [*closes(10, 11), absent, *closes(13, start=5)])
    assert signals(out)[-1].features == {"ma": 12.0}


def test_an_incomplete_candle_never_steps_a_feature() -> None:
    wide = closes(10, 12, 99, 14, 16, interval="3m", minutes=3)
    wide[2] = wide[2]._replace(complete=False)
    out = signals(run(make(ma(2, intervals=("3m",))), wide))
    assert [(s.status, s.features["ma"]) for s in out] == [
        ("warming", None),
        ("ready", 11.0),
        ("hole", None),
        ("hole", None),
        ("ready", 15.0),
    ]
    assert (out[2].target, out[2].price, out[2].confidence) == ("HOLD", 99 * UNIT, 0.0)


def test_rebuild_asks_for_candles_and_the_lane_holds_until_it_has_them() -> None:
    brain = make(ma(2), ma(3, name="wide", intervals=("3m",)))
    run(brain, closes(10, 11, 12))
    asked = run(brain, [Rebuild(MARKET, NOON)])
    upto_ms = NOON + 3 * MINUTE_MS
    assert asked == [Reseed(MARKET, upto_ms, (SeedNeed("1m", 3), SeedNeed("3m", 4)))]
    brain.seed(MARKET, "1m", closes(10, 11.5, 12))
    assert states(run(brain, closes(12, start=3))) == [("HOLD", "ready", 2)]
    held = make(ma(2))
    run(held, [*closes(10, 11, 12), Rebuild(MARKET, NOON)])
    assert states(run(held, closes(13, start=3))) == [("HOLD", "hole", 1)]


def test_a_candle_that_appears_with_a_heal_is_left_to_the_rebuild() -> None:
    brain = make(ma(2, intervals=("3m",)))
    run(brain, [*closes(10, 10, 10), *closes(10, interval="3m", minutes=3), missing(3, 3), *closes(10, start=6)])
    late = closes(10, interval="3m", minutes=3, start=1)
    assert run(brain, [*late, Rebuild(MARKET, late[0].open_time_ms)]) == [
        Reseed(MARKET, NOON + 7 * MINUTE_MS, (SeedNeed("3m", 3),))
    ]


def test_a_hole_still_waited_for_at_the_restart_does_not_stop_a_lane() -> None:
    brain = make(ma(2), positions={MARKET: NOON + 2 * MINUTE_MS})
    brain.seed(MARKET, "1m", closes(10, 11), [missing(2, 1)])
    assert states(run(brain, closes(12, start=2))) == [("LONG", "ready", 2)]
    brain.seed(MARKET, "1m", closes(10), [missing(1, 1)])
    assert states(run(brain, closes(12, start=3))) == [("HOLD", "hole", 1)]


def test_a_brain_takes_no_signals() -> None:
    brain = make(ma(2))
    with pytest.raises(TypeError):
        brain.handle(signals(run(brain, closes(10)))[0])


@pytest.mark.parametrize(("have", "need", "text"), [(37, 125, "warming 37/125"), (0, 2, "warming 0/2"), (2, 2, "")])
def test_warm_text(have: int, need: int, text: str) -> None:
    assert warm_text(have, need) == text


INTERVALS = ("1m", "3m", "37m")


def both() -> BrainState:
    return make(
        ma(3, intervals=INTERVALS),
        ma(7, intervals=INTERVALS, name="slow", profile="spot"),
        features=[shown(5, intervals=INTERVALS)],
    )


def stream(items: Iterable[Item]) -> list[StreamItem]:
    state = TimeframeState(MARKET, INTERVALS, heal_wait_minutes=0)
    out: list[StreamItem] = []
    for item in items:
        for told_item in state.handle(item):
            assert not isinstance(told_item, Refold)
            out.append(told_item)
    return out


@given(histories(longest=148), st.data())
def test_cut_anywhere_and_seeded_it_goes_on_as_if_never_stopped(items: list[Item], data: st.DataObject) -> None:
    after_holes = [n + 1 for n, item in enumerate(items) if isinstance(item, Hole)]
    cut = data.draw(st.integers(0, len(items)) | st.sampled_from(after_holes or [0]))
    position_ms = end_of(items[cut - 1]) if cut else start_of(items[0])
    past, future = stream(items[:cut]), stream(items)[len(stream(items[:cut])) :]
    whole = both()
    run(whole, past)
    whole.advance(MARKET, position_ms)

    again = make(
        ma(3, intervals=INTERVALS),
        ma(7, intervals=INTERVALS, name="slow", profile="spot"),
        features=[shown(5, intervals=INTERVALS)],
        positions={MARKET: position_ms},
    )
    holes = [item for item in items if isinstance(item, Hole)]
    for need in again.needs(MARKET):
        stored = [item for item in past if isinstance(item, Candle) and item.interval == need.interval]
        again.seed(MARKET, need.interval, stored[-need.candles :], holes)
    again.validate()
    assert run(again, future) == run(whole, future)
    assert again.position_ms(MARKET) == whole.position_ms(MARKET)


@given(histories(longest=148), st.data())
def test_what_comes_later_never_changes_what_was_said(items: list[Item], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(items)))
    position_ms = end_of(items[cut - 1])
    changed = random_minutes(position_ms, 50, seed=data.draw(st.integers(0, 99)))
    said = run(both(), stream(items[:cut]))
    assert run(both(), stream(items))[: len(said)] == said
    assert run(both(), stream([*items[:cut], *changed]))[: len(said)] == said


@pytest.mark.covers("S1-12", "S1-14", "S1-16", "S1-19", "S1-20")
@pytest.mark.parametrize("name", ["binance_spot_BTCUSDT_1m_20250520-20250818", "bitfinex_BTCUSD_1m_2018"])
def test_ma44_and_ma125_on_real_minutes_say_what_arrays_say(shared_data: Path, name: str) -> None:
    """Against whole-series arithmetic with NumPy on an independent fold, for 30 days of 37m and 148m candles."""
    minutes = load_candles(shared_data / "candles_1m" / f"{name}.csv.gz", MARKET, interval="1m")
    minutes = [m for m in minutes if m.open_time_ms < minutes[0].open_time_ms + 30 * DAY_MS]
    brain = make(
        {"name": "fast", "strategy": "ma44", "intervals": ["37m", "148m"], "profile": "perp"},
        {"name": "slow", "strategy": "ma125", "intervals": ["37m", "148m"], "profile": "perp"},
    )
    state = TimeframeState(MARKET, ("37m", "148m"), heal_wait_minutes=10)
    out = [signal for item in told(minutes) for told_item in state.handle(item) for signal in brain.handle(told_item)]  # type: ignore[arg-type]
    for interval in ("37m", "148m"):
        candles = fold(minutes, interval)
        units = np.array([c.close for c in candles])
        for instance, period in (("fast", 44), ("slow", 125)):
            mine = [s for s in signals(out) if s.interval == interval and s.instance_id.startswith(instance)]
            assert [s.open_time_ms for s in mine] == [c.open_time_ms for c in candles]
            # close > mean  ⇔  close · n > sum, in exact integers.
            sums = np.convolve(units, np.ones(period, dtype=np.int64))[period - 1 : len(units)]
            side = np.sign(units[period - 1 :] * period - sums)
            expected = ["HOLD"] * (period - 1) + [{1: "LONG", -1: "SHORT", 0: "HOLD"}[int(x)] for x in side]
            assert [s.target for s in mine] == expected
            assert {s.status for s in mine[period - 1 :]} == {"ready"}
            assert {"LONG", "SHORT"} <= {s.target for s in mine} or interval == "148m"
            assert any(a.target != b.target for a, b in pairwise(mine))
            assert all(not isnan(s.confidence) and 0 <= s.confidence <= 1 for s in mine)


LADDER = stepping(
    "lots: tuple[Lot, ...] = ()\nlow: float = 1e9",
    """
    low = min(state.low, now.close)
    lots = tuple(lot for lot in state.lots if now.close < lot.price + 3)
    return State((*lots, Lot(price=now.close)) if now.close < state.low else lots, low)
    """,
)
FRAGILE = text("return LONG if 100 // int(now.close - 7) else FLAT")


def own(source: str, *, name: str = "own") -> dict[str, Any]:
    return {"name": name, "strategy": "mine", "source": source, "intervals": ["1m"], "profile": "perp"}


def test_a_strategy_with_a_state_goes_on_after_a_restart_from_what_its_signals_say() -> None:
    series = closes(*(10.0 + 3 * (n % 5) - n % 7 for n in range(60)))
    whole = signals(run(make(own(LADDER)), series))
    assert {len(signal.plan.lots or ()) for signal in whole} >= {0, 1}
    for cut in (1, 20, 45):
        brain = make(own(LADDER), positions={MARKET: series[cut - 1].close_time_ms})
        brain.seed(MARKET, "1m", series[:cut])
        last = whole[cut - 1]
        brain.resume({(last.instance_id, MARKET, "1m"): last.plan})
        assert signals(run(brain, series[cut:])) == whole[cut:]
        assert list(brain.plans(MARKET)) == [(last.instance_id, MARKET, "1m")]


def test_a_state_stays_as_it_is_while_candles_are_missing() -> None:
    brain = make(own(LADDER))
    before = signals(run(brain, closes(9, 5)))[-1]
    broken = closes(4, start=2)[0]._replace(complete=False)
    [held] = signals(run(brain, [broken]))
    assert (held.target, held.status, held.plan) == ("HOLD", "hole", before.plan)


def test_a_strategy_that_fails_holds_and_no_other_suffers() -> None:
    config = Config.model_validate({"markets": [MARKET], "strategies": [own(FRAGILE), ma(2)]})
    instances = resolve_instances(config, 0)
    told: list[StrategyFailed] = []
    brain = BrainState(instances, (), [MARKET], on_failure=told.append)
    out = signals(run(brain, closes(9, 7, 8)))
    mine = [signal for signal in out if signal.instance_id.startswith("own")]
    assert [(signal.target, signal.status, signal.plan.tag) for signal in mine] == [
        ("LONG", "ready", ""), ("HOLD", "ready", FAILED), ("LONG", "ready", ""),
    ]  # fmt: skip
    assert [signal.target for signal in out if signal not in mine] == ["HOLD", "SHORT", "LONG"]
    assert ["ZeroDivisionError" in str(error) for error in told] == [True]
    with pytest.raises(StrategyFailed, match="line 22"):
        run(BrainState(instances, (), [MARKET]), closes(9, 7, 8))


def test_what_a_strategy_fails_with_is_known_until_it_answers_and_over_a_restart() -> None:
    config = Config.model_validate({"markets": [MARKET], "strategies": [own(FRAGILE), ma(2)]})
    instances = resolve_instances(config, 0)

    def started(positions: dict[str, int]) -> BrainState:
        return BrainState(instances, (), [MARKET], positions, lambda _error: None)

    series = closes(9, 7, 8)
    brain = started({})
    run(brain, series[:1])
    assert brain.failures == {}
    failed = next(item for item in signals(run(brain, series[1:2])) if item.plan.tag == FAILED)
    key = (failed.instance_id, MARKET, "1m")
    told = str(brain.failures[key])
    assert all(text in told for text in ("Strategy mine", "1m candle", MARKET, "ZeroDivisionError", "check mine"))

    again = started({MARKET: series[1].close_time_ms})
    again.seed(MARKET, "1m", series[:2])
    assert set(again.runs(MARKET)) > {key}
    again.resume({key: failed.plan})
    assert {where: str(error) for where, error in again.failures.items()} == {key: told}
    run(again, series[2:])
    assert again.failures == {}


def guarded(period: int, **more: Any) -> dict[str, Any]:
    return {**ma(3), "exits": {"stop_loss_atr": 2, "atr_period": period}, **more}


def test_a_signal_tells_the_atr_that_its_exits_are_measured_in_and_waits_for_it() -> None:
    series = random_minutes(NOON, 40, seed=3)
    brain = make(guarded(5), features=[{"name": "shown", "kind": "atr", "params": {"period": 5}, "intervals": ["1m"]}])
    out = run(brain, series)
    told = [(item.status, item.plan.atr) for item in signals(out)]
    values = [item.value for item in out if isinstance(item, FeatureValue)]
    # The average itself is warm after 3 candles, the ATR after 6.
    assert told[:5] == [("warming", None)] * 5
    assert told[5:] == [("ready", value) for value in values[5:]]
    assert signals(out)[4].warm_need == 6
    for cut in (2, 10, 33):
        again = make(guarded(5), positions={MARKET: series[cut - 1].close_time_ms})
        [need] = again.needs(MARKET)
        again.seed(MARKET, "1m", series[:cut][-need.candles :])
        assert signals(run(again, series[cut:])) == signals(out)[cut:]
