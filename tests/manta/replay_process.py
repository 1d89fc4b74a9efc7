"""A replay in a process of its own, which a test may ask, stop and kill as it would ``manta up``.

Takes its order as one JSON argument, prints one JSON line when everything is up and caught up, and ends on SIGTERM.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manta.output import error_body
from manta.parity import compare_session, parity_config
from manta.reload_channel import obey_reloads
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.config.model import Config
from trading.errors import ConfigError, MantaError
from trading.intervals import MINUTE_MS
from trading.storage import records
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET, SAMPLE_SYMBOL, SESSION_START_MS


def configured(sections: dict[str, Any], base: Config | None = None) -> Config:
    data = (base or parity_config("ma44", ["1m", "5m"], "perp")).model_dump()
    for section, keys in sections.items():
        data[section] = keys if isinstance(keys, list) else data[section] | keys
    return Config.model_validate(data)


async def run(order: dict[str, Any]) -> None:
    options = ReplayOptions(
        config=configured(order["config"]),
        symbol=SAMPLE_SYMBOL,
        file=SAMPLE_FILE,
        start_ms=SESSION_START_MS,
        serve=order["serve"],
        speed=order["speed"],
        data_dir=Path(order["data_dir"]),
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    folder, asked = Path(order["data_dir"]), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)

    def reloaded() -> Config:
        """What the replay runs with, changed as the file beside the data directory says."""
        changes = json.loads((folder.parent / "reload.json").read_text(encoding="utf-8"))
        try:
            return configured(changes, replay.host.config)
        except ValidationError as error:
            raise ConfigError(str(error), field="reload.json", fix="Mend it.") from error

    async with Replay(options) as replay:
        obeying = asyncio.ensure_future(obey_reloads(replay.host, asked, reloaded))
        reached = SESSION_START_MS + order["minutes"] * MINUTE_MS
        await replay.run_to(reached)
        compared = await compare(replay, reached) if order["compare"] else None
        facts = {
            "pid": os.getpid(),
            "session_id": replay.host.session_id,
            "started": [process.pid for process in replay.host.processes() if process.pid != os.getpid()],
            "database": {"host": replay.host.target.host, "password_file": replay.host.target.password_file},
            "ray": replay.host.address,
            "reached_ms": reached,
            "venue": replay.facts,
            "packages": {actor["actor"]: actor["packages"] for actor in await replay.host.report()},
            "compared": compared,
        }
        print(json.dumps(facts), flush=True)
        await obeying


async def compare(replay: Replay, reached: int) -> dict[str, Any]:
    """What all runs on this data directory stored together, against the reference over the same candles."""
    if replay.options.speed is not None:
        reached = await replay.settle()
    candles = [c for c in load_candles(SAMPLE_FILE, SAMPLE_MARKET) if c.close_time_ms <= reached]
    first_ms = min((await replay.query(records.live_from)).values())
    return await compare_session(replay, candles, first_ms, reached)


async def main() -> int:
    running = asyncio.ensure_future(run(json.loads(sys.argv[1])))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return 0
    except MantaError as error:
        print(json.dumps({"failed": error_body(error)}), flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
