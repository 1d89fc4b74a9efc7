"""Faults that the control port can order, now or when the replay reaches a time.

================= ================================================ ================================================
kind              what happens                                     arguments (default)
================= ================================================ ================================================
drop              every stream connection breaks, without a close  –
retire            the venue announces that it closes the           seconds (0)
                  connections, if it does such a thing, and does
                  so after ``seconds``
refuse            the next stream connections are refused (503)    times (1)
freeze            open connections stay open and say nothing       new (false): connections opened later are silent too
unfreeze          they speak again; what was not sent stays unsent –
no_ack            the next subscriptions are not acknowledged      times (1)
lose_subscription the next subscriptions are neither acknowledged  times (1)
                  nor done
error             an error message comes to every connection       –
duplicate         the next closing frames are sent twice           times (1)
reorder           the next closing frame comes after the one that  times (1)
                  follows it
skip_closing      the next closing frames are not sent              times (1)
corrupt           the next closing frames are spoiled              times (1), how (json), see below
revise            the next closed candles are told again, with     times (1)
                  other values, after the first frame of the next
                  minute; REST has those from then on
lose_minutes      the next minutes are never streamed; REST has    minutes
                  them
rest_status       the next REST answers are this error             status, times (1), retry_after (none), path (any)
corrupt_rows      the last closed candle of the next REST answers  times (1), how (json), see below
                  is spoiled
slow              the next REST answers are late                   seconds, times (1), path (any)
clock             the venue tells a time that is off by this much  offset_ms (0: right again)
                  from now on; the candles' own times stay right
================= ================================================ ================================================

``how``: json (the message is cut short), value (high below low), nan, negative (prices), jump (prices ten times as
high), future (a day ahead), symbol (of another market), interval (another one than subscribed).

Each takes ``at_ms``: it happens before the first frame later than that venue time. Without it, it happens at once. The
closing frame of a minute is the last that the venue sends for it, whether or not it says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trading.errors import BadInput
from trading.intervals import DAY_MS
from trading.venues.simulator.tape import Kline
from trading.venues.simulator.wire import NOT_A_NUMBER

__all__ = ["Action", "Fault", "FaultBox", "How", "Kind", "RestFault", "Send", "Shown", "parse_fault", "spoiled"]

Kind = Literal[
    "drop", "retire", "refuse", "freeze", "unfreeze", "no_ack", "lose_subscription", "error", "duplicate", "reorder",
    "skip_closing", "corrupt", "revise", "lose_minutes", "rest_status", "corrupt_rows", "slow", "clock",
]  # fmt: skip
How = Literal["json", "value", "nan", "negative", "jump", "future", "symbol", "interval"]
_ACTIONS = frozenset({"drop", "retire", "freeze", "unfreeze", "error"})


class Fault(BaseModel):
    """One order; the module says what each kind does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    at_ms: int | None = None
    times: int = Field(1, ge=1, le=1_000_000)
    minutes: int = Field(0, ge=0, le=1_000_000)
    how: How = "json"
    new: bool = False
    status: int = Field(0, ge=0, le=599)
    retry_after: int | None = Field(None, ge=0)
    seconds: float = Field(0.0, ge=0, le=3600)
    path: str | None = None
    offset_ms: int = Field(0, ge=-86_400_000, le=86_400_000)

    @model_validator(mode="after")
    def _has_its_argument(self) -> Fault:
        if self.kind == "lose_minutes" and not self.minutes:
            raise ValueError("lose_minutes needs minutes")
        if self.kind == "rest_status" and self.status < 400:
            raise ValueError("rest_status needs a status from 400 to 599")
        if self.kind == "slow" and not self.seconds:
            raise ValueError("slow needs seconds")
        return self


def parse_fault(body: object) -> Fault:
    """Return the fault that a control request orders; raise BadInput that names field and fix."""
    try:
        return Fault.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "fault"
        raise BadInput(
            f"Fault: {field}: {first['msg']}.",
            field=field,
            value=first.get("input"),
            fix=f"Kinds are {', '.join(get_args(Kind))}.",
        ) from error


@dataclass(frozen=True, slots=True)
class Send:
    """Tell the subscribers of ``symbol`` and ``interval`` (canonical) one state of a candle; the dialect words it.

    ``added_volume`` is what was traded since the frame before. ``how`` is how the message is spoiled.
    """

    symbol: str
    interval: str
    event_ms: int
    kline: Kline
    first_trade: int
    added_volume: int
    closed: bool
    how: How | None = None

    @property
    def said_symbol(self) -> str:
        return f"{self.symbol}X" if self.how == "symbol" else self.symbol

    @property
    def said_interval(self) -> str:
        other = "1h" if self.interval != "1h" else "1m"
        return other if self.how == "interval" else self.interval


@dataclass(frozen=True, slots=True)
class Action:
    """Do what the fault says to the stream connections."""

    fault: Fault


