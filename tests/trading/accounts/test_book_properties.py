"""Whatever the market does and wherever a run is cut: ids are unique, money adds up, a restart changes nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.accounts.ledger import FREE, OTHER, PAID, D, Ledger, Trading, signal, spec, state
from tests.trading.series import MARKET, at
from trading.accounts.decisions import actions_for
from trading.accounts.records import Decision, EquityMark, Fill, Order, Record, SleeveKey, Transfer
from trading.accounts.trades import trades_from_fills
from trading.candles import UNIT, Candle
from trading.config.costs import Costs
from trading.events import Signal
from trading.intervals import MINUTE_MS

Item = Candle | Signal
SPECS = (
    spec("a", leverage=D(3)),
    spec("a", interval="37m", leverage=D(20), size=D("0.7")),
    spec("b", profile="spot", deposit=D("333.33333333")),
    spec("b", market=OTHER, leverage=D(2)),
)
COSTS = (
    FREE,
    PAID,
    Costs(taker_fee=D("0.00045"), slippage=D("0.0007"), funding_per_8h=D("-0.0013"), maintenance_margin=D("0.03")),
)


class World(NamedTuple):
    """Minutes of two markets with absent runs over funding times and jumps through liquidation prices, and signals."""

    seed: int
    steps: int
    costs_no: int

    @property
    def costs(self) -> Costs:
        return COSTS[self.costs_no]

    def items(self) -> list[Item]:
        source = random.Random(self.seed)
        at_ms = at("2025-06-02 15:30")
        price = {MARKET: 100 * UNIT, OTHER: 7 * UNIT}
        items: list[Item] = []
        for _ in range(self.steps):
            at_ms += MINUTE_MS * (1 if source.random() < 0.9 else source.choice((2, 38, 500, 1500)))
            for market in (MARKET, OTHER) if source.random() < 0.8 else (MARKET,):
                candle = _next(source, market, at_ms, price[market])
                price[market] = candle.close
                items.append(candle)
                items += [
                    signal(
                        candle,
                        source.choice(("LONG", "SHORT", "FLAT", "HOLD")),
                        name=item.instance_id,
                        interval=item.interval,
                    )
                    for item in SPECS
                    if item.market == market and source.random() < 0.5
                ]
        return items


few = settings(max_examples=50, deadline=None)
WORLDS = st.builds(World, st.integers(0, 2**32), st.integers(10, 120), st.integers(0, len(COSTS) - 1))


def _next(source: random.Random, market: str, open_ms: int, before: int) -> Candle:
    def near(value: int, share: float) -> int:
        return max(UNIT // 100, int(value * (1 + source.uniform(-share, share))))

    first = near(before, 0.4 if source.random() < 0.05 else 0.001)
    last = near(first, 0.01)
    wide = 0.3 if source.random() < 0.1 else 0.005
    top, bottom = max(first, last, near(first, wide)), min(first, last, near(first, wide))
    return Candle(market, "1m", open_ms, open_ms + MINUTE_MS, first, top, bottom, last, UNIT)


def begin(costs: Costs) -> tuple[Trading, Ledger]:
    execution, ledger = state(*SPECS, costs=costs), Ledger()
    ledger.take(execution.start())
    return execution, ledger


def nothing() -> dict[SleeveKey, tuple[Fraction, Fraction]]:
    return {item.key: (Fraction(0), Fraction(0)) for item in SPECS}


def add(found: dict[SleeveKey, tuple[Fraction, Fraction]], records: Sequence[Record]) -> None:
    """Add what fills and transfers moved to each sleeve's position and cash, in exact fractions."""
    for record in records:
        if isinstance(record, Transfer):
            position, cash = found[record.sleeve]
            found[record.sleeve] = position, cash + Fraction(record.amount)
        if isinstance(record, Fill):
            position, cash = found[record.sleeve]
            signed = Fraction(record.quantity) * (1 if record.side == "BUY" else -1)
            value = signed * Fraction(record.price)
            found[record.sleeve] = position + signed, cash - value - Fraction(record.fee)


