"""What the recorder holds between the feeds and storage: a bounded part of every market, in order.

While Postgres commits, what comes is kept and merged, so that one commit takes all of it. While Postgres is away, the
newest candles are kept: beyond the capacity the oldest are dropped, told as missing, and fetched again by the feed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from trading.candles import Candle, Hole, HoleReason, Source
from trading.clock import TimeSample
from trading.events import Batch, Heal, StreamItem, end_ms, start_ms
from trading.feed_events import Anomaly
from trading.invariants import require
from trading.spans import Span, add_span

__all__ = ["Ack", "Offered", "Portion", "Recording", "weight"]

MOST = 5_000
"""Weight that one commit takes at most, beyond the first batch."""


class Offered(StrEnum):
    """What became of a batch. TAKEN: held, or known already. FULL: offer it again when there is room. BEHIND: it starts
    after what is known here, so something before it was lost: tell that first.
    """

    TAKEN = "taken"
    FULL = "full"
    BEHIND = "behind"


class Ack(NamedTuple):
    """The recorder's answer to a push.

    ``upto_ms`` is how far it knows the market, ``stored`` whether everything it took is committed. Until then it may be
    lost with the process ``epoch``, which ``ticket`` can be asked about. ``lost`` are minutes [from, to) that were
    told and then dropped: fetch them again.
    """

    epoch: int
    ticket: int
    upto_ms: int
    stored: bool
    behind: bool
    lost: tuple[Span, ...] = ()


class Portion(NamedTuple):
    """One market's part of a commit: what moves it from ``prev_ms`` to ``upto_ms``, and notes about what it lacks."""

    market: str
    prev_ms: int
    upto_ms: int
    items: tuple[StreamItem, ...]
    notes: tuple[Anomaly, ...]
    clock: TimeSample | None

    def pieces(self, limit: int) -> Iterator[tuple[int, int, tuple[StreamItem, ...]]]:
        """``prev_ms``, ``upto_ms`` and at most ``limit`` items of each part; one without items when there are none."""
        at_ms = self.prev_ms
        for place in range(0, max(1, len(self.items)), limit):
            part = self.items[place : place + limit]
            told = [end_ms(item) for item in part if isinstance(item, Candle | Hole)]
            last = place + limit >= len(self.items)
            upto_ms = self.upto_ms if last else max([at_ms, *told])
            yield at_ms, upto_ms, part
            at_ms = upto_ms


@dataclass(slots=True)
class _Line:
    """One market. committed ≤ flying ≤ accepted; ``waiting`` lies between flying and accepted."""

    committed_ms: int
    flying_ms: int
    accepted_ms: int
    waiting: deque[StreamItem] = field(default_factory=deque)
    weight: int = 0
    dropped: Span | None = None
    lost: list[Span] = field(default_factory=list)
    clock: TimeSample | None = None
    ticket: int = 0
    flying_ticket: int = 0
    stored_ticket: int = 0


