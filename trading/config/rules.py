"""Exits and limits on entries that any strategy instance can be given, whatever its own rule says."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from trading.config.section import Section
from trading.intervals import DAY_MS, MINUTE_MS

__all__ = ["NO_ENTRIES", "NO_EXITS", "Entries", "Exits", "Session"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SESSION = re.compile(r"(?:(?P<days>[a-z,-]+))?\s*(?:(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d))?")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")
# 1970-01-01 was a Thursday.
_FIRST_WEEKDAY = 3


class Exits(Section):
    """Exits of every trade, watched within each 1m candle. Distances are percent of the price at entry, or multiples of
    the ATR of the instance's candles at the decision that led to the entry.
    """

    stop_loss_percent: Decimal | None = Field(
        None,
        gt=0,
        lt=100,
        description="Sold this far below the entry (a short: bought above); over the strategy's own.",
    )
    take_profit_percent: Decimal | None = Field(
        None, gt=0, le=10_000, description="Closed this far on the winning side; over the strategy's own."
    )
    trailing_stop_percent: Decimal | None = Field(
        None, gt=0, lt=100, description="A stop this far behind the best price since the entry; it never moves back."
    )
    stop_loss_atr: Decimal | None = Field(
        None, gt=0, le=1000, description="The same as this many ATR, in place of stop_loss_percent."
    )
    take_profit_atr: Decimal | None = Field(
        None, gt=0, le=1000, description="The same as this many ATR, in place of take_profit_percent."
    )
    trailing_stop_atr: Decimal | None = Field(
        None, gt=0, le=1000, description="The same as this many ATR, in place of trailing_stop_percent."
    )
    atr_period: int = Field(
        14, ge=1, le=10_000, description="Candles of its interval that the ATR of the three is taken over."
    )
    max_hold_candles: int | None = Field(
        None, ge=1, le=1_000_000, description="Closed at the first open this many candles of its interval after entry."
    )

    @property
    def in_atr(self) -> bool:
        """Whether any distance is a multiple of the ATR."""
        return not (self.stop_loss_atr is self.take_profit_atr is self.trailing_stop_atr is None)

    @model_validator(mode="after")
    def _one_distance_each(self) -> Exits:
        for name in ("stop_loss", "take_profit", "trailing_stop"):
            percent, times = getattr(self, f"{name}_percent"), getattr(self, f"{name}_atr")
            if percent is not None and times is not None:
                raise ValueError(f"{name}_percent is {percent} and {name}_atr is {times}: give one of the two")
        if self.atr_period != 14 and not self.in_atr:
            raise ValueError(
                f"atr_period is {self.atr_period}, but no exit is in ATR: set stop_loss_atr, take_profit_atr or"
                " trailing_stop_atr, or leave it out"
            )
        return self


class Entries(Section):
    """What keeps a target from opening a position. Closing is never kept from happening."""

    long_only: bool = Field(False, description="Whether a short target means to hold nothing instead.")
    cooldown_candles: int = Field(
        0, ge=0, le=1_000_000, description="Candles of its interval after an exit during which nothing is opened."
    )
    sessions_utc: tuple[str, ...] = Field(
        (), description="Opens only then, such as mon-fri 13:30-20:00 or 22:00-06:00, in UTC; empty: always."
    )
    reenter: Literal["new_signal", "at_once"] = Field(
        "new_signal",
        description="After an exit of the section exits or of the strategy's bracket: wait for another target first, or"
        " open again at the next close.",
    )
    order_type: Literal["market", "limit", "stop"] = Field(
        "market",
        description="market: filled at the next open, or at the strategy's own entry price; limit and stop rest in the"
        " book until their price, over the strategy's own.",
    )
    offset_bps: Decimal = Field(
        Decimal(0),
        ge=0,
        lt=10_000,
        description="Distance of that price from the decision's close, in 1/10000 of it; to buy: a limit below, a stop"
        " above.",
    )
    expires_candles: int = Field(
        1, ge=1, le=1_000_000, description="Candles of its interval after which such an order is canceled."
    )

    @field_validator("sessions_utc")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Session.parse(text)
        return value

    @model_validator(mode="after")
    def _rests(self) -> Entries:
        # What expires may be an entry of the strategy's own, which is not known here.
        if self.order_type == "market" and self.offset_bps:
            raise ValueError(
                f"offset_bps is {self.offset_bps}, but order_type is market: set order_type limit or stop, or leave it"
                " out"
            )
        return self

    def allow(self, time_ms: int) -> bool:
        """Whether positions may be opened at ``time_ms``."""
        return not self.sessions_utc or any(Session.parse(text).holds(time_ms) for text in self.sessions_utc)


class Session(NamedTuple):
    """A span of the day on some days of the week, in UTC; one that ends before it begins goes on past midnight."""

    weekdays: frozenset[int]
    begin_ms: int
    end_ms: int

    @classmethod
    def parse(cls, text: str) -> Session:
        """Read ``mon-fri 13:30-20:00``, ``sat,sun`` or ``08:00-16:00``; ValueError says how it is written."""
        found = _SESSION.fullmatch(text.strip().lower())
        days = None if found is None else _weekdays(found["days"])
        if found is None or days is None or not text.strip():
            raise _unreadable(text)
        begin, end = (_clock_ms(found[name], text) for name in ("begin", "end"))
        if begin is None or end is None:
            return cls(days, 0, DAY_MS)
        if begin == end:
            raise ValueError(f"{text!r} begins when it ends: leave the times out for the whole day")
        return cls(days, begin, end)

    def holds(self, time_ms: int) -> bool:
        """Whether ``time_ms`` lies in it; its end does not."""
        day, of_day = divmod(time_ms, DAY_MS)
        if self.begin_ms < self.end_ms:
            return self.begin_ms <= of_day < self.end_ms and self._on(day)
        return (of_day >= self.begin_ms and self._on(day)) or (of_day < self.end_ms and self._on(day - 1))

    def _on(self, day: int) -> bool:
        return (day + _FIRST_WEEKDAY) % 7 in self.weekdays


def _weekdays(text: str | None) -> frozenset[int] | None:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in _DAYS or last not in _DAYS:
            return None
        begin, end = _DAYS.index(first), _DAYS.index(last)
        found.update(day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))
    return frozenset(found)


def _clock_ms(text: Any, whole: str) -> int | None:
    if text is None:
        return None
    if not _CLOCK.fullmatch(text):
        raise _unreadable(whole)
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) * MINUTE_MS


def _unreadable(text: str) -> ValueError:
    return ValueError(f"{text!r} is no session: write it like mon-fri 13:30-20:00, sat,sun or 22:00-06:00")


NO_EXITS = Exits()
NO_ENTRIES = Entries()
