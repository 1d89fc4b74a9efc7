"""Which engine a sweep runs on is tried before it starts, and the slow one says how slow it is."""

from __future__ import annotations

import re

from backtest.sweep.engines import engine_on
from tests.backtest.sweep.kernel.test_equals_reference import request, source_of
from tests.backtest.sweep.kernel.test_own_strategies import BEGIN, NOT_COMPILED, own
from tests.trading.series import random_minutes


def times(words: str) -> int:
    found = re.search(r"here ([\d,]+) times slower", words)
    assert found is not None, words
    return int(found[1].replace(",", ""))


def test_what_numba_refuses_says_why_and_how_much_slower_it_is() -> None:
    source = source_of(random_minutes(BEGIN, 900, 3, extras=False))
    engine, why = engine_on(request("mine", source=own({"high": "highest(p.period)"}, NOT_COMPILED)), source)
    assert engine == "reference"
    assert "Numba does not compile this strategy (" in why
    assert times(why) > 5


def test_what_the_kernel_does_not_do_is_not_tried() -> None:
    source = source_of(random_minutes(BEGIN, 900, 3, extras=False))
    engine, why = engine_on(request("ma44").model_copy(update={"intervals": ("5m", "1h")}), source)
    assert engine == "reference"
    assert why.endswith("2 intervals, and the kernel on one")


def test_what_is_compiled_says_so() -> None:
    source = source_of(random_minutes(BEGIN, 900, 3, extras=False))
    assert engine_on(request("ma44"), source)[0] == "kernel"


def test_too_little_to_try_is_left_to_the_sweep() -> None:
    source = source_of(random_minutes(BEGIN, 50, 3, extras=False))
    assert engine_on(request("ma44", "1h"), source)[0] == "kernel"
