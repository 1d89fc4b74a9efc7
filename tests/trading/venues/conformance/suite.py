"""The frame of the conformance suite: which lines there are, which tests prove them, each venue on its simulator."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trading.venues.simulator.rig import Rig, running
from trading import venues
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.config.model import Venues
from trading.venues.simulator.dialect import VenueLimits
from trading.venues.simulator.sample import SAMPLE_FILE

__all__ = [
    "MINUTE_MS",
    "ROOT",
    "SYMBOLS",
    "VENUES",
    "common_lines",
    "lines_of",
    "playing",
    "plenty",
    "proven_in",
    "recorded",
    "rule",
    "sample",
]

MINUTE_MS = 60_000
ROOT = Path(__file__).resolve().parents[4]
_HERE = Path(venues.__file__).parent
_ID = re.compile(r"[A-Z]{2}-\d{2}")

SYMBOLS = {"binance": "BTCUSDT", "binance_usdm": "BTCUSDT", "hyperliquid": "BTC", "pionex": "BTC_USDT"}
"""A market of each venue."""

VENUES = tuple(venue for venue in SYMBOLS if (_HERE / venue / "quality.yaml").is_file())


def lines_of(venue: str) -> list[dict[str, Any]]:
    """The lines of the venue's own list."""
    found: list[dict[str, Any]] = yaml.safe_load((_HERE / venue / "quality.yaml").read_text("utf-8"))["lines"]
    return found


def common_lines() -> dict[str, Any]:
    """The list of what every venue must do."""
    found: dict[str, Any] = yaml.safe_load((_HERE / "quality.yaml").read_text("utf-8"))
    return found


def prefix(venue: str) -> str:
    return str(lines_of(venue)[0]["id"])[:2]


def rule(number: int) -> pytest.MarkDecorator:
    """Run a test for every venue, as line ``number`` of each."""
    return pytest.mark.parametrize("venue", [pytest.param(each, id=f"{prefix(each)}-{number}") for each in VENUES])


def proven_in(path: str) -> set[str]:
    """The lines that the tests of one file prove: named by a mark, a parameter, or the test's own name."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: set[str] = set()
    for name, each in vars(module).items():
        if not name.startswith("test_"):
            continue
        if (named := re.match(r"test_([a-z]{2})_(\d\d)_", name)) is not None:
            found.add(f"{named[1].upper()}-{named[2]}")
        for mark in getattr(each, "pytestmark", ()):
            found.update(_named_by(mark))
    return found


def _named_by(mark: Any) -> Iterator[str]:
    if mark.name == "conforms":
        yield from mark.args
    elif mark.name == "parametrize":
        for value in mark.args[1]:
            if hasattr(value, "marks"):
                yield from (id for inner in value.marks for id in _named_by(inner))
                if isinstance(value.id, str) and _ID.fullmatch(value.id):
                    yield value.id


@cache
def _whole_sample(venue: str) -> CandleColumns:
    return load_columns(SAMPLE_FILE, f"{venue}:{SYMBOLS[venue]}")


def sample(venue: str, minutes: int) -> CandleColumns:
    """Real minutes, told as those of the venue's market."""
    columns = _whole_sample(venue)
    return columns.slice(columns.start_ms, columns.start_ms + minutes * MINUTE_MS)


@asynccontextmanager
async def playing(venue: str, columns: CandleColumns, **options: Any) -> AsyncIterator[Rig]:
    """The venue as the simulator plays it; a replay asks more often than life would."""
    limits = VenueLimits(weight=10_000_000)
    async with running(columns, SYMBOLS[venue], venue=venue, **({"limits": limits} | options)) as rig:
        yield rig


def plenty(venue: str) -> dict[str, int]:
    """Settings that let a client ask as often as it likes."""
    names = [name for name in type(Venues().of(venue)).model_fields if name.startswith("weight_per_")]
    return dict.fromkeys(names, 10_000_000)


def recorded(shared_data: Path, venue: str) -> Iterator[str]:
    """Every message that was recorded from the venue's sockets, as text."""
    folder = shared_data / "messages" / venue.partition("_")[0]
    for path in sorted(folder.glob("*.jsonl*")):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                if entry.get("transport") == "rest" or entry.get("event") == "connect":
                    continue
                if "raw" in entry or "body" in entry:
                    yield entry["raw"] if "raw" in entry else json.dumps(entry["body"])
