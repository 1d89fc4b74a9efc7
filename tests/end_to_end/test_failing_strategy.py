"""A strategy that raises at every candle: it holds, the other one trades, and the user hears of it once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.crash import CrashPoint
from manta.parity import parity_config
from manta.replay import Replay, ReplayOptions
from tests.trading.strategies.own import text
from trading.config.model import Config
from trading.intervals import MINUTE_MS
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_SYMBOL, SESSION_START_MS

BROKEN = text("return LONG if 100 // int(now.close - now.close) else FLAT")
ALERTS = "select body from outbox where kind = 'alert' and channel = 'log' order by id"


@pytest.mark.slow
async def test_a_strategy_that_fails_is_told_once_though_its_brain_starts_again(tmp_path: Path) -> None:
    found = parity_config("ma44", ["1m"], "perp", params={"period": 3}).model_dump()
    mine = {**found["strategies"][0], "name": "mine", "strategy": "mine", "params": {}, "source": BROKEN}
    config = Config.model_validate({**found, "strategies": [*found["strategies"], mine]})
    marker = tmp_path / "brain"
    options = ReplayOptions(config=config, symbol=SAMPLE_SYMBOL, file=SAMPLE_FILE, start_ms=SESSION_START_MS, hurt=True)
    async with Replay(options) as replay:
        start_ms = replay.host.session.start_ms
        await replay.run_to(start_ms + 20 * MINUTE_MS)
        [first] = await alerts(replay)
        replay.crashes.arm(CrashPoint("brain", "after_commit", start_ms + 30 * MINUTE_MS, "self", str(marker)))
        await replay.run_to(start_ms + 60 * MINUTE_MS)
        await replay.settle()
        told = await alerts(replay)
        filled = await replay.query(lambda conn: conn.fetch("select distinct instance_id from fills"))
    assert marker.exists(), "the brain did not die"
    assert told == [first]
    for word in ("mine-", "1m candle", "binance:BTCUSDT", "ZeroDivisionError", "manta strategies check mine"):
        assert word in first, word
    assert [row["instance_id"].partition("-")[0] for row in filled] == ["ma44"]


async def alerts(replay: Replay) -> list[str]:
    """The alerts about strategies, once there is one."""
    for _ in range(1200):
        rows: Any = await replay.query(lambda conn: conn.fetch(ALERTS))
        told = [str(row["body"]) for row in rows if "fails on the" in str(row["body"])]
        if told:
            return told
        await asyncio.sleep(0.1)
    raise AssertionError("not told within 120 s")
