"""A piece of a sweep as it travels to whoever does it, and the doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.provenance import code_fingerprint
from backtest.requests import BacktestRequest
from backtest.sources import Source
from backtest.sweep.evaluator import ComboScore, Evaluator, Number, evaluator_for
from trading.candles import Candle
from trading.errors import ConfigError

__all__ = ["Batch", "Work", "check_code", "do_batch", "packed", "unpacked"]

_Column = NDArray[Any] | list[Any] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Sets of parameters to be scored one after another, over the range from ``start_ms`` on; None: the whole one."""

    start_ms: int | None
    combos: tuple[dict[str, Number], ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A source whose candles are columns: a column that has one value throughout is that value."""

    source: Source
    length: int
    columns: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What all batches of a sweep share. ``code`` is the fingerprint of the code that they have to be done with."""

    key: str
    code: str
    request: BacktestRequest
    packed: Packed


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
        self._made: dict[int | None, Evaluator] = {}

    def of(self, work: Work, start_ms: int | None) -> Evaluator:
        if self._key != work.key or self._source is None:
            self._key, self._source, self._made = work.key, unpacked(work.packed), {}
        if start_ms not in self._made:
            request = work.request
            if start_ms is not None:
                request = request.model_copy(update={"start_ms": start_ms})
            self._made[start_ms] = evaluator_for(request, self._source)
        return self._made[start_ms]


_evaluators = Evaluators()


def do_batch(work: Work, batch: Batch) -> list[ComboScore]:
    """Score ``batch``; ConfigError when this process runs other code than the sweep."""
    check_code(work.code, code_fingerprint())
    return _evaluators.of(work, batch.start_ms).evaluate(batch.combos)


def _column(values: Sequence[Any]) -> Any:
    first = values[0]
    if all(value == first and type(value) is type(first) for value in values):
        return (first,)
    if all(type(value) is int for value in values):
        return np.array(values, np.int64)
    return list(values)


def _values(column: _Column) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column or ())