def standing(execution: Trading) -> dict[SleeveKey, tuple[Fraction, Fraction]]:
    return {
        (item.instance_id, item.market, item.interval): (Fraction(item.quantity), Fraction(item.cash))
        for market in (MARKET, OTHER)
        for item in execution.positions(market)
    }


@pytest.mark.covers("W2", "W4", "W6")
@few
@given(WORLDS)
def test_i7_position_and_cash_are_the_sums_of_fills_and_transfers_after_every_step(
    world: World,
) -> None:
    costs, items = world.costs, world.items()
    execution, ledger = begin(costs)
    moved = nothing()
    add(moved, ledger.records)
    for item in items:
        out = ledger.run(execution, [item])
        add(moved, out)
        held = standing(execution)
        assert held == moved
        if isinstance(item, Candle):
            close = Fraction(item.close, UNIT)
            (mark,) = [record for record in out if isinstance(record, EquityMark)]
            mine = [value for key, value in held.items() if key[1] == item.market]
            assert Fraction(mark.cash) == sum(cash for _, cash in mine)
            assert Fraction(mark.position_value) == sum(position * close for position, _ in mine)
            assert mark.equity == mark.cash + mark.position_value
            for sleeve in execution.positions(item.market):
                assert Fraction(sleeve.equity) == Fraction(sleeve.cash) + Fraction(sleeve.quantity) * close
        spot = held["b", MARKET, "1m"]
        assert spot[0] >= 0
        assert spot[1] >= 0


@pytest.mark.covers("W2")
@few
@given(WORLDS)
def test_i6_one_decision_per_key_one_order_per_leg_one_fill_per_order(world: World) -> None:
    costs, items = world.costs, world.items()
    execution, ledger = begin(costs)
    ledger.run(execution, items)
    told = Counter(
        (item.instance_id, item.market, item.interval, item.open_time_ms) for item in items if isinstance(item, Signal)
    )
    made = Counter((item.instance_id, item.market, item.interval, item.open_ms) for item in ledger.decisions())
    assert made == told
    assert len({item.decision_id for item in ledger.decisions()}) == len(ledger.decisions())
    assert len({item.fill_id for item in ledger.fills()}) == len(ledger.fills())
    assert len({item.transfer_id for item in ledger.transfers()}) == len(ledger.transfers())

    orders = ledger.orders()
    legs = Counter((item.decision_id, item.leg) for item in orders.values() if item.decision_id)
    assert set(legs.values()) <= {1}
    states: dict[str, list[str]] = {}
    for record in ledger.records:
        if isinstance(record, Order):
            states.setdefault(record.order_id, []).append(record.status)
    for identity, told_states in states.items():
        begun = ["intent"] if orders[identity].decision_id else []
        # The first leg waits at the venue for the next open, the second fills at the open that it was made for.
        waited = [*begun, "open"] if orders[identity].decision_id and not orders[identity].leg else begun
        assert told_states in (waited, [*waited, "filled"], [*waited, "rejected"])
    filled = sorted(item.order_id for item in orders.values() if item.status == "filled")
    assert filled == sorted(item.order_id for item in ledger.fills())

    decisions = {item.decision_id: item for item in ledger.decisions()}
    for decision in decisions.values():
        asked = (
            "FLAT"
            if decision.target == "SHORT" and (decision.instance_id, decision.market) == ("b", MARKET)
            else decision.target
        )
        assert decision.actions == actions_for(decision.position_before, asked)
        sent = [item for item in orders.values() if item.decision_id == decision.decision_id]
        assert bool(sent) == (decision.outcome == "acted")
    for order in orders.values():
        if order.decision_id:
            assert decisions[order.decision_id].actions[order.leg] == order.action
            assert order.created_ms >= decisions[order.decision_id].close_ms


@few
@given(WORLDS)
def test_every_order_spends_at_most_what_it_was_given_in_whole_lots(world: World) -> None:
    costs, items = world.costs, world.items()
    execution, ledger = begin(costs)
    ledger.run(execution, items)
    orders = ledger.orders()
    opens = {item.open_time_ms: item.open for item in items if isinstance(item, Candle) and item.market == MARKET}
    for fill in ledger.fills():
        order = orders[fill.order_id]
        assert fill.quantity % D("0.001") == 0
        assert fill.fee == fill.quantity * fill.price * costs.taker_fee
        if fill.role == "entry":
            each = Fraction(fill.price) * (1 + Fraction(costs.taker_fee))
            spent = Fraction(fill.quantity) * each
            assert spent <= Fraction(order.quote_amount or 0) < spent + Fraction("0.001") * each
        if fill.reason == "decision" and fill.market == MARKET:
            sign = 1 if fill.side == "BUY" else -1
            assert fill.price == Decimal(opens[fill.time_ms]) / UNIT * (1 + sign * costs.slippage)


