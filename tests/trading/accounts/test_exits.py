"""Exits inside the candle and limits on entries: hand-made minutes with the fill that follows, to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.trading.accounts.ledger import FREE, NOON, PAID, D, Ledger, Trading, minute, signal, spec, state
from tests.trading.series import MARKET, at
from trading.accounts.execution import OVERTAKEN
from trading.accounts.trades import Trade, trades_from_fills
from trading.candles import Candle, from_units
from trading.config.rules import Entries, Exits, Session
from trading.events import Signal
from trading.intervals import MINUTE_MS
from trading.plan import Lot, Plan


def percent(**exits: str | int) -> Exits:
    return Exits.model_validate(
        {f"{name}_percent" if name != "max_hold_candles" else name: v for name, v in exits.items()}
    )


def entered(target: str = "LONG", *, plan: Plan | None = None, **changes: Any) -> tuple[Trading, Ledger]:
    """In at 100 at the open of minute 1, without costs: 10 units."""
    costs = changes.pop("costs", FREE)
    execution = state(spec(**changes), costs=costs)
    ledger = Ledger()
    ledger.take(execution.start())
    first = minute(0, 100)
    wanted = signal(first, target)
    ledger.run(execution, [first, wanted if plan is None else wanted._replace(plan=plan), minute(1, 100)])
    return execution, ledger


def exits_of(ledger: Ledger) -> list[tuple[str, Decimal, int]]:
    return [
        (fill.reason, fill.price, (fill.time_ms - NOON) // MINUTE_MS) for fill in ledger.fills() if fill.role == "exit"
    ]


@pytest.mark.parametrize(
    ("target", "exits", "candle", "expected"),
    [
        ("LONG", percent(stop_loss="2"), minute(2, 100, high=103, low="98.01"), []),
        ("LONG", percent(stop_loss="2"), minute(2, 100, high=103, low=98), [("stop_loss", D(98), 2)]),
        ("LONG", percent(stop_loss="2"), minute(2, 95, high=103, low=94), [("stop_loss", D(95), 2)]),
        ("LONG", percent(take_profit="3"), minute(2, 100, high="102.99", low=50), []),
        ("LONG", percent(take_profit="3"), minute(2, 100, high=103, low=99), [("take_profit", D(103), 2)]),
        ("LONG", percent(take_profit="3"), minute(2, 104, high=105, low=99), [("take_profit", D(104), 2)]),
        ("LONG", percent(stop_loss="2", take_profit="3"), minute(2, 100, high=110, low=90), [("stop_loss", D(98), 2)]),
        ("SHORT", percent(stop_loss="2"), minute(2, 100, high="101.99", low=90), []),
        ("SHORT", percent(stop_loss="2"), minute(2, 100, high=102, low=90), [("stop_loss", D(102), 2)]),
        ("SHORT", percent(stop_loss="2"), minute(2, 107, high=108, low=90), [("stop_loss", D(107), 2)]),
        ("SHORT", percent(take_profit="3"), minute(2, 100, high=101, low=97), [("take_profit", D(97), 2)]),
        ("SHORT", percent(stop_loss=2, take_profit=3), minute(2, 100, high=102, low=97), [("stop_loss", D(102), 2)]),
        ("LONG", percent(trailing_stop="5"), minute(2, 100, high=120, low="95.01"), []),
        ("LONG", percent(trailing_stop="5"), minute(2, 100, high=120, low=95), [("trailing_stop", D(95), 2)]),
        ("LONG", percent(trailing_stop="5"), minute(2, 110, high=120, low=104), [("trailing_stop", D("104.5"), 2)]),
        ("LONG", percent(trailing_stop="5", stop_loss="2"), minute(2, 100, low=90), [("stop_loss", D(98), 2)]),
        ("LONG", percent(max_hold_candles=2), minute(2, 100), []),
        ("LONG", percent(max_hold_candles=1), minute(2, 107, low=90), [("time_exit", D(107), 2)]),
    ],
)  # fmt: skip
def test_what_a_candle_does_to_a_trade(
    target: str, exits: Exits, candle: Candle, expected: list[tuple[str, Decimal, int]]
) -> None:
    execution, ledger = entered(target, exits=exits)
    ledger.run(execution, [candle])
    assert exits_of(ledger) == expected
    if expected:
        assert execution.positions(MARKET)[0].quantity == 0
        price = expected[0][1]
        assert execution.positions(MARKET)[0].cash == 1000 + (price - 100) * (10 if target == "LONG" else -10)


def test_a_stop_pays_slippage_and_taker_fee_and_a_target_the_maker_fee_alone() -> None:
    costs = PAID.model_copy(update={"maker_fee": D("0.0004")})
    for exits, reason, price, fee_share in (
        # In at 100.02; 2 % below is 98.0196, sold 0.02 % worse.
        (percent(stop_loss="2"), "stop_loss", D("98.0196") * D("0.9998"), D("0.001")),
        (percent(take_profit="2"), "take_profit", D("102.0204"), D("0.0004")),
    ):
        execution, ledger = entered(exits=exits, costs=costs)
        ledger.run(
            execution,
            [
                minute(
                    2, 100, high=(103 if reason == "take_profit" else 100), low=(97 if reason == "stop_loss" else 100)
                )
            ],
        )
        out = ledger.fills()[-1]
        assert (out.reason, out.price, out.fee) == (reason, price, out.quantity * price * fee_share)
        assert out.slippage == (out.quantity * D("98.0196") * D("0.0002") if reason == "stop_loss" else 0)
        [order] = [order for order in ledger.orders().values() if order.order_id == out.order_id]
        assert (order.status, order.decision_id, order.quantity) == ("filled", None, out.quantity)


def test_distances_of_the_signal_count_from_the_fill_and_yield_to_the_configuration() -> None:
    plan = Plan(stop_distance=1.5, profit_distance=4.0, tag="breakout")
    execution, ledger = entered(plan=plan)
    entry = ledger.fills()[0]
    assert (entry.stop_distance, entry.target_distance, entry.tag) == (D("1.5"), D(4), "breakout")
    ledger.run(execution, [minute(2, 100, high=104, low="98.6")])
    assert exits_of(ledger) == [("take_profit", D(104), 2)]
    [trade] = trades_from_fills(ledger.fills())
    assert (trade.tag, trade.exit_reason, trade.pnl) == ("breakout", "take_profit", D(40))

    execution, ledger = entered(plan=plan, exits=percent(stop_loss="3"))
    ledger.run(execution, [minute(2, 100, low=98), minute(3, 100, low=97)])
    assert exits_of(ledger) == [("stop_loss", D(97), 3)]


def test_the_trailing_stop_follows_the_best_price_and_never_moves_back() -> None:
    execution, ledger = entered(exits=percent(trailing_stop="10"))
    ledger.run(
        execution, [minute(2, 100, 110, high=120, low=100), minute(3, 110, 109), minute(4, 109, high=109, low=108)]
    )
    assert exits_of(ledger) == [("trailing_stop", D(108), 4)]
    [trade] = trades_from_fills(ledger.fills())
    assert (trade.highest, trade.lowest) == (D(120), D(100))


def test_the_stop_comes_before_the_liquidation_if_a_falling_price_meets_it_first() -> None:
    # Leverage 10: liquidated near 90.45. One candle falls through both.
    for stop, reason in (("5", "stop_loss"), ("20", "liquidation")):
        execution, ledger = entered(exits=percent(stop_loss=stop), leverage=D(10))
        ledger.run(execution, [minute(2, 100, low=50)])
        assert [found[0] for found in exits_of(ledger)] == [reason]


def test_after_an_exit_the_same_target_opens_nothing_until_another_came() -> None:
    execution, ledger = entered(exits=percent(stop_loss="2"))
    stopped = minute(2, 100, low=90)
    items: list[Candle | Signal] = [signal(minute(1, 100), "LONG"), stopped, signal(stopped, "LONG")]
    for number, target in ((3, "LONG"), (4, "HOLD"), (5, "LONG"), (6, "LONG")):
        items += [candle := minute(number, 100), signal(candle, target)]
    ledger.run(execution, items)
    told = [(decision.actions, decision.outcome) for decision in ledger.decisions()]
    assert told == [
        (("OPEN_LONG",), "acted"), ((), "hold"), ((), "hold"), ((), "hold"), ((), "hold"), (("OPEN_LONG",), "acted"),
        ((), "hold"),
    ]  # fmt: skip
    assert "waits for another signal" in ledger.decisions()[3].reason

    execution, ledger = entered(exits=percent(stop_loss="2"), entries=Entries(reenter="at_once"))
    ledger.run(execution, [stopped, signal(stopped, "LONG"), minute(3, 100)])
    assert execution.positions(MARKET)[0].quantity == D("9.8")


def test_a_restart_knows_that_it_waits_for_another_signal() -> None:
    execution, ledger = entered(exits=percent(stop_loss="2"))
    for number in (2, 3):
        candle = minute(number, 100, low=90 if number == 2 else None)
        ledger.run(execution, [candle])
        execution = ledger.restore(state(spec(exits=percent(stop_loss="2"))))
        ledger.run(execution, [signal(candle, "LONG")])
        execution = ledger.restore(state(spec(exits=percent(stop_loss="2"))))
    assert [decision.outcome for decision in ledger.decisions()] == ["acted", "hold", "hold"]


def test_a_cooldown_counts_candles_of_the_interval_from_the_exit() -> None:
    execution, ledger = entered(entries=Entries(cooldown_candles=2))
    items: list[Candle | Signal] = [signal(minute(1, 100), "SHORT")]
    for number, target in ((2, "SHORT"), (3, "SHORT"), (4, "SHORT"), (5, "SHORT")):
        items += [candle := minute(number, 100), signal(candle, target)]
    ledger.run(execution, items)
    # The flip only closes, at the open of minute 2; minutes 2 and 3 are waited for.
    assert [decision.actions for decision in ledger.decisions()][1:] == [("CLOSE_LONG",), (), ("OPEN_SHORT",), (), ()]


def test_long_only_holds_nothing_where_it_would_be_short() -> None:
    execution, ledger = entered(entries=Entries(long_only=True))
    candle = minute(2, 100)
    ledger.run(execution, [candle, signal(candle, "SHORT"), minute(3, 100)])
    assert ledger.decisions()[-1].actions == ("CLOSE_LONG",)
    assert execution.positions(MARKET)[0].quantity == 0


def test_outside_its_sessions_it_closes_but_opens_nothing() -> None:
    # 2025-06-02 is a Monday; the session ends at 12:02.
    execution, ledger = entered(entries=Entries(sessions_utc=("mon 11:00-12:02",)))
    candle = minute(1, 100)
    ledger.run(
        execution, [second := minute(2, 100), signal(second, "SHORT"), third := minute(3, 100), signal(third, "LONG")]
    )
    assert candle.open_time_ms < second.open_time_ms
    assert [decision.actions for decision in ledger.decisions()] == [("OPEN_LONG",), ("CLOSE_LONG",), ()]
    assert "outside its sessions" in ledger.decisions()[-1].reason


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("mon-fri 13:30-20:00", ["2025-06-02 13:30", "2025-06-06 19:59"], ["2025-06-02 20:00", "2025-06-07 14:00"]),
        ("sat,sun", ["2025-06-07 00:00", "2025-06-08 23:59"], ["2025-06-09 00:00"]),
        ("fri 22:00-06:00", ["2025-06-06 22:00", "2025-06-07 05:59"], ["2025-06-06 05:00", "2025-06-07 22:00"]),
        ("fri-mon", ["2025-06-08 12:00", "2025-06-09 12:00"], ["2025-06-10 12:00"]),
        ("08:00-24:00", ["2025-06-05 23:59"], ["2025-06-05 07:59"]),
    ],
)
def test_sessions_are_read_as_they_are_written(text: str, inside: list[str], outside: list[str]) -> None:
    session = Session.parse(text)
    assert all(session.holds(at(when)) for when in inside)
    assert not any(session.holds(at(when)) for when in outside)


@pytest.mark.parametrize("text", ["", "monday", "mon 25:00-26:00", "mon 10:00", "10:00-10:00", "mon-"])
def test_a_session_that_cannot_be_read_says_how_it_is_written(text: str) -> None:
    with pytest.raises(ValidationError, match=r"no session|begins when it ends"):
        Entries(sessions_utc=(text,))


PRICES = st.integers(50, 200)
MINUTES = st.lists(st.tuples(PRICES, PRICES, st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=25)
TARGETS = st.sampled_from(["LONG", "SHORT", "FLAT", "HOLD"])
RULES = st.builds(
    lambda stop, target, trail, hold: Exits(
        stop_loss_percent=stop, take_profit_percent=target, trailing_stop_percent=trail, max_hold_candles=hold
    ),
    st.none() | st.integers(1, 40), st.none() | st.integers(1, 40), st.none() | st.integers(1, 40),
    st.none() | st.integers(1, 10),
)  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(
    MINUTES, st.lists(TARGETS, min_size=25, max_size=25), RULES, st.sampled_from([1, 5]), st.integers(0, 24),
    st.sampled_from([0, 0, 1, 3]),
)  # fmt: skip
def test_whatever_happens_money_adds_up_and_fills_lie_in_their_candle(
    shapes: list[tuple[int, int, int, int]], targets: list[str], exits: Exits, leverage: int, cut: int, latency: int
) -> None:
    own = spec(exits=exits, leverage=D(leverage))
    costs = PAID.model_copy(update={"order_latency_minutes": latency})
    execution = state(own, costs=costs)
    ledger = Ledger()
    ledger.take(execution.start())
    candles = {}
    for number, ((opened, close, up, down), target) in enumerate(zip(shapes, targets, strict=False)):
        candle = minute(number, opened, close, high=max(opened, close) + up, low=max(1, min(opened, close) - down))
        candles[candle.open_time_ms] = candle
        ledger.run(execution, [candle, signal(candle, target)])
        if number == cut:
            before = execution.positions(MARKET)
            execution = ledger.restore(state(own, costs=costs))
            assert execution.positions(MARKET) == before
    slip = PAID.slippage
    for fill in ledger.fills():
        candle = candles[fill.time_ms]
        assert from_units(candle.low) * (1 - slip) <= fill.price <= from_units(candle.high) * (1 + slip)
    for trade in trades_from_fills(ledger.fills()):
        _never_beyond_its_stop(trade, exits, candles)
    standing = execution.positions(MARKET)[0]
    cash = sum((item.amount for item in ledger.transfers()), D(0))
    for fill in ledger.fills():
        cash += (fill.quantity * fill.price if fill.side == "SELL" else -fill.quantity * fill.price) - fill.fee
    assert standing.cash == cash
    assert standing.equity == standing.cash + standing.quantity * (standing.mark or 0)


def _never_beyond_its_stop(trade: Trade, exits: Exits, candles: dict[int, Candle]) -> None:
    """No trade takes profit in a candle that reached its stop, nor outlives one."""
    if exits.stop_loss_percent is None or trade.exit_ms is None:
        return
    share = exits.stop_loss_percent / 100
    for candle in candles.values():
        if not trade.entry_ms <= candle.open_time_ms <= trade.exit_ms:
            continue
        is_long = trade.direction == "LONG"
        level = trade.entry_price * (1 - share if is_long else 1 + share)
        hit = from_units(candle.low) <= level if is_long else from_units(candle.high) >= level
        if hit and candle.open_time_ms < trade.exit_ms:
            raise AssertionError((trade, candle))
        assert not (hit and trade.exit_reason == "take_profit"), (trade, candle)


LATE = FREE.model_copy(update={"order_latency_minutes": 3})


def leaving(target: str, then: str, *candles: Candle, **changes: Any) -> tuple[Trading, Ledger]:
    """In at 100 at minute 3; at the close of minute 4 told ``then``, whose order would fill at the open of minute 8."""
    execution, ledger = state(spec(**changes), costs=LATE), Ledger()
    ledger.take(execution.start())
    first, told = minute(0, 100), minute(4, 100)
    before = [minute(1, 100), minute(2, 100), minute(3, 100), minute(4, 100)]
    ledger.run(execution, [first, signal(first, target), *before, signal(told, then), *candles])
    return execution, ledger


@pytest.mark.parametrize(
    ("changes", "candle", "reason", "price"),
    [
        ({"exits": percent(stop_loss="2")}, minute(6, 100, low=97), "stop_loss", D(98)),
        ({"exits": percent(stop_loss="2")}, minute(6, 96, low=95), "stop_loss", D(96)),
        ({"exits": percent(trailing_stop="3")}, minute(6, 100, low=97), "trailing_stop", D(97)),
        ({"exits": percent(take_profit="2")}, minute(6, 100, high=103), "take_profit", D(102)),
        ({"leverage": D(10)}, minute(6, 100, low=80), "liquidation", D("90.45226130")),
    ],
)  # fmt: skip
def test_an_exit_strikes_while_the_order_that_closes_is_on_its_way(
    changes: dict[str, Any], candle: Candle, reason: str, price: Decimal
) -> None:
    execution, ledger = leaving("LONG", "FLAT", minute(5, 100), candle, minute(7, 100), minute(8, 110), **changes)
    assert exits_of(ledger) == [(reason, price, 6)]
    assert execution.positions(MARKET)[0].quantity == 0
    [closing] = [order for order in ledger.orders().values() if order.leg == 0 and order.reason == OVERTAKEN]
    assert (closing.status, closing.action, closing.updated_ms) == ("canceled", "CLOSE_LONG", candle.open_time_ms)


def test_an_order_that_closes_before_the_stop_is_reached_closes_alone() -> None:
    _, ledger = leaving(
        "SHORT", "FLAT", *(minute(number, 100) for number in (5, 6, 7)), minute(8, 101, high=103),
        exits=percent(stop_loss="2"),
    )  # fmt: skip
    assert exits_of(ledger) == [("decision", D(101), 8)]
    assert {order.status for order in ledger.orders().values()} == {"filled"}


def test_a_flip_whose_first_leg_an_exit_made_needless_goes_on_with_the_second() -> None:
    later = [minute(number, 95) for number in range(7, 10)]
    execution, ledger = leaving(
        "LONG", "SHORT", minute(5, 100), minute(6, 100, low=95), *later, exits=percent(stop_loss="2")
    )
    assert [(fill.role, fill.side, fill.price) for fill in ledger.fills()[1:]] == [
        ("exit", "SELL", D(98)), ("entry", "SELL", D(95)),
    ]  # fmt: skip
    # What the stop made needless is a minute's work; the second order is as long on its way as any.
    assert ledger.fills()[-1].time_ms == later[2].open_time_ms
    assert execution.positions(MARKET)[0].quantity < 0


def test_an_exit_of_one_lot_leaves_the_order_with_the_others() -> None:
    """Two lots are to be sold, one is stopped meanwhile: the other is sold, and neither twice."""
    execution, ledger = state(spec(), costs=LATE), Ledger()
    ledger.take(execution.start())
    first = minute(0, 100)
    lots = tuple(
        Lot(first.close_time_ms, place, share=0.4, price=100.0, stop_distance=distance)
        for place, distance in enumerate((2.0, 20.0))
    )
    both = signal(first, "LONG")._replace(plan=Plan(lots=lots))
    # The second lot's order follows the first's.
    ledger.run(execution, [first, both, *(minute(number, 100) for number in range(1, 8))])
    assert execution.positions(MARKET)[0].quantity == D(8)
    none = signal(minute(7, 100), "FLAT")._replace(plan=Plan(lots=()))
    ledger.run(execution, [none, minute(8, 100), minute(9, 100, low=97)])
    execution = ledger.restore(state(spec(), costs=LATE))
    ledger.run(execution, [minute(number, 99) for number in range(10, 15)])
    assert [(fill.trade_no, *found) for fill, found in zip(ledger.fills()[2:], exits_of(ledger), strict=True)] == [
        (1, "stop_loss", D(98), 9), (2, "decision", D(99), 13),
    ]  # fmt: skip
    closing = [order for order in ledger.orders().values() if order.action == "CLOSE_LONG" and order.decision_id]
    assert [order.status for order in closing] == ["canceled", "filled"]
    assert execution.positions(MARKET)[0].quantity == 0


def in_atr(**times: str | int) -> Exits:
    return Exits.model_validate({f"{name}_atr": value for name, value in times.items()})


@pytest.mark.parametrize(
    ("target", "exits", "candle", "expected"),
    [
        ("LONG", in_atr(stop_loss="1.5"), minute(2, 100, low="97.01"), []),
        ("LONG", in_atr(stop_loss="1.5"), minute(2, 100, low=97), [("stop_loss", D(97), 2)]),
        ("SHORT", in_atr(stop_loss="1.5"), minute(2, 100, high=103), [("stop_loss", D(103), 2)]),
        ("LONG", in_atr(take_profit=2), minute(2, 100, high=104), [("take_profit", D(104), 2)]),
        ("SHORT", in_atr(take_profit=2), minute(2, 100, low=96), [("take_profit", D(96), 2)]),
        ("LONG", in_atr(trailing_stop="2.5"), minute(2, 107, high=120, low=102), [("trailing_stop", D(102), 2)]),
        ("SHORT", in_atr(trailing_stop="2.5"), minute(2, 93, high=98, low=80), [("trailing_stop", D(98), 2)]),
    ],
)  # fmt: skip
def test_distances_in_atr_are_those_of_the_decision_that_led_to_the_entry(
    target: str, exits: Exits, candle: Candle, expected: list[tuple[str, Decimal, int]]
) -> None:
    # The strategy's own distances yield, and an ATR that a later signal tells changes nothing.
    execution, ledger = entered(target, plan=Plan(stop_distance=9.0, profit_distance=9.0, atr=2.0), exits=exits)
    ledger.run(execution, [signal(minute(1, 100), target)._replace(plan=Plan(atr=50.0)), candle])
    assert exits_of(ledger) == expected


def test_a_trailing_stop_in_atr_keeps_its_distance_over_a_restart_and_the_removal_of_its_instance() -> None:
    own = in_atr(trailing_stop="2.5")
    execution, ledger = entered(plan=Plan(atr=2.0), exits=own)
    ledger.run(execution, [minute(2, 100, 110, high=120, low=100)])
    for exits, retired in ((own, False), (own, True)):
        execution = ledger.restore(state(spec(exits=exits, retired=retired), on_removed="keep"))
    ledger.run(execution, [minute(3, 116, high=116, low="115.01"), minute(4, 116, low=115)])
    assert exits_of(ledger) == [("trailing_stop", D(115), 4)]
    assert ledger.fills()[0].trail_distance == 5


@pytest.mark.parametrize("plan", [Plan(), Plan(atr=0.0)])
def test_nothing_is_opened_whose_exits_have_no_distance(plan: Plan) -> None:
    execution, ledger = entered(plan=plan, exits=in_atr(stop_loss=2))
    assert execution.positions(MARKET)[0].quantity == 0
    assert ledger.decisions()[0].reason == "its exits are in ATR, and that is 0: opens nothing"


@pytest.mark.parametrize(
    ("exits", "message"),
    [
        ({"stop_loss_percent": 2, "stop_loss_atr": 3}, "stop_loss_percent is 2 and stop_loss_atr is 3: give one"),
        ({"trailing_stop_percent": 2, "trailing_stop_atr": 3}, "give one of the two"),
        ({"atr_period": 20, "stop_loss_percent": 2}, "atr_period is 20, but no exit is in ATR: set stop_loss_atr"),
        ({"stop_loss_atr": 0}, "greater than 0"),
    ],
)
def test_exits_that_contradict_themselves_are_refused(exits: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Exits.model_validate(exits)
