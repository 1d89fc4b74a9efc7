"""Every kind of feature by name."""

from __future__ import annotations

from collections.abc import Mapping

from trading.errors import BadInput
from trading.features import sma
from trading.features.contract import Feature, FeatureDef
from trading.parameters import nearest

__all__ = ["FEATURES", "load_feature"]

FEATURES: Mapping[str, FeatureDef] = {definition.kind: definition for definition in (sma.DEFINITION,)}


def load_feature(kind: str, params: Mapping[str, object]) -> Feature:
    """The feature of this kind and parameters; BadInput names what is wrong and the fix."""
    definition = FEATURES.get(kind)
    if definition is None:
        raise BadInput(f"There is no feature {kind!r}.", field="kind", value=kind, fix=nearest(kind, FEATURES))
    return definition.bind(params)
