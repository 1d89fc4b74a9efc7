"""Hyperliquid's recorded messages, by what they are about."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def entries(folder: Path, name: str = "*") -> Iterator[dict[str, Any]]:
    """Every recorded exchange or message of the files that match ``name``."""
    for path in sorted((folder / "messages" / "hyperliquid").glob(f"{name}.jsonl*")):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            yield from (json.loads(line) for line in lines)


def answer(folder: Path, kind: str, name: str) -> Any:
    """The recorded answer to the question of type ``kind`` in the newest entry of the file ``name``."""
    found = [
        json.loads(entry["raw"])
        for entry in entries(folder, name)
        if str(entry.get("url", "")).endswith("/info") and json.loads(entry["request"]) == {"type": kind}
    ]
    return found[-1]


def texts(folder: Path) -> Iterator[str]:
    """Every websocket message that the venue sent."""
    for entry in entries(folder):
        if entry.get("transport") != "ws":
            continue
        if "raw" in entry:
            yield entry["raw"]
        yield from (step["text"] for step in entry.get("steps", ()) if step["dir"] in ("ack", "message"))
