"""Processor time of a group of processes between two moments."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable

import psutil

from bench.kinds import kind_of

__all__ = ["Usage"]


class Usage:
    """Counts from its making on. Of a process that ends meanwhile, nothing is known and nothing counted."""

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._began = time.monotonic()
        self._before = {process: spent for process in processes if (spent := _spent_s(process)) is not None}

    def table(self) -> list[tuple[str, float]]:
        """Each kind of process with its share of one core in percent, busiest first, and the sum at the end."""
        seconds = time.monotonic() - self._began
        shares: defaultdict[str, float] = defaultdict(float)
        for process, before in self._before.items():
            after = _spent_s(process)
            if after is not None:
                shares[kind_of(process)] += (after - before) / seconds * 100
        rows = sorted(shares.items(), key=lambda row: -row[1])
        return [*((kind, share) for kind, share in rows if share >= 0.05), ("all", sum(shares.values()))]


def _spent_s(process: psutil.Process) -> float | None:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return None
