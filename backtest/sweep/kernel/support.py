"""Which backtests the compiled kernel can do; every other goes to the reference engine, which can do all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trading.config.rules import NO_ENTRIES, NO_EXITS
from trading.strategies.contract import Strategy
from trading.strategies.registry import load_strategy

if TYPE_CHECKING:
    from backtest.requests import BacktestRequest

__all__ = ["why_not"]


def why_not(request: BacktestRequest) -> str | None:
    """Why ``request`` must go to the reference engine, in words; None: the kernel does it."""
    strategy = load_strategy(request.strategy, request.params, request.source)
    return next(_reasons(request, strategy), None)


def _reasons(request: BacktestRequest, strategy: Strategy) -> Iterator[str]:
    if len(request.intervals) != 1:
        yield f"it decides on {len(request.intervals)} intervals, and the kernel on one"
    if strategy.entry is not None:
        yield "its strategy defines entry, whose orders rest until their price"
    if request.entries.order_type != "market":
        yield f"its entries are {request.entries.order_type} orders, which rest until their price"
    if strategy.start is not None and "lots" in strategy.start._fields:
        yield from _lots_reasons(request, strategy)
    costs = request.costs
    if costs.slippage_of_range:
        yield "its slippage depends on the range of the minute"
    if costs.entry_share_of_volume is not None:
        yield "its entries get a share of the minute's volume"
    if costs.order_latency_minutes:
        yield "its orders take minutes to arrive"


def _lots_reasons(request: BacktestRequest, strategy: Strategy) -> Iterator[str]:
    for name in ("bracket", "sizing"):
        if getattr(strategy, name) is not None:
            yield f"its strategy holds several lots and defines {name}"
    if request.exits != NO_EXITS:
        yield "it has exits, which the kernel does not know where a strategy holds several lots"
    if request.entries.model_copy(update={"long_only": False}) != NO_ENTRIES:
        yield "its entries are limited by more than long_only, and its strategy holds several lots"
