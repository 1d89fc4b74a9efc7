"""Replay and reference agree whichever venue's protocol the candles come in."""

from __future__ import annotations

import pytest

from manta.demo import DemoOptions, run_demo
from manta.parity import ParityOptions, run_parity
from tests.trading.venues.conformance.suite import SYMBOLS, VENUES, playing, plenty, sample
from tests.trading.venues.rig import gateway
from trading.intervals import DAY_MS, MINUTE_MS
from trading.venues.simulator.sample import SAMPLE_FILE, sample_currency, sample_symbol

OTHERS = [venue for venue in VENUES if venue != "binance"]


@pytest.mark.slow
@pytest.mark.parametrize("venue", OTHERS)
async def test_a_replay_in_the_protocol_of_each_venue_equals_the_reference(venue: str) -> None:
    result = await run_parity(
        ParityOptions(file=SAMPLE_FILE, venue=venue, interval="5m", days=0.25, profile="perp", quiet=True)
    )
    assert result["market"] == f"{venue}:{SYMBOLS[venue]}"
    assert (result["mismatches"], result["explained"], result["holes"]) == (0, 0, 0), result["first_difference"]
    assert result["candles"] == DAY_MS // 4 // MINUTE_MS
    assert result["decisions"] > 0
    assert result["fills"] > 0


@pytest.mark.slow
async def test_the_demo_of_a_venue_with_another_currency_and_little_history_trades() -> None:
    result = await run_demo(DemoOptions(venue="hyperliquid", seconds=8.0, quiet=True))
    assert result["market"] == "hyperliquid:BTC"
    assert (result["mismatches"], result["holes"]) == (0, 0), result["first_difference"]
    assert result["candles"] > 0
    assert result["decisions"] > 0


@pytest.mark.parametrize("venue", VENUES)
async def test_the_sample_is_paid_for_with_what_the_venue_says(venue: str) -> None:
    """A book that is counted in another currency is refused, and with it demo and parity."""
    async with playing(venue, sample(venue, 10)) as rig, gateway(rig, **plenty(venue)) as opened:
        market = await opened.history.market(sample_symbol(venue))
    assert market.quote == sample_currency(market.key)
