"""Series of candles to compare features on, and the comparison with another library's whole series."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.trading.series import MARKET, at
from trading.candle_files import load_candles
from trading.candles import UNIT, Candle
from trading.features.contract import Feature, FeatureTrack
from trading.fold import fold
from trading.intervals import MINUTE_MS

__all__ = ["KINDS", "Columns", "agree", "columns", "sample", "streamed"]

Floats = npt.NDArray[np.float64]
KINDS = ("random", "trending", "flat", "flat pieces", "absent minutes", "real")
START = at("2025-06-01 22:30")


@dataclass(frozen=True)
class Columns:
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


def columns(candles: Sequence[Candle]) -> Columns:
    def floats(field: str) -> Floats:
        return np.array([getattr(candle, field) / UNIT for candle in candles])

    return Columns(*(floats(name) for name in ("open", "high", "low", "close", "volume")))


def streamed(feature: Feature, candles: Iterable[Candle]) -> Floats:
    """Every value as it is told live; NaN where there is none."""
    track = FeatureTrack(feature)
    values = [track.update(candle) for candle in candles]
    track.validate()
    return np.array([np.nan if value is None else value for value in values])


def agree(mine: Floats, theirs: Floats, *, atol: float = 0.0) -> None:
    """The same first value, and the same values from there on."""
    assert np.isfinite(mine).any()
    assert np.array_equal(np.isnan(mine), np.isnan(theirs)), (np.isnan(mine).sum(), np.isnan(theirs).sum())
    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=atol)


def _walk(
    count: int, seed: int, move: Callable[[random.Random, int], int], step_ms: Callable[[int], int]
) -> list[Candle]:
    """A walk in eighths of a unit, exact as floats too, so that what is equal is equal to every library."""
    source = random.Random(seed)
    eighth = UNIT // 8
    price, open_ms = 1000 * 8, START
    result = []
    for n in range(count):
        opened, price = price, max(8, price + move(source, n))
        still = opened == price and move(random.Random(n), n) == 0
        high = max(opened, price) + (0 if still else source.randint(0, 8))
        low = max(4, min(opened, price) - (0 if still else source.randint(0, 8)))
        volume = source.choice((0, 1, 5, 40, 900)) * UNIT // 4
        prices = (value * eighth for value in (opened, high, low, price))
        result.append(Candle(MARKET, "1m", open_ms, open_ms + MINUTE_MS, *prices, volume))
        open_ms += step_ms(n)
    return result


def _flat_pieces(source: random.Random, n: int) -> int:
    return 0 if n // 150 % 2 else source.randint(-20, 20)


@cache
def sample(kind: str) -> tuple[Candle, ...]:
    """The series of ``KINDS``, apart from the real one, which ``real`` reads."""

    def minute(_n: int) -> int:
        return MINUTE_MS

    match kind:
        case "random":
            return tuple(_walk(3000, 1, lambda source, _n: source.randint(-24, 24), minute))
        case "trending":
            return tuple(_walk(2000, 2, lambda source, _n: source.randint(-3, 11), minute))
        case "flat":
            return tuple(_walk(400, 3, lambda _source, _n: 0, minute))
        case "flat pieces":
            return tuple(_walk(1500, 4, _flat_pieces, minute))
        case "absent minutes":
            return tuple(
                _walk(2500, 5, lambda source, _n: source.randint(-16, 16), lambda n: MINUTE_MS * (1 + 7 * (n % 9 == 0)))
            )
    raise ValueError(kind)


@cache
def real(folder: Path) -> tuple[Candle, ...]:
    """Twenty thousand minutes of bitcoin in quarters of an hour."""
    name = "binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
    return tuple(fold(load_candles(folder / "candles_1m" / name, MARKET, interval="1m")[:45_000], "15m"))
