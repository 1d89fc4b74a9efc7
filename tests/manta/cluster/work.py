"""What a sweep will do with two machines, as a driver on the head: ``python work.py VERB ADDRESS``; prints JSON."""

import hashlib
import json
import socket
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from backtest.reference import run_reference
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.config.model import Book, Config
from trading.instances import Instance, resolve_instances
from trading.markets import Market
from trading.strategies import template
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

MINUTES = 1_500
PERIOD = 20


def digest(candles: Sequence[Candle], instances: Sequence[Instance], market: Market) -> dict[str, Any]:
    """All that the strategy decided and traded, in short, and where it was computed."""
    found = run_reference(
        candles,
        instances=instances,
        book_id="paper",
        book=Book(),
        markets=[market],
        live_from_ms=candles[0].open_time_ms,
    )
    told = repr((found.records.signals, found.records.decisions, found.trades)).encode()
    return {"host": socket.gethostname(), "trades": len(found.trades), "hash": hashlib.sha256(told).hexdigest()}


def stay_on_the_pc(asked: str) -> str:
    """Never end on the PC; on another host say its name at once."""
    if socket.gethostname() == "pc":
        Path(asked).write_text("running", encoding="utf-8")
        while True:
            time.sleep(1)
    return socket.gethostname()


def market() -> Market:
    venue, symbol = SAMPLE_MARKET.split(":")
    return Market(venue, symbol, "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))


def node_of(address: str) -> str:
    [found] = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeManagerAddress"] == address]
    return str(found)


def compare(pc: str) -> dict[str, Any]:
    """The same strategy, loaded from its text, on the PC and here."""
    text = Path(template.__file__).read_text(encoding="utf-8")
    strategy = {"name": "a", "strategy": "mine", "source": text, "intervals": ["5m"], "params": {"period": PERIOD}}
    instances = resolve_instances(Config.model_validate({"strategies": [strategy]}), 0)
    candles = load_candles(SAMPLE_FILE, SAMPLE_MARKET)[:MINUTES]
    there = NodeAffinitySchedulingStrategy(node_of(pc), soft=False)
    asked = ray.remote(digest).options(scheduling_strategy=there).remote(ray.put(candles), instances, market())
    return {"pc": ray.get(asked, timeout=60), "here": digest(candles, instances, market())}


def retry(pc: str) -> dict[str, Any]:
    """A task that is on the PC when that goes."""
    there = NodeAffinitySchedulingStrategy(node_of(pc), soft=True)
    asked = ray.remote(stay_on_the_pc).options(scheduling_strategy=there, max_retries=3).remote("/tmp/running")
    return {"host": ray.get(asked, timeout=150)}


def actors(_pc: str) -> dict[str, Any]:
    """On which addresses the living actors are, by class."""
    from ray._private.state import actors as all_actors

    found: dict[str, list[str]] = {}
    for actor in all_actors().values():
        if actor["State"] == "ALIVE":
            found.setdefault(actor["Address"]["IPAddress"], []).append(actor["ActorClassName"])
    return found


if __name__ == "__main__":
    ray.init(address=sys.argv[2], log_to_driver=False, logging_level="error")
    told = {"compare": compare, "retry": retry, "actors": actors}[sys.argv[1]](sys.argv[3])
    print(json.dumps(told))