@pytest.mark.covers("W2", "W3")
@few
@given(WORLDS, st.data())
def test_a_restart_anywhere_continues_with_the_same_records(world: World, data: st.DataObject) -> None:
    costs, items = world.costs, world.items()
    unbroken, whole = begin(costs)
    whole.run(unbroken, items)

    execution, ledger = begin(costs)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(items)), min_size=1, max_size=6), label="cuts"))
    for start, end in zip([0, *cuts], [*cuts, len(items)], strict=True):
        ledger.run(execution, items[start:end])
        execution = ledger.restore(state(*SPECS, costs=costs))
        assert execution.start() == []
        # What was handled before the cut comes again, as after a push whose answer was lost.
        for item in items[max(0, end - 5) : end]:
            assert execution.handle(item) == []
    assert ledger.records == whole.records
    assert [execution.positions(market) for market in (MARKET, OTHER)] == [
        unbroken.positions(market) for market in (MARKET, OTHER)
    ]


@pytest.mark.covers("W2")
@pytest.mark.parametrize("costs", COSTS, ids=("free", "paid", "odd"))
def test_a_restart_after_every_single_step_changes_nothing(costs: Costs) -> None:
    source = random.Random(3)
    price, items = 100 * UNIT, []
    for number in range(250):
        candle = _next(source, MARKET, at("2025-06-02 15:30") + number * MINUTE_MS, price)
        price = candle.close
        items += [candle, signal(candle, source.choice(("LONG", "SHORT", "HOLD", "HOLD", "FLAT")))]
    unbroken, whole = begin(costs)
    whole.run(unbroken, items)
    waits = [r for r in whole.records if isinstance(r, Order) and r.status == "intent"]
    assert {order.leg for order in waits} == {0, 1}
    assert {fill.reason for fill in whole.fills()} == {"decision", "liquidation"}

    execution, ledger = begin(costs)
    for item in items:
        ledger.run(execution, [item])
        execution = ledger.restore(state(*SPECS, costs=costs))
    assert ledger.records == whole.records


@few
@given(WORLDS)
def test_markets_do_not_depend_on_each_others_timing(world: World) -> None:
    costs, items = world.costs, world.items()
    together, mixed = begin(costs)
    mixed.run(together, items)
    apart, sorted_ = begin(costs)
    sorted_.run(apart, [item for item in items if item.market == OTHER])
    sorted_.run(apart, [item for item in items if item.market == MARKET])
    for market in (MARKET, OTHER):
        assert together.positions(market) == apart.positions(market)
        assert _of(mixed.records, market) == _of(sorted_.records, market)


def _of(records: Sequence[Record], market: str) -> list[Record]:
    kinds = Decision | Order | Fill | Transfer | EquityMark
    return [record for record in records if isinstance(record, kinds) and record.market == market]


@pytest.mark.covers("W6")
@few
@given(WORLDS)
def test_trades_fundings_and_deposits_are_all_the_money_there_is(world: World) -> None:
    costs, items = world.costs, world.items()
    execution, ledger = begin(costs)
    ledger.run(execution, items)
    trades = trades_from_fills(ledger.fills())
    for item in SPECS:
        mine = [trade for trade in trades if (trade.instance_id, trade.market, trade.interval) == item.key]
        assert [trade.trade_no for trade in mine] == list(range(1, len(mine) + 1))
        assert all(trade.exit_ms is not None for trade in mine[:-1])
        held, cash = standing(execution)[item.key]
        if held:
            continue
        moved = sum(record.amount for record in ledger.transfers() if record.sleeve == item.key)
        assert cash == Fraction(moved) + sum(Fraction(trade.pnl or 0) for trade in mine)
