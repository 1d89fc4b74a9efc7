"""A venue in memory: a known series of minutes, a stream that may lie by omission, and a truthful REST side."""

from __future__ import annotations

from trading.candles import Candle, Hole
from trading.events import Heal, StreamItem
from trading.feed import FeedState
from trading.feed_events import (
    Anomaly,
    Close,
    Connected,
    Disconnected,
    Emit,
    FeedEvent,
    Fetch,
    Fetched,
    Final,
    Open,
    QualityNote,
    Resume,
    Status,
    Tick,
)

MARKET = "binance:BTCUSDT"
START_MS = 1_700_000_040_000
MINUTE_MS = 60_000


def minute(index: int, *, close: int = 0, source: str = "live") -> Candle:
    """The ``index``-th minute of the series."""
    opened = START_MS + index * MINUTE_MS
    price = 100_00000000 + index
    top = max(price, close) + 5
    return Candle(
        MARKET, "1m", opened, opened + MINUTE_MS, price, top, price - 5, close or price, 7, 8, 9, 3, source
    )  # fmt: skip


def at(index: int) -> int:
    """The open time of minute ``index``."""
    return START_MS + index * MINUTE_MS


class World:
    """Drives one FeedState by hand. ``now`` is the next minute to close; time passes when a test says so."""

    def __init__(self, state: FeedState, absent: frozenset[int] = frozenset(), page_rows: int = 1000) -> None:
        self.state = state
        self.absent = absent
        self.page_rows = page_rows
        self.now = 0
        self.mono = 100.0
        self.conn = 0
        self.opening = False
        self.sockets: list[int] = []
        self.fetches: list[Fetch] = []
        self.items: list[StreamItem] = []
        self.notes: list[Anomaly] = []
        self.statuses: list[Status] = []
        self.opens: list[Open] = []
        self.closes: list[Close] = []

    def tell(self, event: FeedEvent) -> None:
        """Give the state one event, check its invariants and carry out what it asks for."""
        for instruction in self.state.handle(event):
            match instruction:
                case Emit(items, upto_ms):
                    assert 0 < len(items) <= 1000
                    self.items += items
                    assert upto_ms <= (self.state.high_water_ms or 0)
                case Fetch():
                    self.fetches.append(instruction)
                case Open():
                    self.opens.append(instruction)
                    self.opening = True
                case Close(conn):
                    self.closes.append(instruction)
                    self.sockets.remove(conn)
                case QualityNote(anomaly):
                    self.notes.append(anomaly)
                case Status():
                    self.statuses.append(instruction)
        self.state.validate()
        assert len(self.fetches) <= 1, "two questions at once"

    def resume(self, high: int | None = None, warmup: int | None = None) -> None:
        self.tell(Resume(self.mono, None if high is None else at(high), None if warmup is None else at(warmup)))

    def connect(self) -> int:
        """Open the socket that the state asked for."""
        assert self.opening
        self.opening = False
        self.conn += 1
        self.sockets.append(self.conn)
        self.tell(Connected(self.mono, self.conn))
        return self.conn

    def lose_socket(self, reason: str = "reset") -> None:
        self.tell(Disconnected(self.mono, self.sockets.pop(), reason))

    def frame(self, index: int, **changes: int) -> None:
        """The stream says that minute ``index`` closed."""
        if self.sockets and index not in self.absent:
            self.tell(Final(self.mono, self.sockets[-1], minute(index, **changes)))

    def close_minute(self, *, streamed: bool = True) -> None:
        """One more minute closes at the venue."""
        index, self.now = self.now, self.now + 1
        if streamed:
            self.frame(index)

    def tick(self, seconds: float = 1.0, *, clock: bool = False) -> None:
        self.mono += seconds
        self.tell(Tick(self.mono, at(self.now) + 30_000 if clock else None))

    def answer(self, *, error: str | None = None, retry_after_s: float | None = None) -> None:
        """REST answers the question under way: what has closed by now, or an error."""
        asked = self.fetches.pop(0)
        if error is not None:
            self.tell(Fetched(self.mono, asked.from_ms, error=error, retry_after_s=retry_after_s))
            return
        first = (asked.from_ms - START_MS) // MINUTE_MS
        there = [i for i in range(max(first, 0), self.now) if i not in self.absent]
        page = there[: self.page_rows]
        more = len(page) == self.page_rows
        through = at(page[-1] + 1) if page else asked.from_ms
        if not more and self.now not in self.absent and page:
            through = at(self.now)
        self.tell(Fetched(self.mono, asked.from_ms, tuple(minute(i, source="rest") for i in page), through, more))

    def settle(self) -> None:
        """The venue is well again: let the state finish its work."""
        for _ in range(500):
            if self.opening:
                self.connect()
            if self.fetches:
                self.answer()
            elif not self.state.missing and self.state.high_water_ms == at(self.now):
                return
            self.tick(5.0, clock=True)
        raise AssertionError(f"never settled: {self.state.missing}, {self.state.high_water_ms}, {at(self.now)}")

    def told(self) -> dict[int, str]:
        """What each minute was finally told as: candle, absent or missing. Order and single telling are checked."""
        result: dict[int, str] = {}
        high: int | None = None
        for item in self.items:
            if isinstance(item, Heal):
                self._apply_heal(item, result)
                continue
            assert isinstance(item, Candle | Hole)
            start, end, kind = (
                (item.open_time_ms, item.close_time_ms, "candle")
                if isinstance(item, Candle)
                else (item.from_ms, item.to_ms, item.reason)
            )
            assert high is None or start == high, "a minute was told twice, late or not at all"
            high = end
            for opened in range(start, end, MINUTE_MS):
                result[opened] = kind
        return {(opened - START_MS) // MINUTE_MS: kind for opened, kind in result.items()}

    @staticmethod
    def _apply_heal(heal: Heal, result: dict[int, str]) -> None:
        healed = {c.open_time_ms: "candle" for c in heal.candles}
        for hole in heal.absent:
            healed |= dict.fromkeys(range(hole.from_ms, hole.to_ms, MINUTE_MS), "absent")
        assert sorted(healed) == list(range(heal.from_ms, heal.to_ms, MINUTE_MS))
        for opened, kind in healed.items():
            assert result[opened] == "missing" or heal.why, "only missing minutes are healed"
            result[opened] = kind
