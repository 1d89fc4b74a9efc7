"""What every machine of a cluster must have in common: Ray, Python, and Manta's own source, told by a hash.

The head puts its own into Ray's key-value store, which answers only to who has the token.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from manta import __version__
from trading.errors import BadInput
from trading.source_files import digest_of

__all__ = ["Identity", "publish", "read_identity", "require_same"]

PACKAGES = ("actors", "backtest", "manta", "monitoring", "serve", "trading")
_KEY = b"identity"
_NAMESPACE = b"manta"
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Identity:
    """``source`` is the hash of all of Manta's own Python files; ``python`` has three numbers."""

    manta: str
    source: str
    ray: str
    python: str

    @classmethod
    def here(cls) -> Self:
        return cls(__version__, digest_of(_ROOT, PACKAGES), version("ray"), platform.python_version())

    @property
    def python_minor(self) -> str:
        return self.python.rpartition(".")[0]


def require_same(head: Identity, here: Identity) -> None:
    """BadInput unless work of ``head`` does the same ``here``; it names everything that differs, and the fix."""
    differences = list(_differences(head, here))
    if differences:
        fields, words, fixes = zip(*differences, strict=True)
        raise BadInput(f"This machine is not like the head: {'; '.join(words)}.", field=fields[0], fix=" ".join(fixes))


def _differences(head: Identity, here: Identity) -> Iterator[tuple[str, str, str]]:
    if head.ray != here.ray:
        yield "ray", f"Ray is {here.ray} here and {head.ray} there", f"Install ray=={head.ray} here."
    if head.python_minor != here.python_minor:
        yield (
            "python",
            f"Python is {here.python} here and {head.python} there",
            f"Run Manta with Python {head.python_minor} here: MANTA_PYTHON=python{head.python_minor} ./run help.",
        )
    if head.source != here.source:
        yield (
            "source",
            f"Manta is {here.manta} with source {here.source[:12]} here and {head.manta} with {head.source[:12]} there",
            "Check the same commit out on both, without local changes, and restart the head if it was changed since.",
        )


def publish(identity: Identity) -> None:
    """Tell who wants to join what this head is. Ray must be connected to."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_KEY, json.dumps(asdict(identity)).encode(), overwrite=True, namespace=_NAMESPACE)


def read_identity(client: Any, timeout_s: float) -> Identity | None:
    """What the head behind Ray's ``client`` is; None when no Manta runs there."""
    told = client.internal_kv_get(_KEY, _NAMESPACE, timeout=timeout_s)
    return None if told is None else Identity(**json.loads(told))