class Recording:
    """All markets of a recorder, without I/O.

    Guarantees: what ``take`` gives for a market covers, over all commits, every minute that was offered exactly once
    and in order, dropped ones as one missing hole each run; what is dropped is named in an ``ack`` after it was
    committed as missing; a market holds at most ``capacity`` plus one batch, beside what is being committed. Nothing
    here is durable: after a restart give the committed ``positions``; a feed that told more is BEHIND.
    """

    def __init__(self, positions: Mapping[str, int], capacity: int) -> None:
        self._capacity = capacity
        self._lines = {market: _Line(at_ms, at_ms, at_ms) for market, at_ms in positions.items()}
        self._flying: tuple[Portion, ...] = ()
        self._dropped = self._overflows = self._most = 0

    def committed_ms(self, market: str) -> int:
        """Close time up to which every minute is committed; 0 before the first."""
        return self._lines[market].committed_ms

    def accepted_ms(self) -> dict[str, int]:
        """By market, the close time up to which every minute is here, committed or not; 0 before the first."""
        return {market: line.accepted_ms for market, line in self._lines.items()}

    @property
    def waiting(self) -> bool:
        """Whether there is something to ``take``."""
        return any(_has_news(line) for line in self._lines.values())

    @property
    def flying(self) -> bool:
        """Whether what ``take`` gave is still being committed."""
        return bool(self._flying)

    @property
    def overflowing(self) -> bool:
        """Whether something was dropped that is not stored as missing yet."""
        return any(line.dropped is not None for line in self._lines.values())

    def offer(self, batch: Batch, *, away: bool) -> Offered:
        """Take ``batch``, if its market has room; ``away``: Postgres is not there, so no room can be hoped for.

        Only what comes from a stream makes room for itself then: what came from REST can wait at REST.
        """
        line = self._lines[batch.market]
        if batch.prev_ms > line.accepted_ms:
            return Offered.BEHIND
        fresh = [item for each in batch.items if (item := _after(each, line.accepted_ms)) is not None]
        added = sum(map(weight, fresh))
        if line.weight and line.weight + added > self._capacity and not (away and _is_live(fresh)):
            return Offered.FULL
        if fresh or batch.upto_ms > line.accepted_ms:
            line.waiting.extend(fresh)
            line.weight += added
            line.accepted_ms = max(line.accepted_ms, batch.upto_ms)
            line.clock = batch.clock or line.clock
            line.ticket += 1
        if away and _is_live(fresh):
            self._make_room(line)
        if away:
            self._most = max(self._most, line.weight)
        return Offered.TAKEN

    def take(self) -> tuple[Portion, ...]:
        """What is to be committed next, of as many markets as fit into one commit; empty when nothing waits."""
        require(not self._flying, "the last commit is not done")
        portions: list[Portion] = []
        total = 0
        for market, line in self._lines.items():
            if _has_news(line) and (not portions or total + line.weight <= MOST):
                total += line.weight
                portions.append(self._portion(market, line))
        # Whoever did not fit comes first the next time.
        for portion in portions:
            self._lines[portion.market] = self._lines.pop(portion.market)
        self._flying = tuple(portions)
        return self._flying

    def done(self) -> None:
        """What ``take`` gave is committed."""
        for portion in self._flying:
            line = self._lines[portion.market]
            line.committed_ms = portion.upto_ms
            line.stored_ticket = line.flying_ticket
            for note in portion.notes:
                line.lost = add_span(line.lost, note.from_ms, note.to_ms)
        self._flying = ()

    def stored(self, market: str, ticket: int) -> bool:
        """Whether everything up to ``ticket`` is committed."""
        return self._lines[market].stored_ticket >= ticket

    def ack(self, market: str, epoch: int, *, behind: bool = False) -> Ack:
        """The answer to the feed; what it names as lost is not named again."""
        line = self._lines[market]
        lost, line.lost = tuple(line.lost), []
        return Ack(epoch, line.ticket, line.accepted_ms, line.stored_ticket >= line.ticket, behind, lost)

    def facts(self) -> dict[str, Any]:
        """Figures for metrics: candles held now, in one market at most while Postgres was away, and dropped since the
        start.
        """
        return {
            "positions": {market: line.committed_ms for market, line in self._lines.items() if line.committed_ms},
            "buffered": sum(line.weight for line in self._lines.values()),
            "buffered_most": self._most,
            "dropped_candles": self._dropped,
            "overflows": self._overflows,
        }

    def validate(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        for market, line in self._lines.items():
            require(line.committed_ms <= line.flying_ms <= line.accepted_ms, market, line)
            require(line.stored_ticket <= line.flying_ticket <= line.ticket, market, line)
            require(line.weight == sum(map(weight, line.waiting)), market, line.weight)
            at_ms = line.dropped[1] if line.dropped else 0
            for item in line.waiting:
                if not isinstance(item, Heal | Candle | Hole):
                    raise AssertionError(f"{market}: holds a {type(item).__name__}")
                if not isinstance(item, Heal):
                    require(line.flying_ms < end_ms(item) <= line.accepted_ms, market, item)
                    require(start_ms(item) >= at_ms, market, item)
                    at_ms = end_ms(item)

    def _make_room(self, line: _Line) -> None:
        before = line.dropped
        while line.weight > self._capacity:
            item = line.waiting.popleft()
            line.weight -= weight(item)
            if isinstance(item, Heal):
                # Its hole is stored, or told, as missing, and stays that until it is fetched again.
                line.lost = add_span(line.lost, item.from_ms, item.to_ms)
            elif isinstance(item, Candle | Hole):
                from_ms = start_ms(item) if line.dropped is None else line.dropped[0]
                line.dropped = from_ms, end_ms(item)
                self._dropped += isinstance(item, Candle)
        self._overflows += before is None and line.dropped is not None

    def _portion(self, market: str, line: _Line) -> Portion:
        items, notes = list(line.waiting), []
        if line.dropped is not None:
            detail = f"Postgres was away, and more than {self._capacity} candles waited: the oldest were dropped"
            items.insert(0, Hole(market, *line.dropped, HoleReason.MISSING, detail))
            notes.append(Anomaly(market, "overflow", detail, *line.dropped))
        portion = Portion(market, line.flying_ms, line.accepted_ms, tuple(items), tuple(notes), line.clock)
        line.flying_ms, line.flying_ticket = line.accepted_ms, line.ticket
        line.waiting, line.weight, line.dropped, line.clock = deque(), 0, None, None
        return portion


def weight(item: StreamItem) -> int:
    """How many candles' room ``item`` takes."""
    return max(1, len(item.candles) + len(item.absent)) if isinstance(item, Heal) else 1


def _has_news(line: _Line) -> bool:
    return line.ticket > line.flying_ticket


def _after(item: StreamItem, at_ms: int) -> StreamItem | None:
    """What of ``item`` is new to who knows every minute before ``at_ms``; a heal always is."""
    if isinstance(item, Hole) and item.from_ms < at_ms < item.to_ms:
        return item._replace(from_ms=at_ms)
    return item if isinstance(item, Heal) or _end_of(item) > at_ms else None


def _end_of(item: StreamItem) -> int:
    if isinstance(item, Candle | Hole):
        return end_ms(item)
    raise TypeError(f"a recorder takes no {type(item).__name__}")


def _is_live(items: Sequence[StreamItem]) -> bool:
    return all(isinstance(item, Candle) and item.source == Source.LIVE for item in items)
