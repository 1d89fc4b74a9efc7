"""Candles of one market and interval, in order, kept as columns: how a backtest holds years of minutes.

A list of a million ``Candle`` takes half a gigabyte, and seconds to make. Here each column is an array, or one value
where all candles have the same, and a ``Candle`` is made when one is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import CandleColumns, Integers
from trading.candles import Candle
from trading.errors import BadInput

__all__ = ["CandleSeries", "Column", "Same", "by_market"]

_NUMBERS = ("open_time_ms", "close_time_ms", "open", "high", "low", "close", "volume")
_REST = Candle._fields[2 + len(_NUMBERS) :]
_AT_ONCE = 4_096
_MOST = int(np.iinfo(np.int64).max)


class Same(NamedTuple):
    """A column of which every value is ``value``."""

    value: Any


Column: TypeAlias = Same | Integers | list[Any]


class CandleSeries(Sequence[Candle]):
    """A sequence of ``Candle`` of one ``market`` and ``interval``, ascending by open time.

    ``open_time_ms``, ``close_time_ms`` (unix ms), ``open``, ``high``, ``low``, ``close`` and ``volume`` (10**-8) are
    int64 arrays of its length; a slice shares them. Nothing may be written to them.
    """

    __slots__ = ("_rest", "interval", "market", *_NUMBERS)

    open_time_ms: Integers
    close_time_ms: Integers
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers

    def __init__(self, market: str, interval: str, numbers: Sequence[Integers], rest: Sequence[Column]) -> None:
        """``numbers`` are the seven arrays in the order above, ``rest`` the other fields of ``Candle`` in theirs."""
        self.market = market
        self.interval = interval
        for name, values in zip(_NUMBERS, numbers, strict=True):
            setattr(self, name, values)
        self._rest = dict(zip(_REST, rest, strict=True))

    @classmethod
    def of(cls, candles: Sequence[Candle]) -> CandleSeries:
        """The same candles as columns, a series as it is; BadInput if they are of several markets or intervals."""
        if isinstance(candles, CandleSeries):
            return candles
        names = {*map(itemgetter(0, 1), candles)} or {("", "1m")}
        if len(names) > 1:
            told = ", ".join(sorted(" ".join(name) for name in names))
            raise BadInput(
                f"Candles of several series: {told}.", field="candles", value=told, fix="Give those of each by itself."
            )
        numbers = [np.fromiter(map(itemgetter(place), candles), np.int64, len(candles)) for place in range(2, 9)]
        rest = [_column([*map(itemgetter(place), candles)]) for place in range(9, len(Candle._fields))]
        market, interval = names.pop()
        return cls(market, interval, numbers, rest)

    @classmethod
    def from_columns(cls, columns: CandleColumns, source: str) -> CandleSeries:
        """The candles of ``columns``, which came from ``source``."""
        numbers = [columns.open_time_ms, columns.close_time_ms]
        numbers += [columns.open, columns.high, columns.low, columns.close, columns.volume]
        extras = (columns.quote_volume, columns.trade_count, columns.taker_buy_volume)
        told = [Same(None) if values is None else values for values in extras]
        return cls(
            columns.market,
            columns.interval.name,
            numbers,
            [*told, Same(source), Same(0), Same(True), Same(0), Same(None)],
        )

    def __len__(self) -> int:
        return len(self.open_time_ms)

    @overload
    def __getitem__(self, at: int) -> Candle: ...
    @overload
    def __getitem__(self, at: slice) -> CandleSeries: ...

    def __getitem__(self, at: int | slice) -> Candle | CandleSeries:
        if isinstance(at, slice):
            numbers = [getattr(self, name)[at] for name in _NUMBERS]
            cut = [column if isinstance(column, Same) else column[at] for column in self._rest.values()]
            return CandleSeries(self.market, self.interval, numbers, cut)
        values = [getattr(self, name).item(at) for name in _NUMBERS]
        rest = [_one(column, at) for column in self._rest.values()]
        return Candle._make([self.market, self.interval, *values, *rest])

    def __iter__(self) -> Iterator[Candle]:
        for first in range(0, len(self), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            columns = [getattr(self, name)[part].tolist() for name in _NUMBERS]
            rest = [_values(column, part) for column in self._rest.values()]
            yield from map(Candle._make, zip(repeat(self.market), repeat(self.interval), *columns, *rest, strict=False))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(own == theirs for own, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def closing(self, after_ms: int, upto_ms: int) -> CandleSeries:
        """Those that close after ``after_ms`` and not after ``upto_ms``."""
        first, last = np.searchsorted(self.close_time_ms, (after_ms, upto_ms), side="right").tolist()
        return self[first : max(first, last)]

    def known(self, name: str) -> tuple[Integers, NDArray[np.bool_]] | None:
        """The optional number ``name`` of each, and where it is not known or above int64: it is 0 there. None: it is
        known of none.
        """
        column = self._rest[name]
        if isinstance(column, np.ndarray):
            return column, np.zeros(len(self), np.bool_)
        if isinstance(column, Same) and column.value is None:
            return None
        values = [column.value] * len(self) if isinstance(column, Same) else column
        unknown = np.array([value is None or value > _MOST for value in values], np.bool_)
        return np.array([0 if no else value for value, no in zip(values, unknown, strict=True)], np.int64), unknown

    @property
    def is_lent(self) -> NDArray[np.bool_]:
        """Which of them another market lent, wholly or in part."""
        return self._differs("origin", None)

    @property
    def is_complete(self) -> NDArray[np.bool_]:
        """Which of them are complete."""
        return ~self._differs("complete", True)

    def _differs(self, name: str, usual: Any) -> NDArray[np.bool_]:
        column = self._rest[name]
        if isinstance(column, Same):
            return np.full(len(self), column.value != usual, np.bool_)
        return np.array([value != usual for value in column], np.bool_)


def by_market(candles: Sequence[Candle] | Sequence[CandleSeries]) -> dict[str, Sequence[Candle]]:
    """The candles of each market, by its key in the order of their first; ``candles`` are in one row, or in a series of
    each market.
    """
    if isinstance(candles, CandleSeries):
        return {candles.market: candles} if len(candles) else {}
    if all(isinstance(item, CandleSeries) for item in candles):
        return {item.market: item for item in candles if isinstance(item, CandleSeries) and len(item)}
    if len({*map(itemgetter(0), candles)}) == 1:
        return {candles[0].market: candles}  # type: ignore[dict-item]
    found: dict[str, list[Candle]] = {}
    for candle in candles:
        found.setdefault(candle.market, []).append(candle)  # type: ignore[arg-type]
    return dict(found)


def _column(values: list[Any]) -> Column:
    if not values or values.count(values[0]) == len(values):
        return Same(values[0] if values else None)
    return np.array(values, np.int64) if {*map(type, values)} == {int} and max(values) <= _MOST else values


def _one(column: Column, at: int) -> Any:
    if isinstance(column, Same):
        return column.value
    return column.item(at) if isinstance(column, np.ndarray) else column[at]


def _values(column: Column, part: slice) -> Any:
    if isinstance(column, Same):
        return repeat(column.value)
    return column[part].tolist() if isinstance(column, np.ndarray) else column[part]
