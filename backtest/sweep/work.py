"""A piece of a sweep as it travels to whoever does it, and the doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.honesty.trials import Job, Outcome, run_job
from backtest.provenance import code_fingerprint
from backtest.requests import BacktestRequest
from backtest.sources import Source
from backtest.sweep.evaluator import ComboScore, Evaluator, Number, evaluator_for
from backtest.sweep.objective import with_own
from trading.candles import Candle
from trading.errors import ConfigError

__all__ = ["Batch", "Work", "check_code", "do_batch", "do_job", "packed", "unpacked"]

_MOST_WINDOWS = 8
"""Windows whose evaluators a process keeps: each holds its candles, and batches of one window come in a row."""

_Column = NDArray[Any] | list[Any] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Sets of parameters to be scored one after another, from ``start_ms`` to ``end_ms``; None: as far as there is."""

    start_ms: int | None
    end_ms: int | None
    combos: tuple[dict[str, Number], ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A source whose candles are columns: a column that has one value throughout is that value."""

    source: Source
    length: int
    columns: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What all batches of a sweep share. ``code`` is the fingerprint of the code that they have to be done with,
    ``objective`` the text of the user's own function, if there is one.
    """

    key: str
    code: str
    request: BacktestRequest
    packed: Packed
    objective: str = ""


def packed(source: Source) -> Packed:
    """``source`` with its candles as columns, which other processes can share without a copy."""
    columns = tuple(_column(values) for values in zip(*source.candles, strict=True))
    return Packed(replace(source, candles=[]), len(source.candles), columns)


def unpacked(part: Packed) -> Source:
    """What was packed."""
    columns = [[column[0]] * part.length if isinstance(column, tuple) else _values(column) for column in part.columns]
    return replace(part.source, candles=[Candle(*row) for row in zip(*columns, strict=True)])


def check_code(expected: str, own: str) -> None:
    """ConfigError unless this process runs the code that the sweep was started with."""
    if own != expected:
        raise ConfigError(
            f"A worker of this sweep runs other code ({own}) than the sweep was started with ({expected}): its scores"
            " could differ.",
            field="code",
            value=own,
            fix="Install the same version of Manta on every machine, restart Manta there, and resume the sweep.",
        )


class Evaluators:
    """The evaluators of one sweep by their range, made when first wanted and kept: a process does many batches."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._source: Source | None = None
        self._made: dict[tuple[int | None, int | None], Evaluator] = {}

    def source(self, work: Work) -> Source:
        if self._key != work.key or self._source is None:
            self._key, self._source, self._made = work.key, unpacked(work.packed), {}
        return self._source

    def of(self, work: Work, start_ms: int | None, end_ms: int | None) -> Evaluator:
        source = self.source(work)
        window = start_ms, end_ms
        if window not in self._made:
            while len(self._made) >= _MOST_WINDOWS:
                del self._made[next(iter(self._made))]
            bounds = {"start_ms": start_ms, "end_ms": end_ms}
            given = {name: value for name, value in bounds.items() if value is not None}
            self._made[window] = evaluator_for(work.request.model_copy(update=given), source)
        return self._made[window]


_evaluators = Evaluators()


def do_batch(work: Work, batch: Batch) -> list[ComboScore]:
    """Score ``batch``; ConfigError when this process runs other code than the sweep."""
    check_code(work.code, code_fingerprint())
    scores = _evaluators.of(work, batch.start_ms, batch.end_ms).evaluate(batch.combos)
    return [with_own(work.objective, score) for score in scores] if work.objective else scores


def do_job(work: Work, job: Job) -> Outcome:
    """One run in the reference engine; ConfigError as ``do_batch``."""
    check_code(work.code, code_fingerprint())
    return run_job(_evaluators.source(work), job)


def _column(values: Sequence[Any]) -> Any:
    first = values[0]
    if all(value == first and type(value) is type(first) for value in values):
        return (first,)
    if all(type(value) is int for value in values):
        return np.array(values, np.int64)
    return list(values)


def _values(column: _Column) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column or ())
