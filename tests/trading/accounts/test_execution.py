"""Paper trading to the last digit: ledgers whose every number was worked out by hand."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import pytest

from tests.trading.accounts.ledger import FREE, NOON, PAID, D, Ledger, Trading, minute, signal, spec, state
from tests.trading.series import MARKET, at
from trading.accounts.records import Decision, EquityMark, Fill, Order, Record, SleeveKey, Transfer
from trading.accounts.trades import trades_from_fills
from trading.candles import Candle
from trading.config.costs import Costs
from trading.errors import ConfigError
from trading.events import Signal
from trading.intervals import DAY_MS, MINUTE_MS

A: SleeveKey = ("a", MARKET, "1m")


def begin(execution: Trading) -> Ledger:
    ledger = Ledger()
    ledger.take(execution.start())
    return ledger


def only(records: list[Record], kind: type) -> list:
    return [record for record in records if isinstance(record, kind)]


def cash(execution: Trading, market: str = MARKET) -> Decimal:
    return execution.positions(market)[0].cash


def held(execution: Trading) -> Decimal:
    return execution.positions(MARKET)[0].quantity


def enter(execution: Trading, target: str, price: str, *, start: int = NOON) -> Ledger:
    """Decide at the close of minute 0 and fill at the open of minute 1, both at ``price``."""
    ledger = begin(execution)
    first = minute(0, price, start=start)
    ledger.run(execution, [first, signal(first, target), minute(1, price, start=start)])
    return ledger


@pytest.mark.covers("W4", "W6")
def test_a_long_pays_slippage_and_both_fees_from_its_cash() -> None:
    execution = state(spec(), costs=PAID, lot="0.00001")
    ledger = begin(execution)
    first, second = minute(0, 100), minute(1, 100, 110)
    assert [type(r) for r in ledger.run(execution, [first])] == [EquityMark]
    decided = ledger.run(execution, [signal(first, "LONG")])
    assert [type(record) for record in decided] == [Decision, Order, Order]
    assert (decided[1].quote_amount, decided[1].quantity) == (D(1000), None)
    assert [order.status for order in only(decided, Order)] == ["intent", "open"]

    # 1000 / (100.02 * 1.001) = 9.98801…; 9.98801 * 100.02 = 999.0007602, a thousandth of it is the fee.
    entry = only(ledger.run(execution, [second]), Fill)[0]
    assert (entry.price, entry.quantity, entry.fee) == (D("100.02"), D("9.98801"), D("0.9990007602"))
    assert (entry.slippage, entry.realized_pnl) == (D("0.1997602"), D("-0.9990007602"))
    assert (entry.time_ms, entry.side, entry.role, entry.fee_asset) == (second.open_time_ms, "BUY", "entry", "USDT")
    mark = ledger.marks()[-1]
    assert (mark.cash, mark.position_value) == (D("0.0002390398"), D("1098.6811"))
    assert mark.equity == D("1098.6813390398")

    # 120 * 0.9998 = 119.976; 9.98801 * 119.976 = 1198.32148776.
    out = ledger.run(execution, [signal(second, "FLAT"), minute(2, 120)])
    leave = only(out, Fill)[0]
    assert (leave.price, leave.quantity, leave.fee) == (D("119.976"), D("9.98801"), D("1.19832148776"))
    assert leave.realized_pnl == D("198.12240607224")
    assert (cash(execution), held(execution)) == (D("1197.12340531204"), 0)
    trade = trades_from_fills(ledger.fills())[0]
    assert (trade.pnl, trade.fees) == (D("197.12340531204"), D("2.19732224796"))
    assert trade.pnl == cash(execution) - 1000


@pytest.mark.covers("S1-21", "W4")
def test_a_flip_closes_first_and_opens_with_what_is_left() -> None:
    execution = state(spec(), costs=PAID)
    ledger = enter(execution, "SHORT", "200")
    # 1000 / (199.96 * 1.001) = 4.996…; 4.996 * 199.96 = 999.00016.
    assert held(execution) == D("-4.996")
    assert cash(execution) == D("1998.00115984")
    second = minute(2, 200, 190)
    assert only(ledger.run(execution, [second]), EquityMark)[0].equity == D("1048.76115984")

    decision, *_ = ledger.run(execution, [signal(second, "LONG")])
    assert decision.actions == ("CLOSE_SHORT", "OPEN_LONG")
    assert decision.position_before == D("-4.996")
    out = ledger.run(execution, [minute(3, 180)])
    # 180 * 1.0002 = 180.036; 4.996 * 180.036 = 899.459856; 1097.641843984 / (180.036 * 1.001) = 6.090…
    closing, opening = only(out, Fill)
    assert (closing.role, closing.side, closing.quantity) == ("exit", "BUY", D("4.996"))
    assert closing.realized_pnl == D("4.996") * D("19.924") - D("0.899459856")
    assert (opening.role, opening.side, opening.quantity) == ("entry", "BUY", D("6.090"))
    assert (closing.trade_no, opening.trade_no) == (1, 2)
    assert closing.time_ms == opening.time_ms
    assert next(order.quote_amount for order in only(out, Order) if order.leg == 1) == D("1097.641843984")
    assert cash(execution) == D("0.126184744")
    statuses = [(order.leg, order.status) for order in only(out, Order)]
    assert statuses == [(0, "filled"), (1, "intent"), (1, "filled")]


@pytest.mark.covers("S1-21")
def test_what_is_held_decides_what_a_target_means() -> None:
    execution = state(spec())
    ledger = begin(execution)
    wanted = ["HOLD", "FLAT", "LONG", "LONG", "HOLD", "SHORT", "SHORT", "FLAT", "FLAT", "SHORT", "LONG"]
    for number, target in enumerate(wanted):
        candle = minute(number, 100)
        ledger.run(execution, [candle, signal(candle, target)])
    assert [(decision.actions, decision.outcome) for decision in ledger.decisions()] == [
        ((), "hold"), ((), "hold"), (("OPEN_LONG",), "acted"), ((), "hold"), ((), "hold"),
        (("CLOSE_LONG", "OPEN_SHORT"), "acted"), ((), "hold"), (("CLOSE_SHORT",), "acted"), ((), "hold"),
        (("OPEN_SHORT",), "acted"), (("CLOSE_SHORT", "OPEN_LONG"), "acted"),
    ]  # fmt: skip
    assert all(0 <= decision.confidence <= 1 for decision in ledger.decisions())
    assert all(decision.features == {"ma": 1 / 3} for decision in ledger.decisions())


def test_spot_never_goes_short() -> None:
    execution = state(spec(profile="spot"))
    ledger = enter(execution, "SHORT", "100")
    assert (held(execution), ledger.decisions()[0].actions) == (0, ())
    second = minute(2, 100)
    ledger.run(execution, [second, signal(second, "LONG"), third := minute(3, 100), signal(third, "SHORT")])
    assert ledger.decisions()[-1].actions == ("CLOSE_LONG",)
    ledger.run(execution, [minute(4, 100)])
    assert (held(execution), cash(execution)) == (0, 1000)


def test_size_and_leverage_scale_the_order() -> None:
    execution = state(spec(leverage=D(3), size=D("0.5")), costs=PAID)
    ledger = enter(execution, "LONG", "100")
    # 1500 / (100.02 * 1.001) = 14.98201…
    assert next(iter(ledger.orders().values())).quote_amount == D(1500)
    assert held(execution) == D("14.982")
    assert cash(execution) == D(1000) - D("14.982") * D("100.02") * D("1.001")


def test_three_times_leverage_is_liquidated_at_the_maintenance_margin() -> None:
    execution = state(spec(leverage=D(3)))
    ledger = enter(execution, "LONG", "100")
    assert (held(execution), cash(execution)) == (D(30), D(-2000))
    # 2000 / (30 * 0.995) = 67.0016750418…, in steps of 1e-8 against us.
    assert not only(ledger.run(execution, [minute(2, 100, low="67.00167505")]), Fill)
    out = ledger.run(execution, [minute(3, 100, low="67.00167504")])
    order, fill = only(out, Order)[0], only(out, Fill)[0]
    assert (order.decision_id, order.status, order.reason, order.action) == (
        None,
        "filled",
        "liquidation",
        "CLOSE_LONG",
    )
    assert (fill.price, fill.quantity, fill.reason) == (D("67.00167504"), D(30), "liquidation")
    assert (held(execution), cash(execution)) == (0, D("10.0502512"))
    assert trades_from_fills(ledger.fills())[0].exit_reason == "liquidation"
    # It trades on with what is left.
    fourth = minute(4, 100)
    ledger.run(execution, [fourth, signal(fourth, "LONG"), minute(5, 100)])
    assert held(execution) == D("0.301")


def test_a_leveraged_short_is_liquidated_as_the_price_rises() -> None:
    execution = state(spec(leverage=D(3)))
    ledger = enter(execution, "SHORT", "100")
    # 4000 / (30 * 1.005) = 132.6699834162…
    assert not only(ledger.run(execution, [minute(2, 100, high="132.66998341")]), Fill)
    fill = only(ledger.run(execution, [minute(3, 100, high="132.66998342")]), Fill)[0]
    assert (fill.price, fill.side) == (D("132.66998342"), "BUY")
    assert cash(execution) == D("19.9004974")


def test_liquidation_pays_slippage_and_fee_too() -> None:
    execution = state(spec(leverage=D(3)), costs=PAID.model_copy(update={"funding_per_8h": D(0)}))
    ledger = enter(execution, "LONG", "100")
    quantity, before = held(execution), cash(execution)
    fill = only(ledger.run(execution, [minute(2, 100, low=50)]), Fill)[0]
    limit = D(int(-before / (quantity * D("0.995")) * 10**8)) / 10**8
    assert fill.price == limit * D("0.9998")
    assert fill.fee == quantity * fill.price * D("0.001")
    assert cash(execution) == before + quantity * fill.price - fill.fee
    assert 0 < cash(execution) < 20


@pytest.mark.parametrize(("target", "jump", "left"), [("LONG", "60", "-200"), ("SHORT", "140", "-200")])
def test_a_jump_through_the_liquidation_price_fills_at_the_open_and_leaves_a_debt(target, jump, left) -> None:
    execution = state(spec(leverage=D(3)))
    ledger = enter(execution, target, "100")
    candle = minute(2, jump)
    assert only(ledger.run(execution, [candle]), Fill)[0].price == D(jump)
    assert cash(execution) == D(left)
    out = ledger.run(execution, [signal(candle, "LONG"), minute(3, 100)])
    assert [order.status for order in only(out, Order)] == ["intent", "open", "rejected"]
    assert only(out, Order)[-1].reason
    assert (held(execution), ledger.marks()[-1].equity) == (0, D(left))


def test_an_entry_can_be_liquidated_within_its_own_candle() -> None:
    execution = state(spec(leverage=D(3)))
    ledger = begin(execution)
    first = minute(0, 100)
    out = ledger.run(execution, [first, signal(first, "LONG"), minute(1, 100, low=60)])
    entry, leave = only(out, Fill)
    assert (entry.price, leave.price, leave.time_ms) == (D(100), D("67.00167504"), entry.time_ms)
    again = ledger.restore(state(spec(leverage=D(3))))
    assert again.positions(MARKET) == execution.positions(MARKET)


def funding(records: list[Record]) -> list[tuple[int, Decimal]]:
    return [(item.time_ms, item.amount) for item in only(records, Transfer)]


@pytest.mark.parametrize("hour", ["00:00", "08:00", "16:00"])
@pytest.mark.parametrize(("target", "amount"), [("LONG", "-0.105"), ("SHORT", "0.105")])
def test_funding_moves_between_long_and_short_every_eight_hours(hour: str, target: str, amount: str) -> None:
    boundary = at(f"2025-06-03 {hour}")
    start = boundary - 3 * MINUTE_MS
    execution = state(spec(), costs=FREE.model_copy(update={"funding_per_8h": D("0.0001")}))
    ledger = enter(execution, target, "100", start=start)
    quiet = ledger.run(execution, [minute(2, 105, start=start)])
    due = ledger.run(execution, [minute(3, 105, 200, start=start)])
    after = ledger.run(execution, [minute(4, 105, start=start)])
    assert (funding(quiet), funding(due), funding(after)) == ([], [(boundary, D(amount))], [])
    assert only(due, EquityMark)[0].cash == cash(execution)


def test_funding_of_an_absent_boundary_minute_is_paid_at_the_next_open() -> None:
    start = at("2025-06-02 15:57")
    execution = state(spec(), costs=FREE.model_copy(update={"funding_per_8h": D("0.0001")}))
    ledger = enter(execution, "LONG", "100", start=start)
    assert funding(ledger.run(execution, [minute(7, 120, start=start)])) == [(at("2025-06-02 16:00"), D("-0.12"))]
    # Seventeen hours without a minute hold two boundaries, and the one that opens the next candle a third.
    out = ledger.run(execution, [minute(3 + 24 * 60, 50, start=start)])
    assert funding(out) == [
        (at(text), D("-0.05")) for text in ("2025-06-03 00:00", "2025-06-03 08:00", "2025-06-03 16:00")
    ]


def test_funding_falls_on_what_was_held_before_the_boundary() -> None:
    costs = FREE.model_copy(update={"funding_per_8h": D("0.0001")})
    boundary = at("2025-06-02 16:00")
    opened = state(spec(), costs=costs)
    assert funding(enter(opened, "LONG", "100", start=boundary - MINUTE_MS).records)[1:] == []
    closed = state(spec(), costs=costs)
    ledger = enter(closed, "LONG", "100", start=boundary - 3 * MINUTE_MS)
    last = minute(2, 100, start=boundary - 3 * MINUTE_MS)
    out = ledger.run(closed, [last, signal(last, "FLAT"), minute(3, 100, start=boundary - 3 * MINUTE_MS)])
    assert funding(out) == [(boundary, D("-0.1"))]
    spot = state(spec(profile="spot"), costs=costs)
    ledger = enter(spot, "LONG", "100", start=boundary - 3 * MINUTE_MS)
    assert not only(ledger.run(spot, [minute(3, 100, start=boundary - 3 * MINUTE_MS)]), Transfer)


def test_an_order_below_the_least_value_is_rejected_and_changes_nothing() -> None:
    execution = state(spec(deposit=D("4.99")), lot="0.00001")
    ledger = begin(execution)
    first = minute(0, 100)
    out = ledger.run(execution, [first, signal(first, "LONG"), minute(1, 100)])
    assert only(out, Order)[-1].status == "rejected"
    assert "5" in only(out, Order)[-1].reason
    assert not only(out, Fill)
    assert (held(execution), cash(execution)) == (0, D("4.99"))


def test_less_than_one_lot_is_rejected() -> None:
    execution = state(spec(deposit=D(99)), lot="1", least="0")
    ledger = enter(execution, "LONG", "100")
    order = list(ledger.orders().values())[-1]
    assert (order.status, held(execution)) == ("rejected", 0)
    assert "lot" in order.reason


def test_a_flip_whose_opening_is_refused_stays_flat() -> None:
    execution = state(spec(deposit=D(10)), least="5")
    ledger = enter(execution, "LONG", "1")
    second = minute(2, 1)
    out = ledger.run(execution, [second, signal(second, "SHORT"), minute(3, "0.4")])
    assert [(order.action, order.status) for order in only(out, Order)] == [
        ("CLOSE_LONG", "intent"), ("CLOSE_LONG", "open"), ("CLOSE_LONG", "filled"),
        ("OPEN_SHORT", "intent"), ("OPEN_SHORT", "rejected"),
    ]  # fmt: skip
    assert (held(execution), cash(execution)) == (0, D(4))


def test_an_order_fills_at_the_first_present_open_over_absent_minutes() -> None:
    execution = state(spec())
    ledger = begin(execution)
    first = minute(0, 100)
    late = minute(95, 125)
    fill = only(ledger.run(execution, [first, signal(first, "LONG"), late]), Fill)[0]
    assert (fill.price, fill.time_ms, fill.quantity) == (D(125), late.open_time_ms, D(8))


def test_a_late_decision_is_stored_and_not_acted_on() -> None:
    execution = state(spec(), late_after_s=120)
    begin(execution)
    first = minute(0, 100)
    execution.handle(first)
    (decision,) = execution.handle(signal(first, "LONG"), first.close_time_ms + 120_001)
    assert (decision.outcome, decision.actions) == ("late", ("OPEN_LONG",))
    assert decision.reason
    second = minute(1, 100)
    assert [type(record) for record in execution.handle(second)] == [EquityMark]
    out = execution.handle(signal(second, "LONG"), second.close_time_ms + 120_000)
    assert [type(record) for record in out] == [Decision, Order, Order]
    assert out[0].outcome == "acted"


def test_no_target_is_acted_on_while_its_market_is_stale() -> None:
    execution = state(spec())
    begin(execution)
    first, second = minute(0, 100), minute(1, 100)
    execution.handle(first)
    execution.state.note_stale(first.market, "its feed is down: silent for 15 s")
    (decision,) = execution.handle(signal(first, "LONG"), first.close_time_ms)
    assert (decision.outcome, decision.actions) == ("stale", ("OPEN_LONG",))
    assert decision.reason == "the market is stale: its feed is down: silent for 15 s"
    execution.state.note_stale(first.market, "")
    execution.handle(second)
    assert execution.handle(signal(second, "LONG"), second.close_time_ms)[0].outcome == "acted"


def test_holding_warming_and_holes_are_what_they_are_however_late() -> None:
    execution = state(spec())
    begin(execution)
    told = [("HOLD", "ready"), ("HOLD", "warming"), ("HOLD", "hole")]
    outcomes = []
    for number, (target, status) in enumerate(told):
        candle = minute(number, 100)
        execution.handle(candle)
        (decision,) = execution.handle(signal(candle, target, status=status, have=37), candle.close_time_ms + DAY_MS)
        outcomes.append((decision.outcome, decision.reason))
    assert outcomes == [("hold", ""), ("warming", "warming 37/44"), ("hole", "candles are missing")]


def test_while_an_order_waits_the_next_decision_is_a_risk() -> None:
    execution = state(spec())
    ledger = begin(execution)
    first = minute(0, 100)
    order = ledger.run(execution, [first, signal(first, "LONG")])[-1]
    later = signal(minute(5, 100), "SHORT")
    (decision,) = ledger.run(execution, [later])
    assert decision.outcome == "risk"
    assert order.order_id in decision.reason
    ledger.run(execution, [minute(6, 100)])
    assert held(execution) == D(10)


@pytest.mark.covers("W2")
def test_ids_are_functions_of_the_decision_and_its_leg() -> None:
    execution = state(spec())
    first = minute(0, 100)
    begin(execution)
    execution.handle(first)
    decision, order, _ = execution.handle(signal(first, "LONG"))
    key = f"paper|a|{MARKET}|1m|{first.open_time_ms}"
    assert decision.decision_id == hashlib.sha256(key.encode()).hexdigest()[:32]
    assert order.order_id == hashlib.sha256(f"{key}|0".encode()).hexdigest()[:32]
    fill = only(execution.handle(minute(1, 100)), Fill)[0]
    assert (fill.order_id, fill.fill_id) == (order.order_id, f"{order.order_id}:1")


@pytest.mark.covers("W3")
def test_a_closed_position_stays_closed_and_an_old_one_stays_open() -> None:
    execution = state(spec())
    ledger = enter(execution, "LONG", "100")
    month_later = minute(45 * 1440, 150)
    execution = ledger.restore(state(spec()))
    ledger.run(execution, [month_later, signal(month_later, "FLAT"), minute(45 * 1440 + 1, 150)])
    assert (held(execution), cash(execution)) == (0, D(1500))
    execution = ledger.restore(state(spec()))
    assert (held(execution), cash(execution)) == (0, D(1500))
    again = minute(45 * 1440 + 2, 150)
    ledger.run(execution, [again, signal(again, "FLAT")])
    assert ledger.decisions()[-1].outcome == "hold"
    ledger.run(execution, [third := minute(45 * 1440 + 3, 150), signal(third, "LONG"), minute(45 * 1440 + 4, 150)])
    assert (held(execution), [trade.trade_no for trade in trades_from_fills(ledger.fills())]) == (D(10), [1, 2])


def test_nothing_happens_before_a_sleeve_lives() -> None:
    execution = state(spec(live_from_ms=NOON + MINUTE_MS))
    begin(execution)
    assert execution.handle(minute(0, 100)) == []
    assert [type(record) for record in execution.handle(minute(1, 100))] == [EquityMark]


def test_what_was_handled_is_ignored_when_it_comes_again() -> None:
    execution = state(spec())
    ledger = enter(execution, "LONG", "100")
    first = minute(0, 100)
    repeats: list[Candle | Signal] = [first, signal(first, "LONG"), signal(first, "SHORT"), minute(1, 100)]
    assert [execution.handle(item) for item in repeats] == [[], [], [], []]
    assert execution.start() == []
    assert execution.positions(MARKET)[0].quantity == sum(fill.quantity for fill in ledger.fills())


def test_a_market_that_cannot_be_traded_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="binance:SOLUSDT"):
        state(spec(market="binance:SOLUSDT"))


def test_costs_may_pay_the_long() -> None:
    start = at("2025-06-02 15:57")
    costs = Costs(taker_fee=D(0), slippage=D(0), funding_per_8h=D("-0.0002"))
    execution = state(spec(), costs=costs)
    ledger = enter(execution, "LONG", "100", start=start)
    assert funding(ledger.run(execution, [minute(3, 100, start=start)])) == [(at("2025-06-02 16:00"), D("0.2"))]
