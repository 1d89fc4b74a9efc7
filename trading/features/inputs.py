"""What a feature may be told beside the candle just closed. Each source sees every candle once, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from trading.candles import Candle
from trading.invariants import require

__all__ = ["Leaving", "Recent", "SessionStart", "Source"]


class Source(Protocol):
    """Tells something at each candle, from the candles since it was reset."""

    def next(self, candle: Candle, /) -> Any: ...
    def reset(self) -> None: ...


class Leaving:
    """The field's value of ``size`` candles ago, which falls out of the window now: 0 while the window fills."""

    __slots__ = ("_field", "_size", "_window")

    def __init__(self, field: str, size: int) -> None:
        self._field = Candle._fields.index(field)
        self._size = size
        self.reset()

    @property
    def size(self) -> int:
        return self._size

    def reset(self) -> None:
        self._window: deque[int] = deque()

    def next(self, candle: Candle) -> int:
        window = self._window
        leaving = window.popleft() if len(window) == self._size else 0
        window.append(candle[self._field])  # type: ignore[arg-type]
        return leaving

    def validate(self) -> None:
        require(len(self._window) <= self._size, len(self._window), self._size)


class Recent:
    """The last ``size`` values of each field, oldest first, the newest candle's included; fewer at the start.

    One field gives its window, several give a tuple of windows.
    """

    __slots__ = ("_fields", "_size", "_windows")

    def __init__(self, size: int, *fields: str) -> None:
        self._fields = tuple(Candle._fields.index(name) for name in fields)
        self._size = size
        self.reset()

    @property
    def size(self) -> int:
        return self._size

    @property
    def fields(self) -> tuple[int, ...]:
        """The places of its fields in a candle."""
        return self._fields

    def reset(self) -> None:
        self._windows: tuple[deque[int], ...] = tuple(deque(maxlen=self._size) for _ in self._fields)

    def next(self, candle: Candle) -> Any:
        windows = self._windows
        for window, field in zip(windows, self._fields, strict=True):
            window.append(candle[field])  # type: ignore[arg-type]
        return windows[0] if len(windows) == 1 else windows

    def validate(self) -> None:
        require(len({len(window) for window in self._windows}) == 1, [len(window) for window in self._windows])


class SessionStart:
    """When the session began that the candle opens in, epoch ms; ``bounds(time_ms)`` is a session's start and end."""

    __slots__ = ("_bounds", "_end", "_start")

    def __init__(self, bounds: Callable[[int], tuple[int, int]]) -> None:
        self._bounds = bounds
        self.reset()

    def reset(self) -> None:
        self._start = self._end = 0

    def next(self, candle: Candle) -> int:
        if not self._start <= candle.open_time_ms < self._end:
            self._start, self._end = self._bounds(candle.open_time_ms)
        return self._start
