"""The machine that the figures belong to."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from trading.storage.binaries import find_binaries

__all__ = ["machine_facts"]


def machine_facts(command: str) -> dict[str, str]:
    """What a reader needs to judge the figures, in words, in the order of showing."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "CPU": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "system": f"{_system()}, Linux {platform.release()}",
        "Python": platform.python_version(),
        "Ray": version("ray"),
        "Postgres": _postgres(),
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load average before": f"{load} (1, 5, 15 minutes)",
        "ten million additions in Python": f"{_pace():.2f} s",
    }


def _pace() -> float:
    """How quick a core is at this moment: hosts that share one are slowed down without any load to be seen."""
    began, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - began


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, platform.machine())


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _postgres() -> str:
    program = find_binaries(Path("/nonexistent")).postgres
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{told.split()[-1]} (bundled)"
