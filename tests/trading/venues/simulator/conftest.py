from pathlib import Path

import numpy as np
import pytest

from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET


@pytest.fixture(scope="session")
def sample() -> CandleColumns:
    """The month of BTCUSDT minutes that comes with Manta."""
    return load_columns(SAMPLE_FILE, SAMPLE_MARKET)


@pytest.fixture(scope="session")
def gapped(shared_data: Path) -> CandleColumns:
    """300 real minutes around the longest Bitfinex outage of 2018."""
    columns = load_columns(shared_data / "candles_1m" / "bitfinex_BTCUSD_1m_2018.csv.gz", "binance:BTCUSD")
    times = columns.open_time_ms
    at = int(np.argmax(np.diff(times)))
    assert times[at + 1] - times[at] > 10 * 60_000
    return columns.slice(int(times[at - 150]), int(times[at + 150]))
