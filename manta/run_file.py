"""What runs on a data directory, and how the last run ended: two small files that any command can read."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from manta.processes import birth_mark

__all__ = ["note_end", "note_run", "read_end", "read_run_file", "stale_run"]

_RUN = "run.json"
_END = "last_run.json"


def note_run(data_dir: Path, facts: dict[str, Any]) -> None:
    """Say that this process runs on ``data_dir``."""
    mine = {"pid": os.getpid(), "birth": birth_mark(os.getpid())}
    _write(data_dir / _RUN, mine | facts)


def note_end(data_dir: Path, facts: dict[str, Any], *, keep_run: bool = False) -> None:
    """Say how this run ended. ``keep_run``: something is left for the next start to clear away."""
    _write(data_dir / _END, {"ended_at": time.time()} | facts)
    if not keep_run:
        (data_dir / _RUN).unlink(missing_ok=True)


def read_run_file(data_dir: Path) -> dict[str, Any] | None:
    """Facts of the host that runs on ``data_dir``; None when none does (a stale file is ignored)."""
    facts = _read(data_dir / _RUN)
    return facts if facts is not None and _lives(facts) else None


def stale_run(data_dir: Path) -> dict[str, Any] | None:
    """Facts of a host that did not end in order: it is gone, but its file is there."""
    facts = _read(data_dir / _RUN)
    return None if facts is None or _lives(facts) else facts


def read_end(data_dir: Path) -> dict[str, Any] | None:
    """How the last run that ended in order ended."""
    return _read(data_dir / _END)


def _lives(facts: dict[str, Any]) -> bool:
    return facts.get("birth") is not None and birth_mark(facts["pid"]) == facts["birth"]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and "pid" in facts else None


def _write(path: Path, facts: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(facts), encoding="utf-8")
    fresh.replace(path)
