"""The candles over which Manta is killed: a scripted series that makes strategies busy, and a real one."""

from __future__ import annotations

import csv
import gzip
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trading.candle_files import load_candles
from trading.candles import Candle
from trading.config.model import Config
from trading.errors import BadInput
from trading.instances import history_ms
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_START_MS

__all__ = ["MARKET", "STRETCHES", "SYMBOL", "Stretch", "begin_at", "real_stretch", "scripted_stretch"]

SYMBOL = "BTCUSDT"
MARKET = f"binance:{SYMBOL}"
STRETCHES = ("scripted", "real")
_SCRIPT_START_MS = 1_740_787_200_000  # 2025-03-01T00:00Z
_WARMUP_MS = HOUR_MS


@dataclass(frozen=True, slots=True)
class Stretch:
    """Candles to replay from ``start_ms`` on, and who trades them. ``candles`` begin with the warm-up."""

    name: str
    config: Config
    file: Path
    start_ms: int
    candles: list[Candle]

    def checkpoint(self, wanted_ms: int) -> int:
        """The close of the last present minute that closes by ``wanted_ms``: a replay can stop there exactly."""
        at = max((candle.close_time_ms for candle in self.candles if candle.close_time_ms <= wanted_ms), default=0)
        if at <= self.start_ms or self.candles[-1].close_time_ms < wanted_ms:
            raise BadInput(
                f"The {self.name} stretch is too short.", field="cells", value=wanted_ms, fix="Ask for fewer cells."
            )
        return at


def scripted_stretch(folder: Path, seed: int, minutes: int) -> Stretch:
    """A seeded zigzag of ``minutes`` after the warm-up, with absent minutes, over funding times.

    It turns every few minutes, so that strategies with short averages flip, long and short, on most cells.
    """
    config = _config(
        [
            {"name": "flip", "strategy": "ma44", "params": {"period": 5}, "intervals": ["1m", "5m"], "profile": "perp"},
            {"name": "hold", "strategy": "ma125", "params": {"period": 8}, "intervals": ["3m"], "profile": "spot"},
        ],
        period=5,
        # Thousands of flips at the venue's real fees would leave nothing to trade with.
        costs={"taker_fee": "0.0001", "slippage": "0.00002"},
    )
    begin_ms = _SCRIPT_START_MS + 7 * HOUR_MS + 30 * MINUTE_MS
    file = folder / "scripted.csv.gz"
    _write_zigzag(file, seed, begin_ms - _WARMUP_MS, minutes + _WARMUP_MS // MINUTE_MS)
    return _stretch("scripted", config, file, begin_ms)


def real_stretch(seed: int, minutes: int, file: Path = SAMPLE_FILE) -> Stretch:
    """``minutes`` of recorded candles, beginning at a seeded hour; BadInput when the file is too short."""
    config = _config(
        [
            {"name": "ma44", "strategy": "ma44", "intervals": ["1m", "5m"], "profile": "perp"},
            {"name": "quick", "strategy": "ma44", "params": {"period": 9}, "intervals": ["3m"], "profile": "spot"},
        ],
        period=44,
    )
    candles = load_candles(file, MARKET)
    first_ms = candles[0].open_time_ms if file != SAMPLE_FILE else SAMPLE_START_MS
    earliest_ms = first_ms + -(-history_ms(config) // HOUR_MS) * HOUR_MS
    spare_h = (candles[-1].close_time_ms - earliest_ms) // HOUR_MS - minutes // 60 - 1
    if spare_h < 0:
        raise BadInput(
            f"{file.name} is too short: {minutes} minutes after a warm-up of {history_ms(config) / DAY_MS:.1f} days "
            "are needed.",
            field="cells",
            value=minutes,
            fix="Ask for fewer cells.",
        )
    start_ms = earliest_ms + random.Random(seed).randint(0, spare_h) * HOUR_MS
    return _stretch("real", config, file, start_ms)


def begin_at(stretch: Stretch, start_ms: int, first_ms: int) -> Stretch:
    """The same for a run that began to decide at ``start_ms``, and with the candle that opens at ``first_ms``."""
    return replace(stretch, start_ms=start_ms, candles=load_candles(stretch.file, MARKET, start_ms=first_ms))


def _stretch(name: str, config: Config, file: Path, start_ms: int) -> Stretch:
    # What the feed asks for: more history would have warmed the reference up earlier.
    candles = load_candles(file, MARKET, start_ms=start_ms - history_ms(config) // MINUTE_MS * MINUTE_MS)
    return Stretch(name, config, file, start_ms, candles)


def _config(strategies: list[dict[str, Any]], *, period: int, costs: dict[str, str] | None = None) -> Config:
    intervals = sorted({name for item in strategies for name in item["intervals"]} - {"1m"})
    return Config.model_validate(
        {
            "markets": [MARKET],
            "intervals": intervals,
            "history": {"min_days": 0},
            # A fault is healed, however long it takes: what is compared must not be told incomplete meanwhile.
            "timeframes": {"heal_wait_minutes": 1440},
            "features": [{"name": "shown", "kind": "sma", "params": {"period": period}, "intervals": ["1m"]}],
            "strategies": strategies,
            "books": {"paper": {"costs": costs or {}}},
        }
    )


def _write_zigzag(file: Path, seed: int, start_ms: int, minutes: int) -> None:
    dice = random.Random(seed)
    price, step, left, absent = 60_000_00, 0, 0, 0
    with gzip.open(file, "wt", encoding="ascii", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("open_time", "open", "high", "low", "close", "volume"))
        for minute in range(minutes):
            if left == 0:
                left = dice.randint(3, 12)
                # Back to the middle in the long run, whatever the dice say.
                drift = -1 if price > 66_000_00 else 1 if price < 54_000_00 else dice.choice((-1, 1))
                step = drift * dice.randint(10_00, 120_00)
            left -= 1
            opened, closed = price, price + step + dice.randint(-30_00, 30_00)
            price = closed
            if absent == 0 and minute and dice.random() < 0.03:
                absent = dice.randint(1, 4)
            if absent:
                absent -= 1
                continue
            high, low = max(opened, closed) + dice.randint(0, 15_00), min(opened, closed) - dice.randint(0, 15_00)
            volume = f"{dice.randint(1, 900_000) / 100_000:.5f}"
            prices = [f"{cents / 100:.2f}" for cents in (opened, high, low, closed)]
            rows.writerow((start_ms + minute * MINUTE_MS, *prices, volume))
