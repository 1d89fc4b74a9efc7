"""What a run was made of, so that it can be made again: code, strategy, candles, request and seed.

Fingerprints are the first 16 hex digits of a SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import trading
from trading.accounts.records import Order, Record
from trading.source_files import digest_of
from trading.strategies.registry import load_strategy

if TYPE_CHECKING:
    from backtest.reference import RunRecords
    from backtest.requests import RunRequest
    from backtest.sources import Source

__all__ = ["changes", "code_fingerprint", "data_fingerprint", "files_of", "provenance_of", "records_fingerprint"]

_MEANING: Mapping[str, str] = {
    "version": "Manta's version",
    "code": "Manta's code",
    "strategy": "the strategy's or its features' code",
    "data": "the candles, their holes or the market's rules",
    "python": "Python's version",
    "seed": "the seed",
}

_FACTS = ("open_time_ms", "close_time_ms", "open", "high", "low", "close", "volume")


def provenance_of(
    request: RunRequest, sources: Sequence[Source], files: Mapping[str, Path], seed: int = 0
) -> dict[str, Any]:
    """Plain data about everything that the result of ``request`` over ``sources`` depends on, the request aside."""
    codes = [load_strategy(item.strategy, item.params, item.source).source for item in request.configured]
    paths = {market: str(file.resolve()) for market, file in files.items()}
    return {
        "version": trading.__version__,
        "code": code_fingerprint(),
        "strategy": _short(hashlib.sha256("\n".join(codes).encode())),
        "data": data_fingerprint(sources),
        "python": platform.python_version(),
        "seed": seed,
        **({"file": paths.get(request.traded[0])} if len(sources) == 1 else {"files": paths}),
        "candles": sum(len(source.candles) for source in sources),
        "first": min(source.candles[0].open_time_ms for source in sources),
        "last": max(source.candles[-1].close_time_ms for source in sources),
    }


def files_of(market: str, provenance: Mapping[str, Any]) -> dict[str, Path]:
    """The files of a stored run by market, of which a run on one market, ``market``, has at most one."""
    found = provenance.get("files") or ({market: provenance["file"]} if provenance.get("file") else {})
    return {name: Path(path) for name, path in found.items()}


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was, in words with the values."""
    return [
        f"{meaning}: {then.get(name)} then, {now.get(name)} now"
        for name, meaning in _MEANING.items()
        if then.get(name) != now.get(name)
    ]


@cache
def code_fingerprint() -> str:
    """Of all Python code that a backtest may run."""
    root = Path(trading.__path__[0]).parent
    return digest_of(root, ("backtest", "trading"))[:16]


def data_fingerprint(sources: Sequence[Source]) -> str:
    """Of the market facts alone: where a candle came from and when it was received changes nothing."""
    digest = hashlib.sha256()
    for source in sources:
        series = source.series
        rows = np.empty(len(series), [*((name, "<i8") for name in _FACTS), ("complete", "?")])
        for name in _FACTS:
            rows[name] = getattr(series, name)
        rows["complete"] = series.is_complete
        digest.update(rows.tobytes())
        for hole in source.holes:
            digest.update(f"{hole.from_ms}-{hole.to_ms} {hole.reason}\n".encode())
        market = source.market
        digest.update(f"{market.key} {market.lot_size} {market.min_notional} {source.width}".encode())
    return _short(digest)


def records_fingerprint(records: RunRecords) -> str:
    """Of all that a run did that was stored: decisions that acted, orders, fills, transfers, positions and equity."""
    acted = [item for item in records.decisions if item.actions]
    parts: Sequence[Iterable[Record]] = (
        acted,
        records.orders.values(),
        records.fills,
        records.transfers,
        records.positions,
        records.equity,
    )
    digest = hashlib.sha256()
    for part in parts:
        for record in part:
            told = record.to_dict()
            if isinstance(record, Order) and not record.rests:
                # As it was before orders could rest, so that a run of then still has its fingerprint.
                del told["price"], told["expires_ms"]
            digest.update(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return _short(digest)


def _short(digest: Any) -> str:
    return str(digest.hexdigest()[:16])
