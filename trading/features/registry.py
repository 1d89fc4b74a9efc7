"""Every kind of feature by name, and any function of TA-Lib as ``talib:NAME``."""

from __future__ import annotations

from collections.abc import Mapping

from trading.errors import BadInput
from trading.features import averages, extremes, momentum, price_gap, ranges, sma, stochastic, trend, volume, vwap
from trading.features.contract import Feature, FeatureDef
from trading.parameters import nearest

__all__ = ["FEATURES", "load_feature"]

FEATURES: Mapping[str, FeatureDef] = {
    definition.kind: definition
    for definition in (
        sma.DEFINITION,
        averages.EMA,
        averages.RMA,
        momentum.RSI,
        momentum.MACD,
        ranges.TRANGE,
        ranges.ATR,
        ranges.BOLLINGER,
        ranges.RETURNS,
        ranges.VOLATILITY,
        vwap.VWAP,
        volume.VOLUME_MEAN,
        volume.VOLUME_SPIKE,
        volume.OBV,
        stochastic.STOCHASTIC,
        trend.ADX,
        price_gap.PRICE_GAP,
        extremes.HIGHEST,
        extremes.LOWEST,
    )
}


def load_feature(kind: str, params: Mapping[str, object], output: str = "") -> Feature:
    """The feature of this kind and parameters, at ``output``; BadInput names what is wrong and the fix."""
    return _definition(kind).bind(params, output)


def _definition(kind: str) -> FeatureDef:
    library, colon, name = kind.partition(":")
    if colon and library == "talib":
        # Only who asks for it pays for numpy.
        from trading.features.ta_lib import ta_lib_definition

        return ta_lib_definition(name)
    definition = FEATURES.get(kind)
    if definition is None:
        fix = nearest(kind, FEATURES)
        raise BadInput(f"There is no feature {kind!r}.", field="kind", value=kind, fix=fix)
    return definition
