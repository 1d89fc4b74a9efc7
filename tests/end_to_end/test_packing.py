"""Several markets in one process: the same results as in a process each, and as the reference for every one."""

from pathlib import Path
from typing import Any

import pytest

from actors.crash import CrashPoint
from backtest.compare import compare
from backtest.reference import RunRecords, run_reference
from manta.parity import parity_config
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.config.model import Config
from trading.instances import history_ms, resolve_instances
from trading.intervals import HOUR_MS, parse_interval
from trading.storage import markets, records

pytestmark = pytest.mark.long(1)

FILES = {
    "BTCUSDT": "candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz",
    "ETHUSDT": "candles_1m/binance_spot_ETHUSDT_1m_20250520-20250818.csv.gz",
    "SOLUSDT": "candles_1m/binance_spot_ETHUSDT_1m_20250520-20250818.csv.gz",
}
START_MS = 1_747_699_200_000 + 6 * HOUR_MS
END_MS = START_MS + 8 * HOUR_MS


def configured(feeds: int, timeframes: int, brains: int) -> Config:
    data = parity_config("ma44", ["1m", "5m"], "perp").model_dump()
    data["markets"] = [f"binance:{symbol}" for symbol in FILES]
    data["packing"] = {"feeds": feeds, "timeframes": timeframes, "brains": brains}
    return Config.model_validate(data)


async def replayed(
    config: Config, folder: Path, crash_points: tuple[CrashPoint, ...] = ()
) -> tuple[Any, Any, list[dict[str, Any]]]:
    """What the run stored, the markets it knew, and the health of its actors."""
    first, *others = (folder / name for name in FILES.values())
    options = ReplayOptions(
        config=config,
        symbol="BTCUSDT",
        file=first,
        others=dict(zip(list(FILES)[1:], others, strict=True)),
        start_ms=START_MS,
        until_ms=END_MS,
        lead=60,
        crash_points=crash_points,
    )

    async def read(conn: Any) -> tuple[Any, Any]:
        return await records.read_run(conn, "paper", upto_ms=END_MS), await markets.read_markets(conn)

    async with Replay(options) as replay:
        await replay.run_to(END_MS)
        stored, known = await replay.query(read)
        return stored, known, await replay.host.report()


def of_market(run: Any, market: str, live_ms: int = 0) -> RunRecords:
    """The part of a stored run, or of a reference, that belongs to ``market``."""

    def mine(items: Any) -> list[Any]:
        return [item for item in items if item.market == market]

    orders = run.orders.values() if isinstance(run.orders, dict) else run.orders
    return RunRecords(
        signals=mine(run.signals),
        features=[
            item for item in mine(run.features) if parse_interval(item.interval).close_of(item.open_time_ms) > live_ms
        ],
        decisions=mine(run.decisions),
        orders={order.order_id: order for order in mine(orders)},
        fills=mine(run.fills),
        transfers=mine(run.transfers),
        equity=mine(run.equity),
        positions=mine(run.positions),
    )


async def test_packed_markets_equal_the_reference_although_their_processes_die(
    shared_data: Path, tmp_path: Path
) -> None:
    """Two markets share processes and one is alone; the pack is killed in the name of either of its markets."""
    config = configured(2, 2, 2)
    points = tuple(
        CrashPoint(f"timeframe:binance:{symbol}", boundary, START_MS + hours * HOUR_MS, "self", str(tmp_path / symbol))
        for symbol, boundary, hours in (("BTCUSDT", "before_commit", 2), ("ETHUSDT", "after_commit", 4))
    )
    stored, known, health = await replayed(config, shared_data, points)
    assert len(list(tmp_path.iterdir())) == len(points)
    pids = {actor["actor"]: actor["pid"] for actor in health}
    for role in ("feed", "timeframe"):
        assert pids[f"{role}:binance:BTCUSDT"] == pids[f"{role}:binance:ETHUSDT"] != pids[f"{role}:binance:SOLUSDT"]
    assert pids["brain:1"] != pids["brain:2"]
    for symbol, file in FILES.items():
        market = f"binance:{symbol}"
        minutes = load_candles(shared_data / file, market, start_ms=START_MS - history_ms(config), end_ms=END_MS)
        reference = run_reference(
            minutes,
            instances=resolve_instances(config, START_MS),
            features=config.features,
            book_id="paper",
            book=config.books["paper"],
            markets=known,
            live_from_ms=START_MS,
        )
        live = of_market(stored, market, START_MS)
        found = compare(live, of_market(reference.records, market))
        assert (found.mismatches, found.explained) == (0, 0), found.first_difference
        assert live.fills


@pytest.mark.slow
async def test_how_markets_are_packed_changes_no_result(shared_data: Path) -> None:
    alone, _, _ = await replayed(configured(1, 1, 1), shared_data)
    packed, _, health = await replayed(configured(3, 3, 1), shared_data)
    assert len({actor["pid"] for actor in health if actor["actor"].startswith(("feed:", "timeframe:"))}) == 2
    for symbol in FILES:
        market = f"binance:{symbol}"
        found = compare(of_market(packed, market), of_market(alone, market))
        assert (found.mismatches, found.explained) == (0, 0), found.first_difference
        assert found.fills
