"""Strategies that hold several lots: each is bought, sold and counted by itself."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.trading.accounts.ledger import FREE, PAID, D, Ledger, minute, signal, spec, state
from tests.trading.series import MARKET
from trading.accounts.trades import trades_from_fills
from trading.candles import Candle
from trading.config.rules import Entries
from trading.events import Signal
from trading.plan import Lot, Plan


def wanting(candle: Candle, *lots: Lot) -> Signal:
    told = signal(candle, "LONG" if lots and lots[0].long else "SHORT" if lots else "FLAT")
    return told._replace(plan=Plan(lots=lots, state=(1.0,), tag="dip"))


def lot(candle: Candle, place: int = 0, *, share: float = 0.25, long: bool = True, **more: float) -> Lot:
    return Lot(candle.close_time_ms, place, long, share, price=candle.close / 1e8, **more)


def first_three() -> tuple[list[Candle], list[Lot]]:
    candles = [minute(number, price) for number, price in enumerate((100, 100, 80, 80))]
    lots = [lot(candles[0], profit_distance=10.0), lot(candles[1], quote=50.0), lot(candles[2])]
    return candles, lots


def test_each_lot_costs_its_share_of_the_equity_or_its_own_amount() -> None:
    execution = state(spec(profile="spot"))
    ledger = Ledger()
    ledger.take(execution.start())
    candles, (a, b, c) = first_three()
    ledger.run(execution, [
        candles[0], wanting(candles[0], a), candles[1], wanting(candles[1], a, b), candles[2],
        wanting(candles[2], a, b, c), candles[3],
    ])  # fmt: skip
    # The last one is a quarter of 1000 - 2.5 * 20, for the second was bought at 80.
    assert [(fill.trade_no, fill.lot, fill.price, fill.quantity) for fill in ledger.fills()] == [
        (1, a.name, D(100), D("2.5")), (2, b.name, D(80), D("0.625")), (3, c.name, D(80), D("2.968")),
    ]  # fmt: skip
    assert [decision.actions for decision in ledger.decisions()] == [("OPEN_LONG",)] * 3
    assert execution.positions(MARKET)[0].quantity == D("6.093")


def test_a_lot_takes_its_own_profit_and_is_not_bought_again() -> None:
    execution = state(spec(profile="spot"))
    ledger = Ledger()
    ledger.take(execution.start())
    candles, (a, b, c) = first_three()
    risen = minute(4, 100, high=110)
    ledger.run(execution, [
        candles[0], wanting(candles[0], a), candles[1], wanting(candles[1], a, b), candles[2],
        wanting(candles[2], a, b, c), candles[3], risen, wanting(risen, a, b, c), minute(5, 100),
    ])  # fmt: skip
    done, *held = trades_from_fills(ledger.fills())
    assert (done.trade_no, done.exit_reason, done.exit_price, done.pnl) == (1, "take_profit", D(110), D(25))
    assert [trade.pnl for trade in held] == [None, None]
    assert ledger.decisions()[-1].outcome == "hold"
    assert execution.positions(MARKET)[0].quantity == D("3.593")


@pytest.mark.parametrize("costs", [FREE, PAID])
def test_lots_that_are_dropped_are_sold_by_one_order_and_counted_apart(costs: object) -> None:
    execution = state(spec(profile="spot"), costs=costs)  # type: ignore[arg-type]
    ledger = Ledger()
    ledger.take(execution.start())
    candles, (a, b, c) = first_three()
    last, fresh = minute(4, 90), None
    fresh = lot(last)
    ledger.run(execution, [
        candles[0], wanting(candles[0], a), candles[1], wanting(candles[1], a, b), candles[2],
        wanting(candles[2], a, b, c), candles[3], last, wanting(last, b, fresh), minute(5, 120),
    ])  # fmt: skip
    assert ledger.decisions()[-1].actions == ("CLOSE_LONG", "OPEN_LONG")
    exits = [fill for fill in ledger.fills() if fill.role == "exit"]
    assert [fill.lot for fill in exits] == [a.name, c.name]
    assert len({fill.order_id for fill in exits}) == 1
    [order] = [order for order in ledger.orders().values() if order.order_id == exits[0].order_id]
    assert order.quantity == sum(fill.quantity for fill in exits)
    trades = trades_from_fills(ledger.fills())
    assert [trade.exit_price is not None for trade in trades] == [True, False, True, False]
    execution.validate()
    if costs is FREE:
        assert [trade.pnl for trade in trades if trade.pnl is not None] == [D(50), D("118.72")]


def test_short_lots_are_not_held_by_an_account_that_may_not_be_short() -> None:
    for own in (spec(profile="spot"), spec(entries=Entries(long_only=True))):
        execution = state(own)
        ledger = Ledger()
        ledger.take(execution.start())
        candle = minute(0, 100)
        ledger.run(execution, [candle, wanting(candle, lot(candle, long=False)), minute(1, 100)])
        assert execution.positions(MARKET)[0].quantity == 0
    execution = state(spec())
    ledger.take(execution.start())
    execution.handle(candle)
    execution.handle(wanting(candle, lot(candle, long=False), lot(candle, 1, long=False)))
    execution.handle(minute(1, 100))
    assert execution.positions(MARKET)[0].quantity == D(-5)


def test_lots_never_spend_more_than_there_is() -> None:
    execution = state(spec(profile="spot"))
    ledger = Ledger()
    ledger.take(execution.start())
    candle = minute(0, 100)
    ledger.run(
        execution, [candle, wanting(candle, lot(candle, share=0.75), lot(candle, 1, share=0.75)), minute(1, 100)]
    )
    assert [fill.quantity for fill in ledger.fills()] == [D("7.5"), D("2.5")]
    later = minute(2, 100)
    ledger.run(execution, [later, wanting(later, lot(candle), lot(candle, 1), lot(later)), minute(3, 100)])
    assert list(ledger.orders().values())[-1].reason == "no equity is left"


def test_a_restart_between_any_two_steps_changes_nothing_of_lots() -> None:
    candles, (a, b, c) = first_three()
    risen, last = minute(4, 100, high=110), minute(5, 90)
    steps: list[Candle | Signal] = [
        candles[0], wanting(candles[0], a), candles[1], wanting(candles[1], a, b), candles[2],
        wanting(candles[2], a, b, c), candles[3], risen, wanting(risen, c), last, wanting(last, c, lot(last)),
        minute(6, 95),
    ]  # fmt: skip

    def trade(*, restarts: bool) -> tuple[Ledger, list[Decimal]]:
        execution = state(spec(profile="spot"), costs=PAID)
        ledger = Ledger()
        ledger.take(execution.start())
        for step in steps:
            ledger.run(execution, [step])
            if restarts:
                execution = ledger.restore(state(spec(profile="spot"), costs=PAID))
        return ledger, [position.equity for position in execution.positions(MARKET)]

    straight, broken = trade(restarts=False), trade(restarts=True)
    assert straight[0].fills() == broken[0].fills()
    assert straight[1] == broken[1]


def test_funding_is_paid_on_what_was_held_before_the_boundary() -> None:
    execution = state(spec(), costs=PAID)
    ledger = Ledger()
    ledger.take(execution.start())
    begin = 4 * 60 - 2  # 15:58
    one, two = minute(begin, 100), minute(begin + 1, 100)
    a, b = lot(one, share=0.5), lot(two, share=0.25)
    ledger.run(execution, [one, wanting(one, a), two, wanting(two, a, b), minute(begin + 2, 100)])
    [paid] = [transfer for transfer in ledger.transfers() if transfer.kind == "funding"]
    assert paid.amount == -ledger.fills()[0].quantity * 100 * PAID.funding_per_8h
