"""What others take for the work of a sweep: vectorbt with its fastest engine, on the same candles and decisions.

It gets an environment of its own under the user's cache, made from ``rivals.lock`` when first wanted: the product does
not depend on it. ``./run lock`` resolves that file from ``rivals.in``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, nan
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from backtest.sources import Source
from backtest.sweep.kernel.evaluate import KernelTrade
from manta.output import console
from trading.candles import UNIT
from trading.config.costs import Costs
from trading.errors import MantaError
from trading.features.contract import FeatureTrack
from trading.strategies.contract import FLAT, HOLD, Strategy

__all__ = ["Contest", "Outcome", "rival_outcomes"]

_HERE = Path(__file__).resolve().parent
_LOCK = _HERE / "rivals.lock"
_SCRIPT = _HERE / "rivals_vectorbt.py"
_SAME = 1e-9
_PATIENCE_S = 1_200


@dataclass(frozen=True, slots=True)
class Contest:
    """One combination to be run by both: ``ours`` are the trades of our kernel that the rival's are compared with."""

    strategy: Strategy
    shorts: bool
    ours: Sequence[KernelTrade]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``ns``: the rival's processor time a candle, of simulation and eight metrics, decisions given.

    ``trades`` and ``equal``: how many it makes, and how many of ours are its own, one after another from the first.
    """

    ns: float
    trades: int
    equal: int


def rival_outcomes(source: Source, costs: Costs, contests: Sequence[Contest], runs: int) -> tuple[str, list[Outcome]]:
    """What the rival is, and its outcome of each contest, median of ``runs``.

    Raises MantaError when it cannot be installed or does not run.
    """
    python = _environment()
    slippage = float(costs.of(source.market.venue).slippage)
    with tempfile.TemporaryDirectory(prefix="manta-rivals-") as name:
        folder = Path(name)
        _lay_out(folder, source, costs, contests, runs)
        done = subprocess.run(
            [python, "-I", _SCRIPT, folder], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        if done.returncode != 0:
            raise MantaError(
                f"The rival did not run: {done.stderr.strip().splitlines()[-1:]}",
                fix=f"Remove {python.parents[1]} and try again.",
            )
        told = json.loads(done.stdout.splitlines()[-1])
        outcomes = [
            _outcome(source, contest, times, np.load(folder / f"trades_{place}.npy"), slippage)
            for place, (contest, times) in enumerate(zip(contests, told["seconds"], strict=True))
        ]
    return f"vectorbt {told['vectorbt']}, {told['engine']} engine", outcomes


def _environment() -> Path:
    """The rival's Python, with everything installed that the lock names."""
    mark = hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "manta" / f"rivals-{mark}"
    python = folder / "bin" / "python"
    if not folder.is_dir():
        console.print("[dim]installing vectorbt into an environment of its own …[/]")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # An environment remembers its path, so it is made in place, and removed again when it does not get whole.
        try:
            _do([sys.executable, "-m", "venv", folder])
            options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
            _do([python, "-m", "pip", "install", *options, "--only-binary", ":all:", "-r", _LOCK])
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return python


def _do(command: Sequence[Any]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        # What pip writes may name an index that has a password in it.
        raise MantaError(
            "vectorbt could not be installed.", fix="Look at the network and the package index pip is set to use."
        )


def _lay_out(folder: Path, source: Source, costs: Costs, contests: Sequence[Contest], runs: int) -> None:
    for name in ("open", "high", "low", "close"):
        column = np.array([getattr(candle, name) for candle in source.candles], np.int64)
        np.save(folder / f"{name}s.npy", column / UNIT)
    told = []
    for place, contest in enumerate(contests):
        codes, distances = _decisions(source, contest)
        np.save(folder / f"codes_{place}.npy", codes)
        if contest.strategy.bracket is not None:
            np.save(folder / f"stops_{place}.npy", distances[0])
            np.save(folder / f"targets_{place}.npy", distances[1])
        stops = "stopmarket" if contest.strategy.bracket is not None else ""
        told.append({"shorts": contest.shorts, "stops": stops})
    charges = costs.of(source.market.venue)
    job = {"fee": float(charges.taker_fee), "slippage": float(charges.slippage), "capital": 10_000.0, "runs": runs}
    (folder / "job.json").write_text(json.dumps(job | {"contests": told}), encoding="utf-8")


def _decisions(source: Source, contest: Contest) -> tuple[Any, Any]:
    """What the strategy's own rule, as plain Python, wants at each close; and the distances of stop and target."""
    strategy = contest.strategy
    rule, p, row, bracket = strategy.rule, strategy.params, strategy.row, strategy.bracket
    tracks = [FeatureTrack(feature) for feature in strategy.features.values()]
    codes = np.full(len(source.candles), HOLD, np.int8)
    distances = np.full((2, len(source.candles)), np.nan)
    prev = unknown = row(*(nan for _ in row._fields))
    for place, candle in enumerate(source.candles):
        values = [track.update(candle) for track in tracks]
        now = unknown if None in values else row(candle.close / UNIT, *values)
        if place + 1 >= strategy.warmup and rule is not None and now is not unknown:
            codes[place] = code = rule(now, prev, p)
            if bracket is not None and code not in (HOLD, FLAT):
                distances[:, place] = [np.nan if value is None else value for value in bracket(now, p)]
        prev = now
    return codes, distances


def _outcome(source: Source, contest: Contest, times: Sequence[float], rows: Any, slippage: float) -> Outcome:
    # With one way for both, the rival slips targets like stops; ours are limit orders.
    slips = slippage if contest.strategy.bracket is not None else 0.0
    opened = [candle.open_time_ms for candle in source.candles]
    equal = 0
    for mine, row in zip(contest.ours, rows.tolist(), strict=False):
        if not _same(mine, row, opened, slips):
            break
        equal += 1
    return Outcome(median(times) / len(opened) * 1e9, len(rows), equal)


def _same(mine: KernelTrade, row: Sequence[float], opened: Sequence[int], slips: float) -> bool:
    """Whether it is the same trade, but that the rival's exit may be worse by ``slips`` as a share of its price.

    The last one may be open, which the rival marks at the last close.
    """
    side, entry, left, entry_price, exit_price, closed = row
    same = (
        (mine.side == "LONG") == (side > 0)
        # An order stands in the row of its decision and fills at the next open.
        and mine.entry_ms == opened[int(entry) + 1]
        and isclose(float(mine.entry_price), entry_price, rel_tol=_SAME)
    )
    if mine.exit_ms is None or mine.exit_price is None:
        return same and not closed
    # A stop is filled within the row that reaches it.
    return (
        same
        and bool(closed)
        and mine.exit_ms in opened[int(left) : int(left) + 2]
        and any(isclose(float(mine.exit_price) * worse, exit_price, rel_tol=_SAME) for worse in (1, 1 - side * slips))
    )
