"""Numba is loaded when a kernel is made, and by nothing that decides whether one can be."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASKS = """
import sys
from backtest.requests import BacktestRequest
from backtest.sweep.kernel import why_not
asked = BacktestRequest(strategy="sma_cross", market="binance:BTCUSDT", intervals=("1h",))
print(why_not(asked), "numba" in sys.modules)
"""


@pytest.mark.covers("S1-42")
def test_asking_whether_a_kernel_can_do_it_loads_no_compiler() -> None:
    told = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["None", "False"]
