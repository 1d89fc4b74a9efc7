"""Entries that wait for their price: when they fill, what they pay, how long they wait and what cancels them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.accounts.ledger import FREE, MARKET, NOON, PAID, D, Ledger, market, minute, signal, spec, state
from tests.trading.strategies.own import text
from trading.accounts.broker import OrderRequest, OrderStatus
from trading.accounts.capital import RetiredSleeve, retired_specs
from trading.accounts.records import Decision, Fill, Order
from trading.accounts.removal import REMOVED
from trading.accounts.resting import RESTS, WITHDRAWN
from trading.config.costs import Costs
from trading.config.rules import Entries, Exits
from trading.errors import BadInput
from trading.intervals import MINUTE_MS
from trading.plan import Plan
from trading.strategies.registry import check_entries, load_strategy
from trading.venues.paper.book import Matcher, PaperOrder

PRICE = st.integers(9_000, 11_000).map(lambda cents: D(cents) / 100)


def entries(order_type: str = "limit", offset_bps: str = "100", expires_candles: int = 3, **more: Any) -> Entries:
    return Entries.model_validate(
        {"order_type": order_type, "offset_bps": offset_bps, "expires_candles": expires_candles, **more}
    )


def begun(target: str = "LONG", costs: Costs = FREE, **changes: Any) -> tuple[Any, Ledger]:
    """A book that wants ``target`` at the close of a first minute at 100; its entry rests 1 % away."""
    execution, ledger = state(spec(**{"entries": entries(), **changes}), costs=costs), Ledger()
    ledger.take(execution.start())
    first = minute(0, 100)
    ledger.run(execution, [first, signal(first, target)])
    return execution, ledger


def the_order(ledger: Ledger) -> Order:
    [order] = [item for item in ledger.orders().values() if item.rests]
    return order


@pytest.mark.parametrize(
    ("order_type", "target", "price"),
    [("limit", "LONG", 99), ("limit", "SHORT", 101), ("stop", "LONG", 101), ("stop", "SHORT", 99)],
)
def test_it_rests_on_its_side_of_the_close_until_its_candles_are_over(order_type: str, target: str, price: int) -> None:
    _, ledger = begun(target, entries=entries(order_type))
    order = the_order(ledger)
    assert (order.type, order.price, order.status) == (order_type.upper(), D(price), "open")
    assert order.expires_ms == NOON + 4 * MINUTE_MS
    assert order.created_ms == NOON + MINUTE_MS


def test_its_price_is_rounded_to_the_tick_away_from_the_close() -> None:
    for order_type, target, price in (("limit", "LONG", "99.96"), ("stop", "LONG", "100.04")):
        _, ledger = begun(target, entries=entries(order_type, "3.5"))
        assert the_order(ledger).price == D(price)


@pytest.mark.parametrize(
    ("target", "own", "kind", "price"),
    [
        ("LONG", 99.5, "LIMIT", "99.5"),
        ("LONG", 100.0, "LIMIT", "100"),
        ("LONG", 100.5, "STOP", "100.5"),
        ("SHORT", 100.5, "LIMIT", "100.5"),
        ("SHORT", 100.0, "LIMIT", "100"),
        ("SHORT", 99.5, "STOP", "99.5"),
        ("LONG", 99.123, "LIMIT", "99.12"),
        ("LONG", 100.123, "STOP", "100.13"),
        ("SHORT", 100.123, "LIMIT", "100.13"),
        ("SHORT", 99.129, "STOP", "99.12"),
        ("LONG", 1e-9, "LIMIT", "0.01"),
    ],
)
def test_a_price_of_the_strategys_own_is_a_limit_up_to_the_close_and_a_stop_beyond(
    target: str, own: float, kind: str, price: str
) -> None:
    execution, ledger = state(spec(entries=Entries(expires_candles=2)), costs=FREE), Ledger()
    ledger.take(execution.start())
    first = minute(0, 100)
    ledger.run(execution, [first, signal(first, target)._replace(plan=Plan(entry=own))])
    order = the_order(ledger)
    assert (order.type, order.price, order.status) == (kind, D(price), "open")
    assert order.expires_ms == NOON + 3 * MINUTE_MS


def test_configured_orders_go_before_a_price_of_the_strategys_own() -> None:
    execution, ledger = state(spec(entries=entries("stop", "100")), costs=FREE), Ledger()
    ledger.take(execution.start())
    first = minute(0, 100)
    ledger.run(execution, [first, signal(first, "LONG")._replace(plan=Plan(entry=95.0))])
    assert (the_order(ledger).type, the_order(ledger).price) == ("STOP", D(101))


def test_another_price_moves_no_order_that_rests_until_it_expires() -> None:
    """Then the new one stands where the newest decision wants it; one without a price is at the next open."""
    execution, ledger = state(spec(entries=Entries(expires_candles=2)), costs=FREE), Ledger()
    ledger.take(execution.start())
    for number, own in enumerate((98.0, 97.0, 96.0, 95.0, None)):
        candle = minute(number, 100)
        ledger.run(execution, [candle, signal(candle, "LONG")._replace(plan=Plan(entry=own))])
    ledger.run(execution, [minute(5, 100)])
    told = [(order.price, order.status, order.reason) for order in ledger.orders().values()]
    assert told == [
        (D(98), "canceled", "expired"),
        (D(96), "canceled", "expired"),
        (None, "filled", ""),
    ]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_it_fills_in_the_first_minute_that_reaches_its_price_and_in_no_other(data: st.DataObject) -> None:
    """Of any minutes: at the price, or the open if that is beyond it; for its own fee; within what it may spend."""
    kind, side = data.draw(st.sampled_from(("LIMIT", "STOP"))), data.draw(st.sampled_from(("BUY", "SELL")))
    price, costs = data.draw(PRICE), replace_costs(data.draw(st.sampled_from(("0", "0.0002"))))
    request = OrderRequest("o", MARKET, side, None, D(1000), NOON + MINUTE_MS, kind, price, NOON + 6 * MINUTE_MS)
    matcher = Matcher(costs, {MARKET: market()})
    order = PaperOrder(request, OrderStatus.OPEN, (), "", request.placed_ms)
    up = (kind == "STOP") == (side == "BUY")
    number = data.draw(st.integers(0, 2))
    while order.status == OrderStatus.OPEN:
        opened, high, low = (data.draw(PRICE) for _ in range(3))
        high, low = max(opened, high, low), min(opened, high, low)
        candle = minute(number, str(opened), high=str(high), low=str(low))
        number += data.draw(st.integers(1, 3))
        was, order = order, matcher.match(order, candle)
        reached = high >= price if up else low <= price
        if candle.open_time_ms < request.placed_ms or (candle.open_time_ms < NOON + 6 * MINUTE_MS and not reached):
            assert order == was
        elif candle.open_time_ms >= NOON + 6 * MINUTE_MS:
            assert (order.status, order.reason, order.fills) == (OrderStatus.CANCELED, "expired", ())
        else:
            [fill] = order.fills
            at_best = max(opened, price) if up else min(opened, price)
            slip = D(0) if kind == "LIMIT" else at_best * costs.slippage * (1 if side == "BUY" else -1)
            rate = D("0.0004") if kind == "LIMIT" else D("0.001")
            assert (order.status, fill.price, fill.time_ms) == (OrderStatus.FILLED, at_best + slip, candle.open_time_ms)
            assert fill.fee == fill.price * fill.quantity * rate
            paid = fill.price * (1 + rate)
            assert fill.quantity * paid <= 1000 < (fill.quantity + D("0.001")) * paid


def replace_costs(slippage: str) -> Costs:
    return PAID.model_copy(update={"slippage": D(slippage), "maker_fee": D("0.0004")})


def test_of_a_thin_minute_a_limit_gets_its_share_and_waits_for_a_minute_that_has_any() -> None:
    costs = FREE.model_copy(update={"entry_share_of_volume": D("0.5")})
    execution, ledger = begun(costs=costs)
    ledger.run(execution, [minute(1, 99)._replace(volume=0)])
    assert the_order(ledger).status == "open"
    ledger.run(execution, [minute(2, 100, low=98)])
    assert (the_order(ledger).status, execution.positions(MARKET)[0].quantity) == ("filled", D("0.5"))


def test_the_same_target_leaves_it_alone_and_hold_too() -> None:
    execution, ledger = begun()
    before = the_order(ledger)
    second, third = minute(1, 100), minute(2, 100)
    decisions = ledger.run(execution, [second, signal(second, "LONG"), third, signal(third, "HOLD")])
    assert [(item.outcome, item.reason) for item in decisions if isinstance(item, Decision)] == [
        ("hold", RESTS), ("hold", "")
    ]  # fmt: skip
    assert the_order(ledger) == before


def test_nothing_wanted_cancels_it_before_the_next_minute() -> None:
    execution, ledger = begun()
    second = minute(1, 100)
    ledger.run(execution, [second, signal(second, "FLAT"), minute(2, 90)])
    order = the_order(ledger)
    assert (order.status, order.reason, order.quantity) == ("canceled", WITHDRAWN, None)
    assert ledger.fills() == []


def test_the_other_side_cancels_it_and_rests_in_the_same_decision() -> None:
    execution, ledger = begun()
    second = minute(1, 100)
    ledger.run(execution, [second, signal(second, "SHORT"), minute(2, 100, low=98), minute(3, 100, high=102)])
    first, other = sorted(ledger.orders().values(), key=lambda order: order.created_ms)
    assert (first.status, other.status, other.side, other.price) == ("canceled", "filled", "SELL", D(101))
    assert [fill.time_ms for fill in ledger.fills()] == [NOON + 3 * MINUTE_MS]


def test_what_is_still_wanted_when_it_expires_rests_anew_at_the_price_of_then() -> None:
    execution, ledger = begun(entries=entries(expires_candles=1))
    second = minute(1, 100, 200)
    ledger.run(execution, [second, signal(second, "LONG")])
    first, other = sorted(ledger.orders().values(), key=lambda order: order.created_ms)
    assert (first.status, first.reason) == ("canceled", "expired")
    assert (other.status, other.price) == ("open", D(198))


def test_it_expires_at_the_venue_where_no_signal_comes_or_minutes_are_absent() -> None:
    execution, ledger = begun()
    ledger.run(execution, [minute(1, 100), minute(9, 90)])
    order = the_order(ledger)
    assert (order.status, order.reason, order.updated_ms) == ("canceled", "expired", NOON + 9 * MINUTE_MS)
    assert ledger.fills() == []


def test_a_session_that_ends_cancels_it() -> None:
    rules = entries(sessions_utc=["12:00-12:02"], expires_candles=9)
    execution, ledger = begun(entries=rules)
    second = minute(1, 100)
    ledger.run(execution, [second, signal(second, "LONG")])
    assert (the_order(ledger).status, the_order(ledger).reason) == ("canceled", "outside its sessions: opens nothing")


def test_a_flip_closes_at_the_open_and_rests_for_the_other_side_from_there() -> None:
    execution, ledger = begun()
    second, third = minute(1, 100, low=98), minute(2, 100, high=102)
    ledger.run(execution, [second, signal(second, "SHORT"), third])
    assert sorted((fill.time_ms, fill.role, fill.side, fill.price, fill.reason) for fill in ledger.fills()) == [
        (second.open_time_ms, "entry", "BUY", D(99), "limit"),
        (third.open_time_ms, "entry", "SELL", D(101), "limit"),
        (third.open_time_ms, "exit", "SELL", D(100), "decision"),
    ]
    assert execution.positions(MARKET)[0].quantity < 0


def test_its_stop_is_priced_from_the_fill_and_strikes_within_its_minute_but_its_target_does_not() -> None:
    exits = Exits(stop_loss_percent=D(1), take_profit_percent=D(1))
    for low, held in ((D("98.5"), True), (D("98.01"), False)):
        execution, ledger = begun(exits=exits)
        ledger.run(execution, [minute(1, 100, high=105, low=str(low))])
        assert bool(execution.positions(MARKET)[0].quantity) is held
    assert [(fill.reason, fill.price) for fill in ledger.fills()] == [("limit", D(99)), ("stop_loss", D("98.01"))]


def test_what_a_stop_bought_is_liquidated_no_lower_than_where_its_loss_is_total() -> None:
    """The minute opened below the liquidation price, but nothing was held then."""
    execution, ledger = begun(entries=entries("stop", "200"), leverage=D(100))
    ledger.run(execution, [minute(1, 100, high=103)])
    entry, leave = ledger.fills()
    assert (entry.price, leave.reason) == (D(102), "liquidation")
    assert D(101) < leave.price < D(102)


def test_a_removed_instance_leaves_no_order_behind() -> None:
    _, ledger = begun()
    execution = ledger.restore(
        state(*retired_specs([RetiredSleeve("a", MARKET, "1m", "perp")]), spec("b"), capital=D(1000))
    )
    ledger.take(execution.start())
    ledger.run(execution, [minute(1, 100), minute(2, 90)])
    assert (the_order(ledger).status, the_order(ledger).reason) == ("canceled", REMOVED)
    assert ledger.fills() == []
    # Its capital was bound while the order rested, and goes on afterwards.
    assert {row[0][0]: row[1] for row in execution.state.holdings(MARKET)} == {"a": D(0), "b": D(1000)}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_restart_at_any_moment_changes_nothing(data: st.DataObject) -> None:
    seen = data.draw(
        st.lists(st.tuples(st.integers(-15, 15), st.sampled_from(("LONG", "SHORT", "FLAT", "HOLD"))), max_size=30)
    )
    candles = data.draw(st.integers(1, 4))
    configured = entries(data.draw(st.sampled_from(("limit", "stop"))), "30", candles)
    # Of the configuration, or of the strategy: on one side of the close, on the other, or none.
    own = data.draw(st.none() | st.lists(st.sampled_from((None, -0.3, 0.0, 0.3)), min_size=30, max_size=30))
    rules = {
        "entries": configured if own is None else Entries(expires_candles=candles),
        "exits": Exits(stop_loss_percent=D("0.5")),
    }
    costs = PAID.model_copy(update={"order_latency_minutes": data.draw(st.sampled_from((0, 2)))})
    items: list[Any] = []
    price = D(100)
    for number, (step, target) in enumerate(seen):
        opened, price = price, price + D(step) / 10
        candle = minute(number, str(opened), str(price))
        away = None if own is None else own[number]
        plan = Plan(entry=None if away is None else round(float(price) + away, 2))
        items += [candle, signal(candle, target)._replace(plan=plan)]
    whole, parted = Ledger(), Ledger()
    execution = state(spec(**rules), costs=costs)
    whole.take(execution.start())
    whole.run(execution, items)
    cut = data.draw(st.integers(0, len(seen))) * 2
    one = state(spec(**rules), costs=costs)
    parted.take(one.start())
    parted.run(one, items[:cut])
    parted.run(parted.restore(state(spec(**rules), costs=costs)), items[cut:])
    assert parted.fills() == whole.fills()
    assert parted.orders() == whole.orders()
    assert parted.marks() == whole.marks()
    assert sum(1 for item in whole.records if isinstance(item, Fill)) == len({fill.fill_id for fill in whole.fills()})


def test_a_distance_without_an_order_that_rests_is_refused() -> None:
    with pytest.raises(ValueError, match="offset_bps is 5, but order_type is market: set order_type limit or stop"):
        Entries.model_validate({"offset_bps": "5"})


def test_an_expiry_without_an_order_that_may_rest_is_refused() -> None:
    with pytest.raises(BadInput, match="expires_candles is 2, but order_type is market and strategy ma44") as caught:
        check_entries(load_strategy("ma44"), Entries(expires_candles=2))
    assert (caught.value.field, caught.value.value) == ("expires_candles", 2)
    own = load_strategy("mine", None, text(more="def entry(now, p): return now.close"))
    check_entries(own, Entries(expires_candles=2))


def test_a_strategy_that_holds_lots_has_no_entries_that_rest() -> None:
    with pytest.raises(BadInput, match="Strategy dip holds lots, which are bought at the next open") as caught:
        check_entries(load_strategy("dip"), entries())
    assert (caught.value.field, caught.value.value) == ("order_type", "limit")
    check_entries(load_strategy("dip"), Entries())
    check_entries(load_strategy("ma44"), entries())
