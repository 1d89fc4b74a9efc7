"""The candles that come with Manta: 31 days of BTCUSDT minutes. ``sample/README.md`` says where they are from."""

from __future__ import annotations

from pathlib import Path

from trading.intervals import DAY_MS

__all__ = ["SAMPLE_END_MS", "SAMPLE_FILE", "SAMPLE_MARKET", "SAMPLE_START_MS", "SAMPLE_SYMBOL", "SESSION_START_MS"]

SAMPLE_FILE = Path(__file__).parent / "sample" / "binance_BTCUSDT_1m.csv.gz"
SAMPLE_SYMBOL = "BTCUSDT"
SAMPLE_MARKET = "binance:BTCUSDT"
SAMPLE_START_MS = 1_751_328_000_000  # 2025-07-01T00:00Z
SAMPLE_END_MS = SAMPLE_START_MS + 31 * DAY_MS
# 125 candles of 148m are 12.8 days: a session that starts here finds every moving average of the defaults but 1d warm.
SESSION_START_MS = SAMPLE_START_MS + 15 * DAY_MS
