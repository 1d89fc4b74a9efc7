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

from manta.output import error_body
from manta.parity import parity_config
from manta.replay import Replay, ReplayOptions
from trading.config.model import Config
from trading.errors import MantaError
from trading.intervals import MINUTE_MS
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_SYMBOL, SESSION_START_MS


async def run(order: dict[str, Any]) -> None:
    data = parity_config("ma44", ["1m", "5m"], "perp").model_dump()
    for section, keys in order["config"].items():
        data[section] = keys if isinstance(keys, list) else data[section] | keys
    options = ReplayOptions(
        config=Config.model_validate(data),
        symbol=SAMPLE_SYMBOL,
        file=SAMPLE_FILE,
        start_ms=SESSION_START_MS,
        serve=order["serve"],
        data_dir=Path(order["data_dir"]),
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    async with Replay(options) as replay:
        reached = SESSION_START_MS + order["minutes"] * MINUTE_MS
        await replay.run_to(reached)
        facts = {
            "pid": os.getpid(),
            "session_id": replay.host.session_id,
            "started": [process.pid for process in replay.host.processes() if process.pid != os.getpid()],
            "database": {"host": replay.host.target.host, "password_file": replay.host.target.password_file},
            "ray": replay.host.address,
            "reached_ms": reached,
            "venue": replay.facts,
        }
        print(json.dumps(facts), flush=True)
        await asyncio.Event().wait()


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