def spoiled(kline: Kline, how: How) -> Kline:
    """Return ``kline`` with values that no candle can have; what only a text can show is left to the dialect."""
    if how == "value":
        return kline._replace(high=1)
    if how == "nan":
        return kline._replace(high=NOT_A_NUMBER, close=NOT_A_NUMBER)
    if how == "negative":
        return kline._replace(open=-kline.open, high=-kline.low, low=-kline.high, close=-kline.close)
    if how == "jump":
        return kline._replace(open=10 * kline.open, high=10 * kline.high, low=10 * kline.low, close=10 * kline.close)
    if how == "future":
        return kline._replace(open_ms=kline.open_ms + DAY_MS, close_ms=kline.close_ms + DAY_MS)
    return kline


class Shown(NamedTuple):
    """The rows of a REST answer; the one at ``at`` is spoiled as ``how`` says."""

    klines: list[Kline]
    at: int = -1
    how: How | None = None


@dataclass(slots=True)
class RestFault:
    """What the next REST answer suffers: ``seconds`` of delay, then an error if ``status`` is set."""

    seconds: float = 0.0
    status: int = 0
    retry_after: int | None = None


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int


class FaultBox:
    """The faults that are yet to come. Pure: the session asks, frame by frame and request by request."""

    def __init__(self) -> None:
        self._scheduled: list[Fault] = []
        self._armed: list[_Armed] = []
        self._lost: list[tuple[int, int]] = []
        self._held: dict[tuple[str, str], Send] = {}
        self.clock_offset_ms = 0

    def schedule(self, fault: Fault) -> None:
        """Keep ``fault`` until its ``at_ms``."""
        self._scheduled.append(fault)
        self._scheduled.sort(key=lambda each: each.at_ms or 0)

    @property
    def next_ms(self) -> int | None:
        return self._scheduled[0].at_ms if self._scheduled else None

    def pop(self) -> Fault:
        return self._scheduled.pop(0)

    def arm(self, fault: Fault, next_minute_ms: int) -> bool:
        """Put ``fault`` into effect; False if it is one that the streams themselves must carry out."""
        if fault.kind in _ACTIONS:
            return False
        if fault.kind == "lose_minutes":
            self._lost.append((next_minute_ms, next_minute_ms + fault.minutes * 60_000))
        elif fault.kind == "clock":
            self.clock_offset_ms = fault.offset_ms
        else:
            self._armed.append(_Armed(fault, fault.times))
        return True

    def is_lost(self, open_ms: int) -> bool:
        """Whether the minute that opens at ``open_ms`` is never streamed."""
        return bool(self._lost) and any(start <= open_ms < end for start, end in self._lost)

    def closing(self, send: Send) -> list[Send]:
        """Return what is sent for the closing frame ``send``: nothing, itself, or several."""
        if not self._armed and not self._held:
            return [send]
        key = send.symbol, send.interval
        if (earlier := self._held.pop(key, None)) is not None:
            return [send, earlier]
        if self.use("skip_closing"):
            return []
        if self.use("duplicate"):
            return [send, send]
        if self.use("reorder"):
            self._held[key] = send
            return []
        if (fault := self.use("corrupt")) is not None:
            return [replace(send, kline=spoiled(send.kline, fault.how), how=fault.how)]
        return [send]

    def rows(self, rows: list[Kline], now_ms: int) -> Shown:
        """Return what a REST answer shows of ``rows``."""
        closed = [number for number, row in enumerate(rows) if row.close_ms <= now_ms]
        if not closed or (fault := self.use("corrupt_rows")) is None:
            return Shown(rows)
        at = closed[-1]
        return Shown([*rows[:at], spoiled(rows[at], fault.how), *rows[at + 1 :]], at, fault.how)

    def rest(self, path: str) -> RestFault:
        """Return what the request for ``path`` that asks now suffers."""
        suffered = RestFault()
        if (slow := self.use("slow", path)) is not None:
            suffered.seconds = slow.seconds
        if (error := self.use("rest_status", path)) is not None:
            suffered.status, suffered.retry_after = error.status, error.retry_after
        return suffered

    def pending(self) -> list[dict[str, Any]]:
        """The faults that have not happened, or not as often as ordered, as JSON objects."""
        scheduled = [fault.model_dump(exclude_defaults=True) for fault in self._scheduled]
        return scheduled + [each.fault.model_dump(exclude_defaults=True) | {"left": each.left} for each in self._armed]

    def use(self, kind: Kind, path: str | None = None) -> Fault | None:
        """Return an armed fault of ``kind``, which has happened herewith; None if there is none."""
        for armed in self._armed:
            if armed.fault.kind == kind and (armed.fault.path is None or path is None or armed.fault.path in path):
                armed.left -= 1
                if not armed.left:
                    self._armed.remove(armed)
                return armed.fault
        return None
