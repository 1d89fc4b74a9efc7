"""A feature over all candles of one interval at once: its own step, compiled, from the first candle to the last.

A program computes the features of the candles that are decided on as it goes; those of another interval are computed
so.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.sweep.kernel import program
from backtest.sweep.kernel.columns import Bar, kind_table
from backtest.sweep.kernel.recorded import is_compiled
from trading.candle_columns import Integers
from trading.candle_series import CandleSeries
from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef

__all__ = ["lane_columns", "takes"]

_MOST_EXACT = 2**53


def takes(feature: Feature, series: CandleSeries) -> bool:
    """Whether compiled code computes ``feature`` of the candles ``series``, with sums that are exact."""
    if not len(series) or not program.has_step(feature.definition):
        return False
    is_exact = int(series.high.max()) * (feature.need + 1) < _MOST_EXACT
    return is_exact and is_compiled(feature, int(series.volume.max()))


def lane_columns(
    feature: Feature, series: CandleSeries, whole: NDArray[np.bool_], starts: Integers
) -> NDArray[np.float64]:
    """A row for each output of ``feature``, with its value at the close of each candle, NaN where it is not known.

    Features begin anew at each of ``starts``, and of candles that are not ``whole`` nothing is known. Whatever Numba
    raises is raised.
    """
    definition = feature.definition
    bars = np.stack([series.open, series.high, series.low, series.close, series.volume])
    found = np.full((max(1, len(definition.outputs)), len(series) + 1), np.nan)
    _run_of(definition)(bars, starts, kind_table(definition, [feature.params], 0, [0]), found)
    found[:, 1:][:, ~whole] = np.nan
    return found[:, 1:]


def _run_of(definition: FeatureDef) -> Any:
    reached: dict[int, FunctionType] = {}
    step = program.reached(definition.step, reached)
    text = "\n\n".join([_HEAD, program.recurrence_text("feature", 0, definition, 1), _RUN])
    sources = sorted({program.source_text(function) for function in reached.values()})
    return program.loaded(
        program.name_of("lane", text, *sources),
        text,
        lambda: {
            "Bar": Bar,
            "Params0": definition.params,
            "State0": type(program.start_of(definition)),
            "step0": program.compiled(step, UNIT, {}),
        },
    ).run


_HEAD = """
import numpy as np
from numba import njit
"""

_RUN = """
@njit(cache=True)
def run(bars, starts, kind, found):
    for n in range(len(starts)):
        end = starts[n + 1] if n + 1 < len(starts) else bars.shape[1]
        feature(bars, 0, kind, 0, starts[n], starts[n], end, 0, found)
"""
