"""One venue lends another's minutes: two simulators over loopback, each in its own protocol."""

from __future__ import annotations

import pytest

from tests.trading.venues.rig import MINUTE_MS, gateway
from tests.trading.venues.simulator.rig import running
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.candles import Candle, Hole
from trading.errors import ConfigError
from trading.venues.lender import Lender, first_shown
from trading.venues.pionex.history import HORIZON_ROWS
from trading.venues.simulator.sample import SAMPLE_FILE

MARKET = "pionex:BTC_USDT"
OTHER = "binance:BTCUSDT"
DAYS = 12
DAY = 1440 * MINUTE_MS


@pytest.fixture(scope="module")
def days() -> CandleColumns:
    found = load_columns(SAMPLE_FILE, OTHER)
    return found.slice(found.start_ms, found.start_ms + DAYS * DAY)


@pytest.mark.covers("S1-34")
async def test_the_past_is_lent_up_to_what_the_own_venue_shows(days: CandleColumns) -> None:
    now_ms = days.end_ms - MINUTE_MS
    own = days
    lost = range(3000, 3010)
    at = {days.start_ms + n * MINUTE_MS for n in lost}
    lending = [row for row in days.candles("live") if row.open_time_ms not in at]
    async with (
        running(own, "BTC_USDT", start_ms=now_ms, venue="pionex") as mine,
        running(lending, "BTCUSDT", start_ms=now_ms) as other,
        gateway(mine) as near,
        gateway(other) as far,
    ):
        told_ms = (await near.history.time()).venue_ms
        first_ms = await first_shown(near.history, "BTC_USDT", days.start_ms, told_ms)
        assert first_ms is not None
        assert abs(first_ms - (told_ms - HORIZON_ROWS * MINUTE_MS)) <= 2 * MINUTE_MS
        lender = Lender(MARKET, OTHER, far.history)
        items = [item async for part in lender.past(days.start_ms - DAY, first_ms) for item in part]
    minutes = [item for item in items if isinstance(item, Candle)]
    wanted = [row for row in lending if row.open_time_ms < first_ms]
    assert [(row.market, row.origin, *row[2:9]) for row in minutes] == [(MARKET, OTHER, *row[2:9]) for row in wanted], (
        "a market begins with the first minute that there is"
    )
    (hole,) = [item for item in items if isinstance(item, Hole)]
    assert (hole.from_ms, hole.to_ms, hole.reason) == (min(at), max(at) + MINUTE_MS, "absent")
    assert OTHER in hole.detail
    begins = [item.from_ms if isinstance(item, Hole) else item.open_time_ms for item in items]
    assert begins == sorted(begins)


async def test_a_lender_of_another_name_is_refused_with_the_nearest(days: CandleColumns) -> None:
    async with running(days, "BTCUSDT") as other, gateway(other) as far:
        with pytest.raises(ConfigError, match="BTCUSDT"):
            await Lender(MARKET, "binance:BTCUSD", far.history).minutes(days.start_ms, days.end_ms)
