"""What a run was made of, so that it can be made again: code, strategy, candles, request and seed.

Fingerprints are the first 16 hex digits of a SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import platform
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backtest
import trading
from trading.accounts.records import Record
from trading.strategies.registry import load_strategy

if TYPE_CHECKING:
    from backtest.reference import RunRecords
    from backtest.run import BacktestRequest, Source

__all__ = ["changes", "code_fingerprint", "data_fingerprint", "provenance_of", "records_fingerprint"]

_MEANING: Mapping[str, str] = {
    "version": "Manta's version",
    "code": "Manta's code",
    "strategy": "the strategy's or its features' code",
    "data": "the candles, their holes or the market's rules",
    "python": "Python's version",
    "seed": "the seed",
}


def provenance_of(request: BacktestRequest, source: Source, file: Path | None, seed: int = 0) -> dict[str, Any]:
    """Plain data about everything that the result of ``request`` over ``source`` depends on, the request aside."""
    code = load_strategy(request.strategy, request.params, request.source).source
    return {
        "version": trading.__version__,
        "code": code_fingerprint(),
        "strategy": _short(hashlib.sha256(code.encode())),
        "data": data_fingerprint(source),
        "python": platform.python_version(),
        "seed": seed,
        "file": str(file.resolve()) if file is not None else None,
        "candles": len(source.candles),
        "first": source.candles[0].open_time_ms,
        "last": source.candles[-1].close_time_ms,
    }


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
    digest = hashlib.sha256()
    for package in (backtest, trading):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return _short(digest)


def data_fingerprint(source: Source) -> str:
    """Of the market facts alone: where a candle came from and when it was received changes nothing."""
    digest = hashlib.sha256()
    pack = struct.Struct("<7q?").pack
    for c in source.candles:
        digest.update(pack(c.open_time_ms, c.close_time_ms, c.open, c.high, c.low, c.close, c.volume, c.complete))
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
            digest.update(json.dumps(record.to_dict(), sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return _short(digest)


def _short(digest: Any) -> str:
    return str(digest.hexdigest()[:16])
