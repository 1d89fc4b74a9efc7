"""Intervals by how long they are; their names, anchors and aliases are tested with the folding."""

from __future__ import annotations

import pytest

from trading.errors import BadInput
from trading.intervals import longer_interval


def test_the_next_longer_interval_is_one_that_charts_have() -> None:
    found = {name: longer_interval(name, 5) for name in ("1m", "5m", "37m", "1h", "148m", "4h", "1d", "3d")}
    assert found == {
        "1m": "5m", "5m": "30m", "37m": "4h", "1h": "8h", "148m": "1d", "4h": "1d", "1d": "1w", "3d": "1M",
    }  # fmt: skip
    assert longer_interval("5m", 12) == "1h"
    assert longer_interval("37m", 4) == "148m"
    with pytest.raises(BadInput, match="No interval is 5 times as long as 1w: the longest is 1M") as caught:
        longer_interval("1w", 5)
    assert (caught.value.field, caught.value.value) == ("interval", "1w")
