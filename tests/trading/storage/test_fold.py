"""SQL and Python aggregate to the same bits (I3)."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trading.storage.conftest import MARKET, MINUTE
from trading.candles import Candle, Hole
from trading.fold import fold
from trading.intervals import CANONICAL
from trading.storage.candles import upsert_candles
from trading.storage.fold import fold_minutes
from trading.storage.quality import record_hole

START = int(datetime(2024, 2, 25, 22, 41, tzinfo=UTC).timestamp()) * 1000


def walk(seed: int, count: int, keep: float) -> list[Candle]:
    """Minutes with absent ones between, prices and volumes using all eight decimals."""
    source = random.Random(seed)
    price, rows = 64_000 * 10**8, []
    for number in range(count):
        if source.random() > keep:
            continue
        price += source.randrange(-(10**9), 10**9)
        low, high = price - source.randrange(10**9), price + source.randrange(10**9)
        open_ms = START + number * MINUTE
        volume = source.randrange(10**14)
        rows.append(
            Candle(
                MARKET, "1m", open_ms, open_ms + MINUTE,
                source.randint(low, high), high, low, source.randint(low, high),
                volume, volume * 3 if seed % 2 else None, source.randrange(5000), source.randint(0, volume),
                origin=source.choice((None, None, None, "binance_usdm:BTCUSDT", "Z:A", "a:B")),
            )
        )  # fmt: skip
    return rows


@pytest.mark.covers("S1-11", "S1-12", "S1-13")
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(4_500, 1.0), (4_500, 0.9), (55_000, 0.1)]),
    lost=st.integers(0, 4_500),
)
async def test_sql_folds_as_python_does(connection, seed: int, shape: tuple[int, float], lost: int) -> None:
    count, keep = shape
    hole = Hole(MARKET, START + lost * MINUTE, START + (lost + 50) * MINUTE, "missing")
    rows = [row for row in walk(seed, count, keep) if not hole.from_ms <= row.open_time_ms < hole.to_ms]
    end = START + count * MINUTE
    await connection.execute("delete from data_quality; delete from candles")
    await upsert_candles(connection, rows)
    await record_hole(connection, hole)
    for interval in CANONICAL[1:]:
        expected = fold(rows, interval, [hole], start_ms=START, end_ms=end)
        assert expected or count < 10_000
        assert await fold_minutes(connection, MARKET, interval, START, end) == expected


async def test_the_zone_of_the_session_moves_no_candle(connection) -> None:
    """Clock changes of a zone must not bend days: every anchor is UTC."""
    rows = walk(7, 9_000, 0.9)
    await upsert_candles(connection, rows)
    end = START + 9_000 * MINUTE
    for zone in ("America/New_York", "Asia/Kathmandu"):
        await connection.execute(f"set timezone to '{zone}'")
        for interval in ("1d", "3d", "148m"):
            assert await fold_minutes(connection, MARKET, interval, START, end) == fold(
                rows, interval, start_ms=START, end_ms=end
            )


async def test_volumes_beyond_exact_floats_still_add_up(connection, minute) -> None:
    rows = [minute(n, volume=10**21 + n) for n in range(74)]
    await upsert_candles(connection, rows)
    folded = await fold_minutes(connection, MARKET, "37m", rows[0].open_time_ms, rows[-1].close_time_ms)
    for candle, plain in zip(folded, fold(rows, "37m"), strict=True):
        assert candle.volume == pytest.approx(plain.volume, rel=1e-12)
        assert candle._replace(volume=0) == plain._replace(volume=0)
