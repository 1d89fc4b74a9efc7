"""One score for every run: the same figures from the same trades and equity marks, whoever made them.

A figure that is not defined (no trade, no loss, less than two days) is None, never 0 and never infinity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal, localcontext
from itertools import pairwise
from math import fsum, sqrt
from typing import Any

from trading.accounts.books import MONEY
from trading.accounts.trades import Trade
from trading.intervals import DAY_MS

__all__ = ["DAYS_A_YEAR", "Drawdown", "EquityCurve", "Score", "daily_returns", "score", "sharpe", "sortino"]

DAYS_A_YEAR = 365
"""Crypto trades every day: annual figures use 365, not 252."""

_NO_VARIATION = 1e-12
"""Below this a deviation of daily returns is what rounding leaves of none."""


@dataclass(frozen=True, slots=True)
class Score:
    """``total_return``, ``max_drawdown``, ``win_rate`` and ``exposure`` are shares of one; money is in quote currency.

    ``trades`` counts closed ones; ``win_rate`` is the share of them with a ``pnl`` above zero and ``profit_factor``
    their gross profit over their gross loss. ``sharpe`` is mean over standard deviation (n - 1) of daily returns times
    sqrt(365), risk-free rate 0 (Sharpe 1994). ``sortino`` divides by the root mean square of the negative daily returns
    instead, target 0 (Sortino and van der Meer 1991). ``max_drawdown`` is the deepest fall from a peak, over all marks,
    as a share of the peak. ``exposure`` is the share of marks at which a position was held. ``days`` is how many daily
    returns stand behind ``sharpe`` and ``sortino``.
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
        """JSON-safe: money as text without trailing zeros."""
        return {
            name: format(MONEY.normalize(value), "f") if isinstance(value, Decimal) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Drawdown:
    """A fall from a peak: ``share`` of the peak, its three times, the last None while equity is still below the peak.

    ``peak_ms`` is the last mark before the fall at which equity was highest, or the start.
    """

    share: float
    peak_ms: int
    trough_ms: int
    recovered_ms: int | None


@dataclass(slots=True)
class EquityCurve:
    """What a score needs of equity marks, in the memory of one number a day.

    ``add`` takes them in order of time. A mark at midnight UTC ends its day; days without marks keep their value.
    """

    capital: Decimal
    start_ms: int
    last: Decimal = field(init=False)
    marks: int = field(init=False, default=0)
    held: int = field(init=False, default=0)
    _day: int = field(init=False)
    _closed_days: list[Decimal] = field(init=False, default_factory=list)
    _peak: Decimal = field(init=False)
    _peak_ms: int = field(init=False)
    _trough: Decimal = field(init=False)
    _trough_ms: int = field(init=False)
    _deepest: Drawdown | None = field(init=False, default=None)
    _longest_ms: int = field(init=False, default=0)
    last_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.last = self._peak = self._trough = self.capital
        self.last_ms = self._peak_ms = self._trough_ms = self.start_ms
        self._day = self.start_ms // DAY_MS

    @classmethod
    def of(cls, marks: Iterable[tuple[int, Decimal, bool]], capital: Decimal, start_ms: int) -> EquityCurve:
        """The curve of marks (close time ms, equity, whether a position is held)."""
        curve = cls(capital, start_ms)
        for time_ms, equity, held in marks:
            curve.add(time_ms, equity, held)
        return curve

    def add(self, time_ms: int, equity: Decimal, held: bool) -> None:
        self.add_turns([(time_ms, equity)], 1, held)

    def add_turns(self, turns: Iterable[tuple[int, Decimal]], marks: int, held: bool) -> None:
        """Add ``marks`` marks of which only ``turns`` matter, while a position was ``held`` or not.

        These are, in order: each that is not below any before it, the first of the lowest between two of them and after
        the last, the last of each day, and the last of all. More of them do no harm.
        """
        for time_ms, equity in turns:
            self._turn(time_ms, equity)
        self.marks += marks
        self.held += held * marks

    @property
    def peak(self) -> Decimal:
        """The highest equity so far; the capital at first."""
        return self._peak

    def _turn(self, time_ms: int, equity: Decimal) -> None:
        day = (time_ms - 1) // DAY_MS
        while day > self._day:
            self._closed_days.append(self.last)
            self._day += 1
        self.last = equity
        self.last_ms = time_ms
        if equity >= self._peak:
            if self._trough < self._peak:
                self._deepest, self._longest_ms = self._deeper(time_ms), self._longer(time_ms)
            self._peak = self._trough = equity
            self._peak_ms = self._trough_ms = time_ms
        elif equity < self._trough:
            self._trough, self._trough_ms = equity, time_ms

    @property
    def daily(self) -> list[Decimal]:
        """The capital, then equity at the end of each UTC day, also of the last one, which may be unfinished."""
        return [self.capital, *self._closed_days, *([self.last] if self.marks else [])]

    @property
    def max_drawdown(self) -> float:
        deepest = self.deepest
        return deepest.share if deepest is not None else 0.0

    @property
    def deepest(self) -> Drawdown | None:
        """The deepest fall, the earliest of equal ones; None if equity was never below a peak."""
        return self._deeper(None)

    @property
    def longest_ms(self) -> int:
        """The longest time from a peak until equity was back at it, or until the end."""
        return self._longer(self.last_ms)

    def _deeper(self, recovered_ms: int | None) -> Drawdown | None:
        """The deepest fall so far, with the one under way, which ended at ``recovered_ms``."""
        if self._trough >= self._peak:
            return self._deepest
        with localcontext(MONEY):
            share = float((self._peak - self._trough) / self._peak)
        if self._deepest is not None and self._deepest.share >= share:
            return self._deepest
        return Drawdown(share, self._peak_ms, self._trough_ms, recovered_ms)

    def _longer(self, until_ms: int) -> int:
        return max(self._longest_ms, until_ms - self._peak_ms if self._trough < self._peak else 0)


def score(trades: Sequence[Trade], equity: EquityCurve) -> Score:
    """Score a run of these trades whose money went this way."""
    closed = [trade.pnl for trade in trades if trade.pnl is not None]
    gains = [pnl for pnl in closed if pnl > 0]
    losses = [-pnl for pnl in closed if pnl < 0]
    returns = daily_returns(equity.daily)
    with localcontext(MONEY):
        return Score(
            trades=len(closed),
            open_trades=len(trades) - len(closed),
            total_return=float(equity.last / equity.capital - 1),
            final_equity=equity.last,
            sharpe=sharpe(returns),
            sortino=sortino(returns),
            max_drawdown=equity.max_drawdown,
            win_rate=len(gains) / len(closed) if closed else None,
            profit_factor=float(sum(gains) / sum(losses)) if losses else None,
            fees=sum((trade.fees for trade in trades), Decimal(0)),
            exposure=equity.held / equity.marks if equity.marks else None,
            days=len(returns),
        )


def daily_returns(values: Iterable[Decimal]) -> list[float]:
    """Returns from day to day; none at all when the money was gone on some day, because what follows has no meaning."""
    floats = [float(value) for value in values]
    if min(floats) <= 0:
        return []
    return [after / before - 1 for before, after in pairwise(floats)]


def sharpe(returns: Sequence[float]) -> float | None:
    """As ``Score`` says; None for less than two returns, or equal ones."""
    if len(returns) < 2:
        return None
    mean = fsum(returns) / len(returns)
    deviation = sqrt(fsum((value - mean) ** 2 for value in returns) / (len(returns) - 1))
    return mean / deviation * sqrt(DAYS_A_YEAR) if deviation > _NO_VARIATION else None


def sortino(returns: Sequence[float]) -> float | None:
    """As ``Score`` says; None for less than two returns, or none below zero."""
    if len(returns) < 2:
        return None
    downside = sqrt(fsum(min(value, 0.0) ** 2 for value in returns) / len(returns))
    return fsum(returns) / len(returns) / downside * sqrt(DAYS_A_YEAR) if downside > _NO_VARIATION else None
