"""Series of minutes for tests: hand-made, random, and as a hypothesis strategy with holes of both kinds."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from hypothesis import strategies as st

from trading.candles import UNIT, Candle, Hole, HoleReason
from trading.intervals import MINUTE_MS

MARKET = "binance:BTCUSDT"
LENDERS = ("binance_usdm:BTCUSDT", "hyperliquid:BTC")

Item = Candle | Hole


def at(text: str) -> int:
    """Epoch ms of a UTC time such as ``2025-01-01 00:00``."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def candle(
    close_ms: int, close: float, *, interval: str = "1m", width_ms: int = MINUTE_MS, complete: bool = True
) -> Candle:
    """A flat candle that closes at ``close_ms``."""
    units = round(close * UNIT)
    return Candle(
        MARKET, interval, close_ms - width_ms, close_ms, units, units, units, units, UNIT, complete=complete
    )  # fmt: skip


def flat_minutes(start_ms: int, closes: Iterable[float]) -> list[Candle]:
    return [candle(start_ms + (n + 1) * MINUTE_MS, close) for n, close in enumerate(closes)]


def random_minutes(start_ms: int, count: int, seed: int = 0, *, extras: bool = True) -> list[Candle]:
    """A random walk on a coarse grid, so that equal closes and equal extremes happen too."""
    source = random.Random(seed)
    price = 100 * UNIT
    result = []
    for n in range(count):
        opened = price
        price = max(UNIT, price + source.randint(-3, 3) * UNIT // 10)
        high = max(opened, price) + source.randint(0, 2) * UNIT // 100
        low = min(opened, price) - source.randint(0, 2) * UNIT // 100
        volume = source.randint(0, 10**12)
        more = (volume * 7, source.randint(0, 999), volume // 2) if extras and source.random() < 0.999 else (None,) * 3
        open_ms = start_ms + n * MINUTE_MS
        minute = Candle(MARKET, "1m", open_ms, open_ms + MINUTE_MS, opened, high, low, price, volume, *more)
        lent = source.random() < 0.01 if extras else False
        result.append(minute._replace(origin=source.choice(LENDERS)) if lent else minute)
    return result


def hole(from_ms: int, minutes: int, reason: HoleReason) -> Hole:
    return Hole(MARKET, from_ms, from_ms + minutes * MINUTE_MS, reason.value)


def told(minutes: Sequence[Candle]) -> list[Item]:
    """``minutes`` as a feed tells them: what is not there is absent."""
    items: list[Item] = []
    for minute in minutes:
        if items and minute.open_time_ms > end_of(items[-1]):
            items.append(Hole(MARKET, end_of(items[-1]), minute.open_time_ms, HoleReason.ABSENT.value))
        items.append(minute)
    return items


def start_of(item: Item) -> int:
    return item.open_time_ms if isinstance(item, Candle) else item.from_ms


def end_of(item: Item) -> int:
    return item.close_time_ms if isinstance(item, Candle) else item.to_ms


STARTS = tuple(
    at(text)
    for text in (
        "2025-01-01 00:00",
        "2024-12-31 22:40",  # a 148m boundary, which is a 37m boundary too
        "2024-12-29 23:11",  # before a Monday
        "2024-02-28 21:07",  # before a leap day
        "1999-12-31 23:58",
        "2025-05-20 00:37",
    )
)


@st.composite
def histories(draw: st.DrawFn, *, missing: bool = True, longest: int = 50_000, most: int = 12) -> list[Item]:
    """Minutes from the first known one on, each told once: present ones, absent runs and missing runs."""
    at_ms = draw(st.sampled_from(STARTS)) + draw(st.integers(0, 5)) * MINUTE_MS
    kinds = ["present", "present", "absent", *(["missing"] if missing else [])]
    lengths = [n for n in (1, 2, 5, 36, 37, 38, 111, 148, 1440, 4 * 1440, 10_080, 45_000) if n <= longest]
    items: list[Item] = []
    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(kinds))
        if kind == "present":
            items += random_minutes(at_ms, draw(st.integers(1, 160)), draw(st.integers(0, 2**16)))
        else:
            items.append(hole(at_ms, draw(st.sampled_from(lengths)), HoleReason(kind)))
        at_ms = end_of(items[-1])
    return items
