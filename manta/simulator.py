"""The simulator as a child process: takes its order as one JSON argument, prints one JSON line: ready or refused."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from trading.errors import MantaError
from trading.venues.simulator.command import ServeOptions, run

__all__ = ["main"]


def main() -> None:
    order = json.loads(sys.argv[1])
    order["files"] = {symbol: Path(path) for symbol, path in order["files"].items()}
    try:
        asyncio.run(run(ServeOptions(**order)))
    except MantaError as error:
        facts = {"message": error.message, "field": error.field, "value": str(error.value), "fix": error.fix}
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
