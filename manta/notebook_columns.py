"""Arrays of one length by name: what a notebook gets of candles, equity, trades and folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.accounts.records import EquityMark
from trading.accounts.trades import Trade
from trading.candles import UNIT, Candle
from trading.errors import BadInput

__all__ = ["Columns", "Floats", "candle_columns", "equity_columns", "fold_columns", "trade_columns"]

Array = NDArray[Any]
Floats = NDArray[np.float64]


class Columns(Mapping[str, Array]):
    """Named arrays of one length, read-only: ``columns["close"]``, or all of them as a pandas table.

    ``len`` is the number of rows, iteration gives the names. ``rows`` are the exact records that the arrays were made
    of: integers at 10⁻⁸ in candles, Decimals in trades.
    """

    def __init__(self, arrays: Mapping[str, Array], rows: Sequence[Any] = ()) -> None:
        self._arrays = dict(arrays)
        self.rows = rows
        for array in self._arrays.values():
            array.setflags(write=False)

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __repr__(self) -> str:
        return f"Columns({len(self)} rows: {', '.join(self)})"

    def frame(self) -> Any:
        """A pandas DataFrame with these columns; the first, where it is a time, is its index, in UTC.

        Raises BadInput when pandas is not installed: Manta itself does without.
        """
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError as error:
            raise BadInput(
                "pandas is not installed here.", field="frame", fix="`pip install pandas`, or use the numpy columns."
            ) from error
        table = pd.DataFrame(self._arrays)
        for name, array in self._arrays.items():
            if array.dtype.kind == "M":
                table[name] = table[name].dt.tz_localize("UTC")
        first = next(iter(self._arrays))
        return table.set_index(first) if self._arrays[first].dtype.kind == "M" else table


def _times(values: Sequence[int | None]) -> Array:
    return np.array([np.datetime64("NaT") if value is None else value for value in values], "datetime64[ms]")


def _numbers(values: Sequence[Any]) -> Floats:
    return np.array([np.nan if value is None else float(value) for value in values])


def candle_columns(rows: Sequence[Candle]) -> Columns:
    prices = {
        name: np.array([getattr(row, name) for row in rows], np.int64) / UNIT
        for name in ("open", "high", "low", "close", "volume")
    }
    times = {name: _times([getattr(row, f"{name}_ms") for row in rows]) for name in ("open_time", "close_time")}
    return Columns({**times, **prices, "complete": np.array([row.complete for row in rows])}, rows)


def equity_columns(rows: Sequence[EquityMark]) -> Columns:
    return Columns(
        {"time": _times([row.time_ms for row in rows]), "equity": _numbers([row.equity for row in rows])}, rows
    )


def trade_columns(rows: Sequence[Trade]) -> Columns:
    times = {
        "entry_time": _times([row.entry_ms for row in rows]),
        "exit_time": _times([row.exit_ms for row in rows]),
    }
    texts = {name: np.array([getattr(row, name) for row in rows], np.str_) for name in ("direction", "interval")}
    numbers = {
        name.rstrip("_"): _numbers([getattr(row, name) for row in rows])
        for name in ("entry_price", "exit_price", "quantity", "pnl", "return_", "fees")
    }
    ends = {name: np.array([getattr(row, name) for row in rows], np.str_) for name in ("exit_reason", "tag")}
    return Columns({**times, **texts, **numbers, **ends}, rows)


def fold_columns(results: Mapping[str, Any]) -> Columns:
    folds = results["folds"]
    arrays = {name: _times([item[name] for item in folds]) for name in ("test_start", "test_end")}
    arrays |= {name: _numbers([item["params"][name] for item in folds]) for name in results["grid"]}
    figures = ("train_sharpe", "test_sharpe", "test_return", "trades")
    return Columns({**arrays, **{name: _numbers([item[name] for item in folds]) for name in figures}}, folds)
