"""Instances come and go while a book trades: positions are closed or kept, and capital is never made out of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.accounts.ledger import PAID, D, Ledger, Trading, minute, signal, spec, state
from tests.trading.series import MARKET
from trading.accounts.books import MONEY, SleeveSpec
from trading.accounts.capital import RetiredSleeve, retired_specs, share_out
from trading.accounts.records import Decision, Order, Transfer
from trading.accounts.removal import REMOVED
from trading.candles import Candle
from trading.config.rules import NO_EXITS, Exits

CAPITAL = D(1000)


def gone(*names: str, exits: Exits = NO_EXITS) -> list[SleeveSpec]:
    return retired_specs([RetiredSleeve(name, MARKET, "1m", "perp", exits) for name in names])


def holding(target: str = "LONG", price: int = 100) -> Ledger:
    """Instance a was given all the capital and holds a position; two minutes are handled."""
    execution, ledger = state(spec("a", deposit=CAPITAL)), Ledger()
    ledger.take(execution.start())
    first = minute(0, price)
    ledger.run(execution, [first, signal(first, target), minute(1, price)])
    return ledger


def go_on(ledger: Ledger, *specs: SleeveSpec, capital: Decimal = CAPITAL, on_removed: str = "close") -> Trading:
    """Start again with these sleeves, as after ``up`` or a reload."""
    execution = ledger.restore(state(*specs, costs=PAID, capital=capital, on_removed=on_removed))
    ledger.take(execution.start())
    return execution


def deposits(ledger: Ledger) -> Decimal:
    return sum((item.amount for item in ledger.transfers() if item.kind == "deposit"), D(0))


def test_what_a_removed_instance_held_is_closed_at_the_next_open_through_an_order() -> None:
    ledger = holding()
    execution = go_on(ledger, *gone("a"))
    third, fourth = minute(2, 110), minute(3, 120)
    decision, *orders = [item for item in ledger.run(execution, [third]) if isinstance(item, Decision | Order)]
    assert (decision.actions, decision.outcome, decision.reason) == (("CLOSE_LONG",), "acted", REMOVED)
    assert (decision.target, decision.close_ms, decision.position_before) == ("FLAT", third.close_time_ms, D(10))
    assert [order.status for order in orders] == ["intent", "open"]
    ledger.run(execution, [fourth, minute(4, 130), minute(5, 140)])
    fill = ledger.fills()[-1]
    assert (fill.time_ms, fill.side, fill.quantity, fill.role) == (fourth.open_time_ms, "SELL", D(10), "exit")
    assert fill.price == D(120) * (1 - PAID.slippage)
    assert len([item for item in ledger.decisions() if item.reason == REMOVED]) == 1
    assert execution.positions(MARKET)[0].quantity == 0


def test_a_restart_anywhere_closes_it_once() -> None:
    """Between the decision and its fill, and after it, the book is rebuilt; the order and its fill stay single."""
    ledger = holding("SHORT")
    for number in range(2, 6):
        execution = go_on(ledger, *gone("a"))
        ledger.run(execution, [minute(number, 100)])
    assert len([item for item in ledger.decisions() if item.reason == REMOVED]) == 1
    assert [fill.role for fill in ledger.fills()] == ["entry", "exit"]
    assert execution.positions(MARKET)[0].quantity == 0


def test_a_kept_position_is_marked_funded_and_never_traded_until_its_instance_comes_back() -> None:
    ledger = holding()
    execution = go_on(ledger, *gone("a"), on_removed="keep")
    third = minute(2, 150)
    out = ledger.run(execution, [third, signal(third, "SHORT"), minute(3, 150)])
    assert not [item for item in out if isinstance(item, Decision | Order)]
    assert (execution.positions(MARKET)[0].quantity, ledger.marks()[-1].equity) == (D(10), D(1500))
    execution = go_on(ledger, spec("a", deposit=CAPITAL), on_removed="keep")
    fifth = minute(4, 160)
    out = ledger.run(execution, [fifth, signal(fifth, "FLAT"), minute(5, 160)])
    assert [item.reason for item in out if isinstance(item, Decision)] == [""]
    assert execution.positions(MARKET)[0].quantity == 0


@pytest.mark.parametrize(
    ("exits", "candle", "reason", "price"),
    [
        (Exits(stop_loss_percent=D(5)), minute(4, 100, low=94), "stop_loss", D(95)),
        (Exits(trailing_stop_percent=D(10)), minute(4, 100, low=94), "trailing_stop", D(99)),
        (Exits(take_profit_percent=D(20)), minute(4, 100, high=125), "take_profit", D(120)),
        (Exits(max_hold_candles=3), minute(4, 103), "time_exit", D(103)),
    ],
)
def test_a_kept_position_keeps_the_exits_of_its_last_configuration_over_restarts(
    exits: Exits, candle: Candle, reason: str, price: Decimal
) -> None:
    ledger = holding()
    for number in (2, 3):
        execution = go_on(ledger, *gone("a", exits=exits), on_removed="keep")
        ledger.run(execution, [minute(number, 100, high=110 if number == 2 else None)])
        assert execution.positions(MARKET)[0].quantity == D(10)
    execution = go_on(ledger, *gone("a", exits=exits), on_removed="keep")
    ledger.run(execution, [candle])
    fill = ledger.fills()[-1]
    slipped = price if reason == "take_profit" else price * (1 - PAID.slippage)
    assert (fill.reason, fill.price, fill.quantity, fill.time_ms) == (reason, slipped, D(10), candle.open_time_ms)
    assert execution.positions(MARKET)[0].quantity == 0
    assert not [item for item in ledger.decisions() if item.reason == REMOVED]


def test_an_opening_order_under_way_is_finished_and_its_second_leg_dropped() -> None:
    ledger = holding("SHORT")
    execution = go_on(ledger, spec("a", deposit=CAPITAL))
    third = minute(2, 100)
    ledger.run(execution, [third, signal(third, "LONG")])
    execution = go_on(ledger, *gone("a"))
    ledger.run(execution, [minute(3, 100), minute(4, 100), minute(5, 100)])
    assert [fill.role for fill in ledger.fills()] == ["entry", "exit"]
    assert execution.positions(MARKET)[0].quantity == 0


def test_what_it_leaves_goes_to_the_instance_in_its_place() -> None:
    ledger = holding()
    execution = go_on(ledger, spec("b", deposit=CAPITAL), *gone("a"))
    third = minute(2, 100)
    refused = ledger.run(execution, [third, signal(third, "LONG", name="b")])
    [told] = [item for item in refused if isinstance(item, Decision) and item.instance_id == "b"]
    assert (told.outcome, told.reason) == ("risk", "no capital: all of the book's is bound by other instances")
    fourth = minute(3, 120)
    out = ledger.run(execution, [fourth])
    given_up, received = [item for item in out if isinstance(item, Transfer)]
    assert (given_up.kind, given_up.instance_id, received.instance_id) == ("transfer", "a", "b")
    assert given_up.amount == -received.amount
    # 10 sold at 120 with slippage and fee: the new instance goes on with what the old one had made of the capital.
    assert received.amount == 10 * 120 * (1 - PAID.slippage) * (1 - PAID.taker_fee)
    ledger.run(execution, [signal(fourth, "LONG", name="b"), minute(4, 120)])
    assert ledger.fills()[-1].instance_id == "b"
    assert deposits(ledger) == CAPITAL


def test_an_instance_beside_others_gets_nothing_that_is_bound() -> None:
    ledger = holding()
    execution = go_on(ledger, spec("a", deposit=D(500)), spec("b", deposit=D(500)))
    assert [item.cash for item in execution.positions(MARKET)] == [D(0), D(0)]
    # More capital is a deposit for those that lack a part of their share, and for nobody else.
    execution = go_on(ledger, spec("a", deposit=D(700)), spec("b", deposit=D(700)), capital=D(1400))
    assert [item.cash for item in execution.positions(MARKET)] == [D(0), D(400)]
    execution = go_on(ledger, spec("a", deposit=D(700)), spec("b", deposit=D(700)), capital=D(1700))
    assert [item.cash for item in execution.positions(MARKET)] == [D(0), D(700)]
    assert deposits(ledger) == D(1700)


NAMES = ("a", "b", "c")
TARGETS = st.sampled_from(["LONG", "SHORT", "FLAT", "HOLD"])


@st.composite
def configurations(draw: st.DrawFn) -> list[tuple[list[str], Decimal, str, list[tuple[int, dict[str, str]]]]]:
    """Turns of: who is configured, the capital, what becomes of the removed, and minutes with prices and targets."""
    turns = []
    for _ in range(draw(st.integers(1, 5))):
        names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
        minutes = draw(
            st.lists(
                st.tuples(st.integers(90, 110), st.dictionaries(st.sampled_from(NAMES), TARGETS)),
                min_size=1,
                max_size=5,
            )
        )
        turns.append((names, D(draw(st.integers(500, 2000))), draw(st.sampled_from(["close", "keep"])), minutes))
    return turns


@settings(max_examples=100, deadline=None)
@given(configurations())
def test_whatever_comes_and_goes_deposits_never_exceed_the_capital_and_cash_moves_only_by_its_rows(
    turns: Sequence[tuple[list[str], Decimal, str, list[tuple[int, dict[str, str]]]]],
) -> None:
    ledger, number, highest = Ledger(), 0, D(0)
    known: set[str] = set()
    for names, capital, on_removed, minutes in turns:
        specs = [spec(name, deposit=MONEY.divide(capital, D(len(names))).quantize(D("0.01"))) for name in names]
        execution = go_on(ledger, *specs, *gone(*sorted(known - set(names))), capital=capital, on_removed=on_removed)
        known |= set(names)
        highest = max(highest, capital)
        assert deposits(ledger) <= highest + D("0.03")
        for price, targets in minutes:
            candle = minute(number, price)
            number += 1
            told = [signal(candle, target, name=name) for name, target in targets.items()]
            ledger.run(execution, [candle, *told])
        moved = [item for item in ledger.transfers() if item.kind == "transfer"]
        assert sum((Fraction(item.amount) for item in moved), Fraction(0)) == 0
        assert len({item.transfer_id for item in ledger.transfers()}) == len(ledger.transfers())
        for row in execution.positions(MARKET):
            if row.instance_id not in names and on_removed == "close" and len(minutes) > 2:
                assert row.quantity == 0
    decided = [item.decision_id for item in ledger.decisions()]
    assert len(set(decided)) == len(decided)


@given(st.decimals(0, 10_000, places=8), st.lists(st.decimals(-100, 10_000, places=8), max_size=6), st.booleans())
def test_shares_add_up_and_nobody_gets_more_than_there_is(
    amount: Decimal, wants: list[Decimal], all_of_it: bool
) -> None:
    shares = share_out(amount, wants, all_of_it=all_of_it)
    wanted = [max(D(0), want) for want in wants]
    total, given_out = sum(map(Fraction, wanted)), sum(map(Fraction, shares))
    assert all(share >= 0 for share in shares)
    if not total:
        assert given_out == 0
    elif all_of_it or Fraction(amount) < total:
        assert given_out == Fraction(amount)
        for share, want in zip(shares, wanted, strict=True):
            assert abs(Fraction(share) - Fraction(amount) * Fraction(want) / total) <= Fraction(len(wants) + 1, 10**8)
    else:
        assert shares == wanted


@pytest.mark.parametrize("on_removed", ["close", "keep"])
def test_a_removed_instance_that_holds_nothing_leaves_its_cash_at_once(on_removed: str) -> None:
    execution, ledger = state(spec("a", deposit=CAPITAL)), Ledger()
    ledger.take(execution.start())
    ledger.run(execution, [minute(0, 100)])
    execution = go_on(ledger, spec("b", deposit=CAPITAL), *gone("a"), on_removed=on_removed)
    ledger.run(execution, [minute(1, 100)])
    assert {row.instance_id: row.cash for row in execution.positions(MARKET)} == {"a": D(0), "b": CAPITAL}
