"""What actor processes do without, so that each costs little more than Ray's own worker."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

__all__ = ["packages", "slim"]

_RAY_WORKER = "default_worker.py"


def slim() -> None:
    """In a Ray worker, keep out what no actor uses; elsewhere do nothing. Must come before the first actor's import.

    Measured on Ray 2.60: a worker's first serialized value makes Ray import pyarrow, numpy and starlette to register
    their types, 25 MB in each process, while actors exchange bytes and plain data; and structlog imports rich, 3 MB,
    for tracebacks in colour, while actors log JSON.
    """
    if Path(getattr(sys.modules["__main__"], "__file__", None) or "").name != _RAY_WORKER:
        return
    from ray.util import serialization_addons

    serialization_addons.apply = _register_nothing
    if "structlog" not in sys.modules and "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment] - how Python spells "not there"
        try:
            importlib.import_module("structlog")
        finally:
            del sys.modules["rich"]


def packages() -> list[str]:
    """Names of the packages outside the standard library that this process has imported."""
    return sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)


def _register_nothing(_context: Any) -> None:
    return None
