"""Features are named records; a wrong one is refused with the fix."""

from __future__ import annotations

import pytest

from trading.errors import BadInput
from trading.features.registry import FEATURES, load_feature
from trading.features.sma import sma


@pytest.mark.covers("S1-15")
def test_a_feature_is_a_kind_with_parameters() -> None:
    feature = load_feature("sma", {"period": 44})
    assert feature == sma(44)
    assert hash(feature) == hash(sma(44))
    assert feature != sma(45)
    assert (feature.need, feature.history, feature.params_dict()) == (44, 44, {"period": 44})


def test_a_whole_number_may_be_written_as_a_decimal() -> None:
    assert load_feature("sma", {"period": 44.0}) == sma(44)


@pytest.mark.parametrize(
    ("kind", "params", "field", "value", "fix"),
    [
        ("smaa", {"period": 44}, "kind", "smaa", "Did you mean 'sma'?"),
        ("xyz", {"period": 44}, "kind", "xyz", f"Use one of: {', '.join(FEATURES)}."),
        ("sma", {"period": 0}, "period", 0, "Use a whole number from 1 to 10000."),
        ("sma", {"period": 10_001}, "period", 10_001, "Use a whole number from 1 to 10000."),
        ("sma", {"period": 4.5}, "period", 4.5, "Use a whole number from 1 to 10000."),
        ("sma", {"period": True}, "period", True, "Use a whole number from 1 to 10000."),
        ("sma", {"period": "44"}, "period", "44", "Use a whole number from 1 to 10000."),
        ("sma", {"period": float("nan")}, "period", None, "Use a whole number from 1 to 10000."),
        ("sma", {"period": float("inf")}, "period", float("inf"), "Use a whole number from 1 to 10000."),
        ("sma", {"perod": 44}, "perod", 44, "Did you mean 'period'?"),
        ("sma", {}, "period", None, "Give a whole number from 1 to 10000."),
    ],
)
def test_a_bad_feature_names_field_value_and_fix(
    kind: str, params: dict[str, object], field: str, value: object, fix: str
) -> None:
    with pytest.raises(BadInput) as caught:
        load_feature(kind, params)
    assert caught.value.field == field
    assert caught.value.fix == fix
    if value is not None:
        assert caught.value.value == value
