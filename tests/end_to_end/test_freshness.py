"""A venue that falls silent: no target is acted on, and the user hears of it once, and once of its end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.crash import CrashPoint
from manta.parity import compare_session, parity_config
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.config.model import Config
from trading.intervals import HOUR_MS, MINUTE_MS
from trading.storage import records
from trading.storage.freshness import stale_markets
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET, SAMPLE_SYMBOL, SESSION_START_MS

SPEED = 300


def config() -> Config:
    """Acts often, and gives up on a silent socket soon."""
    found = parity_config("ma44", ["1m"], "perp", params={"period": 3}).model_dump()
    found["venues"]["binance"]["silence_timeout_s"] = 2
    return Config.model_validate(found)


@pytest.mark.slow
async def test_a_silent_venue_is_told_once_and_its_targets_wait(tmp_path: Path) -> None:
    """The streams say nothing, REST still has every candle; the recorder dies while it is so, and tells nothing again.

    At the end the decisions that were held back are listed as explained, and nothing else differs from the reference.
    """
    marker = tmp_path / "recorder"
    options = ReplayOptions(
        config=config(), symbol=SAMPLE_SYMBOL, file=SAMPLE_FILE, start_ms=SESSION_START_MS, speed=SPEED, hurt=True
    )
    async with Replay(options) as replay:
        start_ms = replay.host.session.start_ms
        await replay.run_to(start_ms + 20 * MINUTE_MS)
        await replay.control.fault(kind="freeze", new=True)
        await until(replay, lambda told: [row["kind"] for row in told] == ["stale"])
        assert await replay.query(stale_markets) == {SAMPLE_MARKET: "its feed is down: silent for 2 s"}
        recorded_ms = (await replay.positions())[f"recorder:{SAMPLE_MARKET}"]
        replay.crashes.arm(CrashPoint("recorder", "before_commit", recorded_ms + 10 * MINUTE_MS, "self", str(marker)))
        await replay.run_to(recorded_ms + 90 * MINUTE_MS)
        await replay.control.fault(kind="unfreeze")
        told = await until(replay, lambda told: [row["kind"] for row in told] == ["stale", "fresh"])
        await replay.run_to(told[1]["at_ms"] + 40 * MINUTE_MS)
        end_ms = await replay.settle()
        decisions = (await replay.query(lambda conn: records.read_run(conn, "paper"))).decisions
        messages = await replay.query(
            lambda conn: conn.fetch(
                "select kind from outbox where kind in ('stale', 'fresh', 'feed_down', 'feed_up', 'alert') order by id"
            )
        )
        candles = [c for c in load_candles(SAMPLE_FILE, SAMPLE_MARKET) if c.close_time_ms <= end_ms]
        found = await compare_session(replay, candles, start_ms, end_ms)
    assert marker.exists(), "the recorder did not die"
    assert [row["kind"] for row in messages] == ["stale", "fresh"]
    held = [item for item in decisions if item.outcome == "stale"]
    assert held
    assert all(item.actions and told[0]["at_ms"] - HOUR_MS < item.close_ms < told[1]["at_ms"] for item in held)
    assert {item.reason for item in held} == {"the market is stale: its feed is down: silent for 2 s"}
    assert any(item.outcome == "acted" and item.close_ms > told[1]["at_ms"] for item in decisions)
    assert found["mismatches"] == 0, found["first_difference"]
    assert found["explained"] == len(held)


async def until(replay: Replay, holds: Any) -> Any:
    """Wait until what was told of the market's freshness ``holds``; return it."""
    told: Any = []
    for _ in range(600):
        told = await replay.query(
            lambda conn: conn.fetch(
                "select kind, ms(event_time) as at_ms from events where kind in ('stale', 'fresh') order by seq"
            )
        )
        if holds(told):
            return told
        await asyncio.sleep(0.1)
    raise AssertionError(f"told within 60 s: {told}")
