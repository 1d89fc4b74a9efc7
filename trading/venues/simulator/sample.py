"""The candles that come with Manta: 31 days of BTCUSDT minutes. ``sample/README.md`` says where they are from."""

from __future__ import annotations

from pathlib import Path

from trading.errors import BadInput
from trading.intervals import DAY_MS

__all__ = [
    "SAMPLE_END_MS",
    "SAMPLE_FILE",
    "SAMPLE_MARKET",
    "SAMPLE_START_MS",
    "SAMPLE_SYMBOL",
    "SAMPLE_SYMBOLS",
    "SESSION_START_MS",
    "sample_currency",
    "sample_symbol",
]

SAMPLE_FILE = Path(__file__).parent / "sample" / "binance_BTCUSDT_1m.csv.gz"
SAMPLE_SYMBOL = "BTCUSDT"
SAMPLE_MARKET = "binance:BTCUSDT"
# What the sample is called when it is replayed as another venue: the candles stay those of Binance spot.
SAMPLE_SYMBOLS = {"binance": SAMPLE_SYMBOL, "binance_usdm": "BTCUSDT", "hyperliquid": "BTC", "pionex": "BTC_USDT"}
SAMPLE_START_MS = 1_751_328_000_000  # 2025-07-01T00:00Z
SAMPLE_END_MS = SAMPLE_START_MS + 31 * DAY_MS
# 125 candles of 148m are 12.8 days: a session that starts here finds every moving average of the defaults but 1d warm.
SESSION_START_MS = SAMPLE_START_MS + 15 * DAY_MS


def sample_symbol(venue: str) -> str:
    """What the sample is called at ``venue``; raise BadInput for a venue that the simulator does not speak as."""
    if venue not in SAMPLE_SYMBOLS:
        raise BadInput(
            f"The simulator does not speak as {venue!r}.",
            field="venue",
            value=venue,
            fix=f"Choose one of {', '.join(SAMPLE_SYMBOLS)}.",
        )
    return SAMPLE_SYMBOLS[venue]


def sample_currency(market: str) -> str:
    """What is paid with on the sample's market, told as ``market``."""
    return "USDC" if market.startswith("hyperliquid:") else "USDT"
