"""The whole pipeline (simulator, websocket, Ray actors, Postgres) against the reference backtest, undisturbed and
hurt.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.crash import CrashPoint
from manta.parity import ParityOptions, run_parity
from tests.trading.strategies.own import PRICED
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.strategies.registry import STRATEGIES
from trading.venues.paper.faults import BrokerFault

pytestmark = pytest.mark.long(5)

MARKET = "binance:BTCUSDT"
BINANCE = "candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
BITFINEX = "candles_1m/bitfinex_BTCUSD_1m_2018.csv.gz"
FIRST_MS = 1_747_699_200_000  # 2025-05-20T00:00Z, the first minute of the Binance file
START_MS = FIRST_MS + HOUR_MS
BUSY_DAY_MS = FIRST_MS + 48 * DAY_MS + 3 * HOUR_MS  # every built-in strategy acts within a day from here


async def parity(file: Path, **options: Any) -> dict[str, Any]:
    result = await run_parity(ParityOptions(file=file, quiet=True, **options))
    assert result["mismatches"] == 0, result["first_difference"]
    assert result["explained"] == 0
    assert result["decisions"] > 0
    assert result["holes"] == 0
    return result


def at(hours: float) -> int:
    return START_MS + round(hours * HOUR_MS)


def crash(folder: Path, actor: str, boundary: str, hours: float, victim: str = "self") -> CrashPoint:
    marker = folder / f"{actor}-{boundary}-{victim}".replace(":", "_")
    return CrashPoint(actor, boundary, at(hours), victim, str(marker))


@pytest.mark.covers("S1-2", "S1-3", "S1-14", "S1-39")
async def test_replay_with_absent_minutes_equals_the_reference(shared_data: Path) -> None:
    """Two days of Bitfinex in which the venue has no candle for some minutes; a lead that fits into nothing evenly."""
    start = 1_514_764_800_000 + 9 * DAY_MS
    result = await parity(
        shared_data / BITFINEX, strategy="ma44", interval="37m", start_ms=start, days=5, profile="spot", lead=173
    )
    assert result["absent_minutes"] > 0
    assert result["fills"] > 0


async def test_every_actor_killed_around_its_commit_changes_nothing(shared_data: Path, tmp_path: Path) -> None:
    points = tuple(
        crash(tmp_path, actor, boundary, 2 + 2 * place)
        for place, (actor, boundary) in enumerate(
            (actor, boundary)
            for actor in ("recorder", f"timeframe:{MARKET}", "brain", "execution:paper")
            for boundary in ("after_read", "before_commit", "after_commit")
        )
    )
    await parity(shared_data / BINANCE, interval="1m", start_ms=START_MS, days=1.25, lead=90, crash_points=points)
    assert len(list(tmp_path.iterdir())) == len(points)


async def test_postgres_killed_at_commits_changes_nothing(shared_data: Path, tmp_path: Path) -> None:
    points = (
        crash(tmp_path, "execution:paper", "before_commit", 2, "postgres"),
        crash(tmp_path, "brain", "after_commit", 8, "postgres"),
        crash(tmp_path, "recorder", "before_commit", 14, "postgres"),
    )
    await parity(shared_data / BINANCE, interval="1m", start_ms=START_MS, days=1, lead=90, crash_points=points)
    assert len(list(tmp_path.iterdir())) == len(points)


@pytest.mark.slow
@pytest.mark.parametrize("latency", [0, 1, 3])
async def test_open_stops_outlive_a_killed_execution(shared_data: Path, tmp_path: Path, latency: int) -> None:
    """Stops and targets of trades that are open when execution dies, around its commits and its sends; with a latency
    also those that strike while an order that closes is on its way.
    """
    points = tuple(
        crash(tmp_path, "execution:paper", boundary, 1.3 + number)
        for number, boundary in enumerate(("before_commit", "after_commit", "before_send", "after_ack", "after_read"))
    )
    rules = {
        "exits": {"stop_loss_percent": "0.2", "take_profit_percent": "0.3", "trailing_stop_percent": "0.25"},
        "entries": {"cooldown_candles": 3, "reenter": "at_once"},
    }
    result = await parity(
        shared_data / BINANCE,
        interval="5m",
        start_ms=START_MS + 4 * HOUR_MS,
        days=0.5,
        lead=60,
        crash_points=tuple(replace(point, at_ms=point.at_ms + 4 * HOUR_MS) for point in points),
        instance=rules,
        costs={"order_latency_minutes": latency},
    )
    assert result["fills"] > 20
    assert len(list(tmp_path.iterdir())) == len(points)


@pytest.mark.slow
@pytest.mark.covers("S1-39", "W2")
@pytest.mark.parametrize("order_type", ["limit", "stop", "own"])
async def test_entries_that_rest_outlive_a_killed_execution(shared_data: Path, tmp_path: Path, order_type: str) -> None:
    """Orders rest at the venue while execution dies around its commits and its sends, and are filled, expire and are
    canceled once, in the minutes in which the reference has it so. Their prices are the configuration's, or the
    strategy's own on either side of the close.
    """
    points = tuple(
        crash(tmp_path, "execution:paper", boundary, 1.3 + number)
        for number, boundary in enumerate(("before_commit", "after_commit", "before_send", "after_ack", "after_read"))
    )
    rules = {
        "exits": {"stop_loss_percent": "0.2", "take_profit_percent": "0.3"},
        "entries": {"order_type": order_type, "offset_bps": "3", "expires_candles": 2, "reenter": "at_once"},
    }
    if order_type == "own":
        rules |= {"source": PRICED, "params": {"level": 30}, "entries": {"expires_candles": 2, "reenter": "at_once"}}
    result = await parity(
        shared_data / BINANCE,
        interval="5m",
        start_ms=START_MS + 4 * HOUR_MS,
        days=0.5,
        lead=60,
        crash_points=tuple(replace(point, at_ms=point.at_ms + 4 * HOUR_MS) for point in points),
        strategy="mine" if order_type == "own" else "ma44",
        instance=rules,
    )
    assert result["fills"] > 20
    assert len(list(tmp_path.iterdir())) == len(points)


@pytest.mark.slow
@pytest.mark.covers("S1-39")
async def test_lots_with_targets_of_their_own_equal_the_reference(shared_data: Path, tmp_path: Path) -> None:
    """Lots are bought, sold at their own targets and trailed in ATR while execution dies between two of them."""
    points = (crash(tmp_path, "execution:paper", "before_commit", 5), crash(tmp_path, "brain", "after_commit", 9))
    result = await parity(
        shared_data / BINANCE,
        strategy="dip",
        interval="5m",
        start_ms=START_MS,
        days=0.75,
        profile="spot",
        lead=60,
        crash_points=points,
        instance={
            "params": {"dip_pct": 0.2, "take_profit_pct": 0.3, "max_lots": 4, "percent_per_lot": 20},
            "exits": {"trailing_stop_atr": "6", "stop_loss_atr": "20", "atr_period": 10},
        },
    )
    assert result["fills"] > 10
    assert len(list(tmp_path.iterdir())) == len(points)


@pytest.mark.covers("W2")
async def test_orders_over_a_wire_that_lies_change_nothing(shared_data: Path, tmp_path: Path) -> None:
    """Requests and answers to the venue are lost or late, its events lost, doubled and swapped, fills told in parts,
    and execution is killed around sending.
    """
    kinds = ("lose_answer", "lose_request", "delay", "lose_event", "double_event", "reorder_events", "split")
    faults = tuple(
        BrokerFault(kind, at_ms=at(1 + number), times=5, seconds=0.05, parts=3, marker=str(tmp_path / kind))
        for number, kind in enumerate(kinds)
    )
    points = tuple(
        crash(tmp_path, "execution:paper", boundary, 1.5 + 2 * number)
        for number, boundary in enumerate(("before_send", "after_send", "after_ack"))
    )
    result = await parity(
        shared_data / BINANCE,
        interval="1m",
        start_ms=START_MS,
        days=0.5,
        lead=60,
        broker_faults=faults,
        crash_points=points,
    )
    assert result["fills"] > 50
    struck = {path.name for path in tmp_path.iterdir()}
    assert {f"{kind}.5" for kind in kinds} <= struck
    assert len(struck) == len(kinds) * 5 + len(points)


@pytest.mark.covers("W15", "W19")
async def test_a_hurt_stream_is_healed_from_rest(shared_data: Path) -> None:
    """Ten lost minutes, broken connections, damaged, doubled and swapped frames, and a REST side that fails
    meanwhile.
    """
    faults = (
        {"kind": "lose_minutes", "minutes": 10, "at_ms": at(1)},
        {"kind": "drop", "at_ms": at(3)},
        {"kind": "corrupt", "times": 3, "at_ms": at(5)},
        {"kind": "corrupt", "how": "value", "at_ms": at(6)},
        {"kind": "duplicate", "times": 5, "at_ms": at(7)},
        {"kind": "reorder", "times": 2, "at_ms": at(9)},
        {"kind": "rest_status", "status": 503, "times": 2, "path": "klines", "at_ms": at(11)},
        {"kind": "lose_minutes", "minutes": 5, "at_ms": at(11)},
        {"kind": "drop", "at_ms": at(13)},
    )
    await parity(shared_data / BINANCE, interval="1m", start_ms=START_MS, days=0.75, lead=60, faults=faults)


@pytest.mark.covers("S1-39")
async def test_results_do_not_depend_on_how_far_the_replay_runs_ahead(shared_data: Path) -> None:
    """Both runs equal the same reference, so they equal each other."""
    for lead in (7, 500):
        result = await parity(shared_data / BINANCE, interval="37m", start_ms=START_MS + 2 * DAY_MS, days=1, lead=lead)
        assert result["candles"] == DAY_MS // MINUTE_MS


@pytest.mark.slow
@pytest.mark.covers("S1-39", "S4-6")
async def test_every_built_in_strategy_in_one_session_equals_the_reference(shared_data: Path, tmp_path: Path) -> None:
    """A day on which each of them acts, `scalper` on the trend of longer candles, over restarts that seed it anew."""
    start = BUSY_DAY_MS
    points = tuple(
        CrashPoint(actor, "after_commit", start + hours * HOUR_MS, "self", str(tmp_path / actor.partition(":")[0]))
        for actor, hours in (("brain", 7), (f"timeframe:{MARKET}", 13))
    )
    result = await parity(shared_data / BINANCE, strategy="all", start_ms=start, days=1, lead=173, crash_points=points)
    assert {row["name"] for row in result["strategies"]} == {*STRATEGIES}
    assert [row["name"] for row in result["strategies"] if not row["decisions"]] == []
    assert {row["mismatches"] for row in result["strategies"]} == {0}
    assert sum(row["trades"] for row in result["strategies"]) > 20
    assert len(list(tmp_path.iterdir())) == len(points)
