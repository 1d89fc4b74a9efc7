"""Any function of TA-Lib by name, for the long tail: ``talib:AROON`` and the like.

The function is asked at each candle about the last ``window`` candles alone. So its value does not depend on where the
series began, whatever the function remembers, at the price of some microseconds a candle; sums that TA-Lib runs from
the first candle on, such as those of OBV and AD, run from the window's.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from trading.candles import UNIT, Candle
from trading.errors import BadInput
from trading.features.contract import Feature, FeatureDef
from trading.parameters import Range, nearest

__all__ = ["PREFIX", "ta_lib", "ta_lib_definition"]

PREFIX = "talib:"
_LONGEST = 100_000
_FIELDS = ("open", "high", "low", "close", "volume")


class _Arrays:
    """The last ``size`` candles, one array a field, oldest first. Each candle is written once and moved seldom."""

    __slots__ = ("_end", "_fields", "_rows", "_size")

    def __init__(self, size: int, fields: tuple[str, ...]) -> None:
        self._fields = tuple(Candle._fields.index(name) for name in fields)
        self._size = size
        self.reset()

    def reset(self) -> None:
        self._rows: npt.NDArray[np.float64] = np.empty((len(self._fields), 2 * self._size))
        self._end = 0

    def next(self, candle: Candle) -> list[npt.NDArray[np.float64]]:
        size, rows = self._size, self._rows
        if self._end == 2 * size:
            rows[:, : size - 1] = rows[:, size + 1 :]
            self._end = size - 1
        for row, field in zip(rows, self._fields, strict=True):
            row[self._end] = candle[field] / UNIT  # type: ignore[operator]
        self._end += 1
        return [row[max(0, self._end - size) : self._end] for row in rows]


@cache
def ta_lib_definition(name: str) -> FeatureDef:
    """The feature ``talib:name``; BadInput when TA-Lib has no such function, or none that a candle can answer."""
    talib, abstract = _libraries()
    known = tuple(talib.get_functions())
    if name not in known:
        raise BadInput(
            f"TA-Lib has no function {name!r}.", field="kind", value=f"{PREFIX}{name}", fix=nearest(name, known)
        )
    info = abstract.Function(name).info
    fields = _inputs(name, info["input_names"])
    own: Mapping[str, int | float] = info["parameters"]
    params = namedtuple("Params", (*own, "window"), defaults=(*own.values(), 0))  # type: ignore[misc]
    function: Callable[..., Any] = getattr(talib, name)
    outputs = tuple(info["output_names"])

    def lookback(k: Any) -> int:
        return int(abstract.Function(name, **_own(k)).lookback)

    def size(k: Any) -> int:
        return int(k.window) or min(max(200, 40 * (lookback(k) + 1)), _LONGEST)

    def step(state: None, _candle: object, arrays: Any, k: Any) -> tuple[None, Any]:
        told = function(*arrays, **_own(k))
        if len(outputs) > 1:
            return state, tuple(float(line[-1]) for line in told)
        return state, float(told[-1])

    return FeatureDef(
        kind=f"{PREFIX}{name}",
        params=params,
        ranges={
            **{key: _range(value) for key, value in own.items()},
            "window": Range(0, _LONGEST),
        },
        start=None,
        step=step,
        need=lambda k: lookback(k) + 1,
        history=size,
        outputs=outputs if len(outputs) > 1 else (),
        source=lambda k: _Arrays(size(k), fields),
        check=lambda k: _check(name, k, lookback(k)),
    )


def _libraries() -> tuple[Any, Any]:
    """TA-Lib and its descriptions, 30 MB in memory: imported by whoever asks for one of its functions."""
    return import_module("talib"), import_module("talib.abstract")


def ta_lib(name: str, output: str = "", **params: int | float) -> Feature:
    """A function of TA-Lib with its own parameter names, such as ``ta_lib("AROON", "aroonup", timeperiod=25)``."""
    return ta_lib_definition(name).bind(params, output)


def _own(k: Any) -> dict[str, Any]:
    return {key: value for key, value in k._asdict().items() if key != "window"}


def _inputs(name: str, names: Mapping[str, Any]) -> tuple[str, ...]:
    fields = tuple(field for value in names.values() for field in ([value] if isinstance(value, str) else value))
    if not set(fields) <= set(_FIELDS):
        raise BadInput(
            f"TA-Lib's {name} wants more than candles: {', '.join(fields)}.",
            field="kind",
            value=f"{PREFIX}{name}",
            fix="Use a function of open, high, low, close and volume.",
        )
    return fields


def _range(default: int | float) -> Range:
    return Range(-_LONGEST, _LONGEST) if isinstance(default, int) else Range(-1e15, 1e15)


def _check(name: str, k: Any, lookback: int) -> None:
    """TA-Lib knows its own limits: for parameters that it does not take it tells no lookback."""
    own = _own(k)
    if lookback < 0:
        given = ", ".join(f"{key} {value}" for key, value in own.items())
        raise BadInput(
            f"TA-Lib's {name} does not take {given}.",
            field=next(iter(own)),
            value=next(iter(own.values())),
            fix=f"See TA-Lib's description of {name} for what each may be.",
        )
    if k.window and k.window <= lookback:
        raise BadInput(
            f"TA-Lib's {name} needs {lookback + 1} candles and window is {k.window}.",
            field="window",
            value=k.window,
            fix=f"Use at least {lookback + 1}, or 0 for a window that suits most functions.",
        )
