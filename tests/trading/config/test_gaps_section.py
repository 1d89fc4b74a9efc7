"""The section ``gaps``: what it refuses, and what it makes Manta keep."""

import pytest
from pydantic import ValidationError

from trading.config.model import Config, Gaps


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timezone": "Europe/Berlinn"}, "Europe/Berlinn"),
        ({"timezone": "../etc/passwd"}, "no time zone"),
        ({"timezone": "Europe"}, "no time zone"),
        ({"mode": "fuzzy"}, "b2dir"),
        ({"type": "sideways"}, "both"),
        ({"intervals": ["7x"]}, "7x"),
        ({"intervals": []}, "at least 1"),
        ({"min_size": "-1"}, "greater than or equal to 0"),
        ({"min_size": "0.000000001"}, "8 decimal"),
        ({"recent_bars": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Gaps.model_validate(given)


def test_a_market_that_is_not_recorded_cannot_be_watched() -> None:
    with pytest.raises(ValidationError, match="add it to markets"):
        Config.model_validate({"gaps": {"markets": ["binance:ETHUSDT"]}})


def test_candles_are_kept_for_what_is_watched_and_no_longer_for_what_is_not() -> None:
    watched = Config.model_validate({"intervals": ["37m"], "gaps": {"intervals": ["60M", "4H"]}})
    assert watched.all_intervals() == ("37m", "1h", "4h")
    assert Config.model_validate({"intervals": ["37m"], "gaps": {"enabled": False}}).all_intervals() == ("37m",)
