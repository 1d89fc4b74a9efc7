"""The replay session: what time it is at the venue, and what is sent next. Pure: it is told the host's time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from trading.candle_columns import CandleColumns
from trading.errors import BadInput
from trading.intervals import MINUTE_MS, parse_interval
from trading.venues.simulator.faults import Action, Fault, FaultBox, Send
from trading.venues.simulator.tape import CLOSE_DELAY_MS, Frame, Kline, Tape, fold

__all__ = ["Session"]

_NEVER_MS = 2**62


class Session:
    """One replay over one or more symbols, the same for every venue: a dialect puts what it says into words.

    ``position_ms`` is the venue's time. It never goes back, and every frame up to it has been given out. With ``speed``
    it follows the host's clock that many times faster; in lockstep (``speed`` 0) it goes up to ``watermark + lead``
    minutes, and only while somebody listens. At the end of the candles it stands still. ``settle_ms`` is how long after
    a close the venue has told of it: a stop for a while always comes then.
    """

    def __init__(
        self,
        candles: Mapping[str, CandleColumns],
        *,
        start_ms: int | None = None,
        speed: float = 0.0,
        lead: int = 500,
        settle_ms: int = CLOSE_DELAY_MS,
    ) -> None:
        if speed and not 1 <= speed <= 3600:
            raise BadInput(f"Speed {speed} is not possible.", field="speed", value=speed, fix="Choose from 1 to 3600.")
        if lead < 1:
            raise BadInput(f"Lead {lead} is not possible.", field="lead", value=lead, fix="Choose 1 minute or more.")
        self.tapes = {symbol: Tape(symbol, columns) for symbol, columns in candles.items()}
        first_ms = min(columns.start_ms for columns in candles.values())
        self.end_ms = max(columns.end_ms for columns in candles.values())
        self.start_ms = _checked_start(start_ms, first_ms, self.end_ms)
        self.speed = speed
        self.lead = lead
        self._settle_ms = settle_ms
        self.position_ms = self.start_ms
        self.faults = FaultBox()
        self.paused = False
        self.candles_sent = 0
        self._anchor: tuple[float, int] | None = None
        self._watermarks = dict.fromkeys(self.tapes, self.start_ms)
        self._wanted: dict[str, dict[str, _Wide]] = {symbol: {} for symbol in self.tapes}
        self._to_revise: dict[str, list[int]] = {symbol: [] for symbol in self.tapes}
        for tape in self.tapes.values():
            tape.seek(self.start_ms)

    @property
    def is_lockstep(self) -> bool:
        return self.speed == 0

    @property
    def ended(self) -> bool:
        return self.position_ms >= self.end_ms + CLOSE_DELAY_MS

    @property
    def watermark_ms(self) -> int:
        """The lowest close time up to which the listeners say they are done; the start before they say anything."""
        return min(self._watermarks.values())

    def watermark(self, position_ms: int, market: str | None = None) -> None:
        """Note that ``market`` (a symbol, or venue:symbol), or every one, is handled up to ``position_ms``."""
        symbol = market if market is None or market in self.tapes else market.partition(":")[2]
        if symbol and symbol not in self.tapes:
            served = ", ".join(self.tapes)
            raise BadInput(f"{market} is not played.", field="market", value=market, fix=f"Played are {served}.")
        for each in (symbol,) if symbol else self.tapes:
            self._watermarks[each] = position_ms

    def target_ms(self, host_s: float, listening: bool) -> int:
        """Return the time that the venue should have reached at host time ``host_s`` (monotonic seconds)."""
        if self.paused:
            target = self.position_ms
        elif self.is_lockstep:
            target = self.watermark_ms + self.lead * MINUTE_MS + self._settle_ms if listening else self.position_ms
        else:
            if self._anchor is None:
                self._anchor = (host_s, self.position_ms)
            since_s, from_ms = self._anchor
            target = from_ms + int((host_s - since_s) * self.speed * 1000)
        return max(self.position_ms, min(target, self.end_ms + CLOSE_DELAY_MS))

    def wait_s(self) -> float | None:
        """Seconds from the position to the next frame or fault; None when only an order can make something happen."""
        due = [tape.peek for tape in self.tapes.values()] + [self.faults.next_ms]
        times = [time for time in due if time is not None]
        if self.paused or self.is_lockstep or not times:
            return None
        return max(0.0, (min(times) - self.position_ms) / self.speed / 1000)

    def pause(self) -> None:
        self.paused = True
        self._anchor = None

    def resume(self) -> None:
        self.paused = False

    def advance_target_ms(self, minutes: int) -> int:
        """Return the time just after the close of the ``minutes``-th minute from here; the clock goes on from there."""
        self._anchor = None
        begun = (self.position_ms - CLOSE_DELAY_MS) // MINUTE_MS * MINUTE_MS
        base = max(begun, self.start_ms)
        end_ms = base + minutes * MINUTE_MS
        return end_ms + self._settle_ms if end_ms < self.end_ms else self.end_ms + CLOSE_DELAY_MS

    def order(self, fault: Fault) -> Action | None:
        """Take a fault from the control port; return what must be done to the connections now."""
        if fault.at_ms is not None and fault.at_ms > self.position_ms:
            self.faults.schedule(fault)
            return None
        return None if self.faults.arm(fault, self._next_minute_ms()) else Action(fault)

    def want(self, topics: Collection[tuple[str, str]]) -> None:
        """Say which (symbol, interval) somebody listens to; only minutes are made without being asked for."""
        for symbol, wide in self._wanted.items():
            for name in [name for name in wide if (symbol, name) not in topics]:
                del wide[name]
        for symbol, name in topics:
            if name != "1m" and symbol in self._wanted and name not in self._wanted[symbol]:
                self._wanted[symbol][name] = _Wide(name, self.tapes[symbol], self.position_ms)

    def run_to(self, target_ms: int, most: int = _NEVER_MS) -> list[Send | Action]:
        """Move the position towards ``target_ms``; return, in the order of the venue's time, what happens on the way.

        At most about ``most`` happenings come of one call: the position tells how far it got.
        """
        happenings: list[Send | Action] = []
        while len(happenings) < most:
            tape = min(self.tapes.values(), key=_next_of)
            due_ms = _next_of(tape)
            fault_ms = self.faults.next_ms
            if fault_ms is not None and fault_ms <= target_ms and fault_ms < due_ms:
                self.position_ms = max(self.position_ms, fault_ms)
                action = self.order(self.faults.pop())
                if action is not None:
                    happenings.append(action)
                continue
            if due_ms > target_ms:
                self.position_ms = max(self.position_ms, target_ms)
                break
            self.position_ms = due_ms
            happenings.extend(self._sends(tape, tape.take()))
        return happenings

    def _sends(self, tape: Tape, frame: Frame) -> Iterator[Send]:
        symbol = tape.symbol
        lost = self.faults.is_lost(frame.kline.open_ms)
        self.candles_sent += frame.closed and not lost
        states = [("1m", frame.kline, frame.closed)]
        for wide in self._wanted[symbol].values():
            states += [(wide.name, kline, closed) for kline, closed in wide.step(frame)]
        if lost:
            return
        for name, kline, closed in states:
            first_trade = frame.first_trade if name == "1m" else frame.first_trade + frame.kline.trades - kline.trades
            send = Send(symbol, name, frame.event_ms, kline, first_trade, frame.added_volume, closed)
            if closed:
                yield from self.faults.closing(send)
            else:
                yield send
        if not frame.closed:
            yield from self._revisions(tape, frame)
        elif self.faults.use("revise"):
            self._to_revise[symbol].append(frame.kline.open_ms)

    def _revisions(self, tape: Tape, frame: Frame) -> Iterator[Send]:
        """Tell again, with other values, the closed minutes that are to be revised; REST has them from now on."""
        times, self._to_revise[tape.symbol] = self._to_revise[tape.symbol], []
        for open_ms in times:
            yield Send(tape.symbol, "1m", frame.event_ms, tape.revise(open_ms), frame.first_trade, 0, True)
        if times:
            wanted = self._wanted[tape.symbol]
            self._wanted[tape.symbol] = {name: _Wide(name, tape, self.position_ms) for name in wanted}

    def _next_minute_ms(self) -> int:
        """The open of the next minute of which nothing has been given out."""
        return -(-(self.position_ms - CLOSE_DELAY_MS) // MINUTE_MS) * MINUTE_MS

    def state(self) -> dict[str, Any]:
        """What the control port tells."""
        mode: Literal["lockstep", "speed"] = "lockstep" if self.is_lockstep else "speed"
        return {
            "mode": mode,
            "speed": self.speed,
            "lead": self.lead,
            "symbols": list(self.tapes),
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "position_ms": self.position_ms,
            "watermark_ms": self.watermark_ms,
            "paused": self.paused,
            "ended": self.ended,
            "candles_sent": self.candles_sent,
            "faults": self.faults.pending(),
        }


class _Wide:
    """The forming kline of one wider interval. A window whose last minutes are absent closes with the next minute."""

    def __init__(self, name: str, tape: Tape, now_ms: int) -> None:
        self.name = name
        self._interval = parse_interval(name)
        open_ms = self._interval.open_of(now_ms)
        minutes = self._interval.typical_ms // MINUTE_MS
        self._closed = fold(
            [
                kline
                for kline in tape.klines(parse_interval("1m"), now_ms, minutes, start_ms=open_ms)
                if kline.close_ms <= now_ms
            ],
            self._interval,
        )

    def step(self, frame: Frame) -> list[tuple[Kline, bool]]:
        """Return the states of this interval that ``frame`` of a minute brings about."""
        states: list[tuple[Kline, bool]] = []
        if self._closed and self._closed[0].close_ms <= frame.kline.open_ms:
            states.append((self._closed.pop(), True))
        kline = fold([*self._closed, frame.kline], self._interval)[0]
        is_last = frame.closed and frame.kline.close_ms == kline.close_ms
        states.append((kline, is_last))
        if frame.closed:
            self._closed = [] if is_last else [kline]
        return states


def _next_of(tape: Tape) -> int:
    return _NEVER_MS if tape.peek is None else tape.peek


def _checked_start(start_ms: int | None, first_ms: int, end_ms: int) -> int:
    if start_ms is None:
        return first_ms
    if start_ms % MINUTE_MS or not first_ms <= start_ms < end_ms:
        raise BadInput(
            f"The replay cannot start at {start_ms}.",
            field="start",
            value=start_ms,
            fix=f"Choose a whole minute from {first_ms} and before {end_ms} (unix ms).",
        )
    return start_ms
