"""What is charged: fees by venue, slippage by range, entries limited by volume, orders that take their time."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.trading.accounts.ledger import FREE, NOON, D, Ledger, minute, signal, spec, state
from tests.trading.series import MARKET
from trading.candles import UNIT
from trading.config.costs import PUBLIC_FEES, Costs
from trading.intervals import MINUTE_MS


@pytest.mark.covers("S1-22")
@pytest.mark.parametrize("venue", [*PUBLIC_FEES, "bitfinex"])
def test_a_venue_charges_its_public_fees_unless_others_are_configured(venue: str) -> None:
    charges = Costs().of(venue)
    assert (charges.taker_fee, charges.maker_fee) == PUBLIC_FEES.get(venue, PUBLIC_FEES["binance"])
    own = Costs(taker_fee=D("0.0007")).of(venue)
    assert (own.taker_fee, own.maker_fee) == (D("0.0007"), charges.maker_fee)


def test_twice_the_costs_are_twice_what_the_venue_charges() -> None:
    twice = Costs(slippage_of_range=D("0.1")).doubled().of("hyperliquid")
    assert (twice.taker_fee, twice.maker_fee, twice.slippage) == (D("0.0009"), D("0.0003"), D("0.0004"))
    assert (twice.slippage_of_range, twice.funding_per_8h) == (D("0.2"), D("0.0002"))
    assert twice.maintenance_margin == Costs().maintenance_margin


@pytest.mark.parametrize(("target", "price"), [("LONG", D(101)), ("SHORT", D(99))])
def test_slippage_grows_with_the_range_of_the_minute(target: str, price: Decimal) -> None:
    costs = FREE.model_copy(update={"slippage_of_range": D("0.1")})
    execution = state(spec(), costs=costs)
    ledger = Ledger()
    ledger.take(execution.start())
    first = minute(0, 100)
    ledger.run(execution, [first, signal(first, target), minute(1, 100, high=104, low=94)])
    [fill] = ledger.fills()
    assert (fill.price, fill.slippage) == (price, fill.quantity)


def test_an_entry_gets_its_share_of_the_minute_s_volume_and_an_exit_everything() -> None:
    costs = FREE.model_copy(update={"entry_share_of_volume": D("0.02")})
    execution = state(spec(), costs=costs)
    ledger = Ledger()
    ledger.take(execution.start())
    first, second = minute(0, 100), minute(1, 100)._replace(volume=100 * UNIT)
    ledger.run(execution, [first, signal(first, "LONG"), second])
    assert execution.positions(MARKET)[0].quantity == 2
    thin = minute(2, 100)._replace(volume=0)
    ledger.run(execution, [signal(second, "FLAT"), thin])
    assert execution.positions(MARKET)[0].quantity == 0
    ledger.run(execution, [signal(thin, "LONG"), minute(3, 100)._replace(volume=0)])
    assert list(ledger.orders().values())[-1].reason == "the minute traded too little"


@pytest.mark.parametrize("restarts", [False, True])
def test_an_order_is_filled_no_sooner_than_it_can_arrive(restarts: bool) -> None:
    costs = FREE.model_copy(update={"order_latency_minutes": 2})
    execution = state(spec(), costs=costs)
    ledger = Ledger()
    ledger.take(execution.start())
    first = minute(0, 100)
    steps = [first, signal(first, "LONG"), minute(1, 101), minute(2, 102), minute(3, 103), minute(4, 104)]
    for step in steps:
        ledger.run(execution, [step])
        if restarts:
            execution = ledger.restore(state(spec(), costs=costs))
    [fill] = ledger.fills()
    assert (fill.price, fill.time_ms) == (D(103), NOON + 3 * MINUTE_MS)
