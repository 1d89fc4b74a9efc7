"""One score for every run: the same figures from the same trades and equity marks, whoever made them.

A figure that is not defined (no trade, no loss, less than two days) is None, never 0 and never infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, localcontext
from itertools import pairwise
from math import fsum, sqrt
from typing import Any

from trading.accounts.books import MONEY
from trading.accounts.trades import Trade
from trading.intervals import DAY_MS

__all__ = ["Score", "daily_equity", "score"]

_DAYS_A_YEAR = 365
"""Crypto trades every day: annual figures use 365, not 252."""

_NO_VARIATION = 1e-12
"""Below this a deviation of daily returns is what rounding leaves of none."""


@dataclass(frozen=True, slots=True)
class Score:
    """``total_return``, ``max_drawdown``, ``win_rate`` and ``exposure`` are shares of one; money is in quote currency.

    ``sharpe`` is mean over standard deviation (n - 1) of daily returns times sqrt(365), risk-free rate 0 (Sharpe 1994).
    ``sortino`` divides by the root mean square of the negative daily returns instead (Sortino and van der Meer 1991).
    ``max_drawdown`` is the deepest fall from a peak over all marks. ``profit_factor`` is gross profit over gross loss
    of closed trades. ``days`` is how many daily returns stand behind ``sharpe`` and ``sortino``.
    """

    trades: int
    open_trades: int
    total_return: float
    final_equity: Decimal
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    win_rate: float | None
    profit_factor: float | None
    fees: Decimal
    exposure: float | None
    days: int

    def to_dict(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(self).items()}


def score(
    trades: Sequence[Trade],
    equity: Sequence[tuple[int, Decimal]],
    capital: Decimal,
    start_ms: int,
    *,
    minutes_held: int | None = None,
) -> Score:
    """Score a run that began with ``capital`` at ``start_ms``.

    ``equity`` holds (close time ms, equity) at every mark in order of time; ``minutes_held`` is at how many of them a
    position was open.
    """
    closed = [trade.pnl for trade in trades if trade.pnl is not None]
    gains = [pnl for pnl in closed if pnl > 0]
    losses = [-pnl for pnl in closed if pnl < 0]
    final = equity[-1][1] if equity else capital
    returns = _returns([float(value) for value in daily_equity(equity, capital, start_ms)])
    with localcontext(MONEY):
        return Score(
            trades=len(closed),
            open_trades=len(trades) - len(closed),
            total_return=float(final / capital - 1),
            final_equity=final,
            sharpe=_sharpe(returns),
            sortino=_sortino(returns),
            max_drawdown=_max_drawdown(equity, capital),
            win_rate=len(gains) / len(closed) if closed else None,
            profit_factor=float(sum(gains) / sum(losses)) if losses else None,
            fees=sum((trade.fees for trade in trades), Decimal(0)),
            exposure=minutes_held / len(equity) if equity and minutes_held is not None else None,
            days=len(returns),
        )


def daily_equity(equity: Sequence[tuple[int, Decimal]], capital: Decimal, start_ms: int) -> list[Decimal]:
    """Equity at the start and then at each UTC midnight after it (the last mark at or before), and at the end.

    The last, unfinished day counts as one when it holds a mark.
    """
    values = [capital]
    last = capital
    midnight_ms = (start_ms // DAY_MS + 1) * DAY_MS
    pending = False
    for time_ms, value in equity:
        while time_ms > midnight_ms:
            values.append(last)
            midnight_ms += DAY_MS
            pending = False
        last, pending = value, True
    if pending:
        values.append(last)
    return values


def _returns(values: list[float]) -> list[float]:
    """Daily returns; none at all when the money was gone on some day, because what follows has no meaning."""
    if min(values) <= 0:
        return []
    return [after / before - 1 for before, after in pairwise(values)]


def _sharpe(returns: list[float]) -> float | None:
    if len(returns) < 2:
        return None
    mean = fsum(returns) / len(returns)
    deviation = sqrt(fsum((value - mean) ** 2 for value in returns) / (len(returns) - 1))
    return mean / deviation * sqrt(_DAYS_A_YEAR) if deviation > _NO_VARIATION else None


def _sortino(returns: list[float]) -> float | None:
    if len(returns) < 2:
        return None
    downside = sqrt(fsum(min(value, 0.0) ** 2 for value in returns) / len(returns))
    return fsum(returns) / len(returns) / downside * sqrt(_DAYS_A_YEAR) if downside > _NO_VARIATION else None


def _max_drawdown(equity: Sequence[tuple[int, Decimal]], capital: Decimal) -> float:
    peak = float(capital)
    deepest = 0.0
    for _, exact in equity:
        value = float(exact)
        if value > peak:
            peak = value
        elif (fall := 1 - value / peak) > deepest:
            deepest = fall
    return deepest
