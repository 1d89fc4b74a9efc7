"""When a market's data is too old to trade on: an event on the way down, and one on the way up.

A market is *stale* when nothing new has come for two intervals by the venue's clock and its newest minute is as old, or
when its feed has had no living connection for ten seconds. It is *fresh* when its newest minute is younger than that.

The venue's clock runs at ``rate`` in a simulation, where a pause of this host is ``rate`` times as long for the venue,
so what counts as silence grows along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.condition import span_text
from trading.events import Event, EventKind
from trading.intervals import MINUTE_MS

__all__ = ["LINE_DOWN_S", "Freshness", "Standing", "Turn", "silence_limit_ms", "turn_event"]

LINE_DOWN_S = 10.0
_SILENT_INTERVALS = 2
_SIMULATED_PAUSE_S = 15.0


class Standing(NamedTuple):
    """What was last told of a market, since when (event time), and why."""

    stale: bool
    reason: str
    since_ms: int


class Turn(NamedTuple):
    """A market became stale, or fresh again, at ``at_ms`` of event time."""

    market: str
    stale: bool
    reason: str
    at_ms: int


def silence_limit_ms(rate: float) -> int:
    """How old the newest closed minute may be at the venue's clock."""
    pause_ms = round(_SIMULATED_PAUSE_S * 1000 * rate)
    return max(_SILENT_INTERVALS * MINUTE_MS, MINUTE_MS + pause_ms)


class Freshness:
    """The markets of one recorder. Pure: times are given; ``mono`` are seconds of a clock that nobody sets.

    Guarantees: turns of a market alternate between stale and fresh, beginning with the opposite of what is ``known``,
    so that each is told once, restarts or not. Silence is counted from ``start_ms`` at the earliest, and while a start
    catches up, however long that takes, there is none.
    """

    def __init__(
        self, markets: Mapping[str, int], start_ms: int, limit_ms: int, known: Mapping[str, Standing] | None = None
    ) -> None:
        self._newest = dict(markets)
        # The newest minute at the last look, and the time at the venue when it last was another one.
        self._seen = dict(markets)
        self._heard_ms = dict.fromkeys(markets, start_ms)
        self._limit_ms = limit_ms
        self._told = {market: standing for market, standing in (known or {}).items() if market in markets}
        self._down: dict[str, tuple[float, str]] = {}

    def line(self, mono: float, market: str, up: bool, reason: str) -> None:
        """The feed of ``market`` lost its last connection, or has data again."""
        if up:
            self._down.pop(market, None)
        elif market in self._newest:
            self._down.setdefault(market, (mono, reason))

    def closed(self, market: str, upto_ms: int) -> None:
        """Every minute of ``market`` before ``upto_ms`` is known."""
        self._newest[market] = max(self._newest[market], upto_ms)

    def look(self, mono: float, now_ms: Mapping[str, int]) -> list[Turn]:
        """What is news; ``now_ms`` is the present time at each market's venue, where it is known."""
        turns = []
        for market, venue_ms in now_ms.items():
            if self._newest[market] > self._seen[market]:
                self._seen[market], self._heard_ms[market] = self._newest[market], venue_ms
            told = self._told.get(market)
            was_stale = told is not None and told.stale
            reason = self._trouble(mono, market, venue_ms, was_stale)
            if bool(reason) == was_stale:
                continue
            if told is not None and was_stale:
                reason = f"was stale for {_span(venue_ms - told.since_ms)}"
            turns.append(Turn(market, not was_stale, reason, venue_ms))
            self._told[market] = Standing(not was_stale, reason, venue_ms)
        return turns

    def _trouble(self, mono: float, market: str, venue_ms: int, was_stale: bool) -> str:
        down = self._down.get(market)
        if down is not None and mono - down[0] >= LINE_DOWN_S:
            return f"its feed is down: {down[1]}"
        newest = self._newest[market]
        if venue_ms - newest < self._limit_ms or (not was_stale and venue_ms - self._heard_ms[market] < self._limit_ms):
            return ""
        return f"no closed minute for {_span(venue_ms - newest)}" if newest else "no closed minute yet"


def turn_event(turn: Turn, received_ns: int) -> Event:
    """The event on the market's stream; its cause names the one occurrence."""
    kind = EventKind.STALE if turn.stale else EventKind.FRESH
    return Event(
        kind=kind,
        event_time_ms=turn.at_ms,
        stream=turn.market,
        payload={"market": turn.market, "reason": turn.reason},
        cause_id=f"{kind}:{turn.market}:{turn.at_ms}",
        received_ns=received_ns,
    )


def _span(duration_ms: int) -> str:
    return span_text(max(0, duration_ms) / 1000)
