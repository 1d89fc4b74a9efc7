"""A process that takes weight from a shared budget as fast as it may, and prints when it took what.

It says when it is ready, and begins when it is told: then two of them begin together on the slowest machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget
from trading.venues.adapter import Budget
from trading.venues.cluster_limits import ClusterLimiter


async def main(target: DatabaseTarget, budget: Budget, seconds: float) -> list[tuple[float, int]]:
    taken: list[tuple[float, int]] = []
    async with Database(target) as database:
        limiter = ClusterLimiter(database, "binance", "shared", budget, time.monotonic)
        await database.run(lambda conn: conn.execute("select 1"))
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.monotonic() + seconds
        number = 0
        try:
            async with asyncio.timeout(seconds):
                while time.monotonic() < end:
                    number += 1
                    weight = 1 + number % 3
                    await limiter.acquire(weight)
                    taken.append((time.monotonic(), weight))
        except TimeoutError:
            pass
    return taken


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    target, budget = DatabaseTarget(**given["target"]), Budget(*given["budget"])
    print(json.dumps(asyncio.run(main(target, budget, given["seconds"]))))
