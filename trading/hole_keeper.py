"""What is to be done about a market's missing minutes, decided anew every few minutes. Without I/O.

First its own venue is asked. What that does not tell by the next look, or will never tell, a second venue may lend.
What is left keeps a reason, until somebody tells it after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trading.intervals import MINUTE_MS
from trading.markets import split_market
from trading.spans import Span, cut_span

__all__ = ["HORIZON", "OUTAGE", "HoleKeeper", "Look", "Why"]

HORIZON = "horizon"
OUTAGE = "outage"


class Why(NamedTuple):
    """Why the minutes of the open holes within [``from_ms``, ``to_ms``) are still missing; empty: nobody knows."""

    market: str
    from_ms: int
    to_ms: int
    why: str
    text: str


class Look(NamedTuple):
    """``ask`` the venue for these, ``forget`` those that it will never show, have ``lend`` from the second venue; and
    what is to be stored of why they are missing, where that has changed.
    """

    ask: tuple[Span, ...]
    forget: tuple[Span, ...]
    lend: tuple[Span, ...]
    why: tuple[Why, ...]


class HoleKeeper:
    """One market's missing minutes from look to look. Nothing here is durable: after a restart all is told once more.

    A minute is lent when the venue shows it no more, or when it was open at the look before as well.
    """

    def __init__(self, market: str) -> None:
        self.market = market
        self._venue = split_market(market)[0]
        self._before: list[Span] = []
        self._told: dict[Span, str] = {}

    def look(
        self, holes: Sequence[Span], *, now_ms: int, horizon_ms: int | None = None, rest_error: str | None = None
    ) -> Look:
        """``holes`` are the open ones, ascending; ``horizon_ms`` is how far back the venue shows minutes at all."""
        edge_ms = 0 if horizon_ms is None else (now_ms - horizon_ms) // MINUTE_MS * MINUTE_MS
        forget = [(start, min(end, edge_ms)) for start, end in holes if start < edge_ms]
        ask = [(max(start, edge_ms), end) for start, end in holes if end > edge_ms]
        lend = sorted([*forget, *_both(ask, self._before)])
        why: dict[Span, Why] = {}
        for start, end in holes:
            if horizon_ms is not None and end <= edge_ms:
                text = f"{self._venue} shows the last {horizon_ms // MINUTE_MS:,} minutes only"
                why[start, end] = Why(self.market, start, end, HORIZON, text)
            elif rest_error is not None:
                why[start, end] = Why(self.market, start, end, OUTAGE, f"{self._venue} does not answer: {rest_error}")
            else:
                why[start, end] = Why(self.market, start, end, "", "")
        news = tuple(each for span, each in why.items() if self._told.get(span) != each.why)
        self._told = {span: each.why for span, each in why.items()}
        self._before = list(holes)
        return Look(tuple(ask), tuple(forget), tuple(lend), news)


def _both(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """What is in both."""
    found: list[Span] = []
    for start, end in spans:
        left = [(start, end)]
        for low, high in others:
            left = cut_span(left, low, high)
        inside = [(start, end)]
        for low, high in left:
            inside = cut_span(inside, low, high)
        found += inside
    return found
