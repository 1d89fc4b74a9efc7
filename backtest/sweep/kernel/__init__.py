"""Compiled backtests of many combinations of parameters at once, equal to the reference in every trade.

``docs/sweeps-kernel.md`` explains how. Numba is loaded when a ``KernelEvaluator`` is made and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.sweep.kernel.support import why_not

if TYPE_CHECKING:
    from backtest.sweep.kernel.evaluate import KernelEvaluator

__all__ = ["KernelEvaluator", "why_not"]


def __getattr__(name: str) -> Any:
    if name == "KernelEvaluator":
        from backtest.sweep.kernel.evaluate import KernelEvaluator

        return KernelEvaluator
    raise AttributeError(name)
