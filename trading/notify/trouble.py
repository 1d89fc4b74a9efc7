"""When a condition that lasts becomes an alert: once on the way down, once on the way up, and not for a hitch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from trading.events import Event
from trading.notify.routing import alert_event
from trading.storage.troubles import OpenTrouble

__all__ = ["Condition", "Restarts", "Told", "TroubleWatch"]

_QUIET_S = 300.0


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. ``name`` says what it is about and stays the same while it lasts.

    It is told once it has lasted ``after_s``; ``title`` is the alert's line, ``message`` what it means and what to do,
    ``stream`` its subject.
    """

    name: str
    title: str
    message: str
    stream: str
    after_s: float = 0.0


class Told(NamedTuple):
    """Alerts to write, with what they open and which names they close: one transaction."""

    events: tuple[Event, ...]
    opened: tuple[OpenTrouble, ...]
    closed: tuple[str, ...]


class TroubleWatch:
    """Sees at each check what is wrong, and says what is news.

    Pure: times are given. Guarantees: of one occurrence one alert and, ``quiet_s`` after it was last seen, one that it
    is over; what comes back before that is the same occurrence. ``known`` is what was told before a restart. The keys
    of alerts follow from the time an occurrence began, so telling one again after a crash adds no message.
    """

    def __init__(self, known: Iterable[OpenTrouble] = (), *, quiet_s: float = _QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._open = {trouble.name: trouble for trouble in known}
        self._since: dict[str, tuple[float, int]] = {}
        self._last: dict[str, float] = {}
        self._streams: dict[str, str] = {}

    @property
    def open(self) -> tuple[OpenTrouble, ...]:
        """What was told and is not over."""
        return tuple(self._open.values())

    def see(self, mono: float, now_ms: int, conditions: Iterable[Condition]) -> Told:
        """What is news at ``now_ms``; ``mono`` are seconds of a clock that nobody sets."""
        events: list[Event] = []
        opened: list[OpenTrouble] = []
        present = {condition.name: condition for condition in conditions}
        for name, condition in present.items():
            began, began_ms = self._since.setdefault(name, (mono, now_ms))
            self._last[name] = mono
            self._streams[name] = condition.stream
            if name not in self._open and mono - began >= condition.after_s:
                trouble = OpenTrouble(name, condition.title, began_ms)
                self._open[name] = trouble
                opened.append(trouble)
                events.append(
                    alert_event(f"{name}:{began_ms}", condition.title, condition.message, began_ms, condition.stream)
                )
        closed = [
            name
            for name in self._open
            if name not in present and mono - self._last.setdefault(name, mono) >= self._quiet_s
        ]
        for name in closed:
            trouble = self._open.pop(name)
            title = f"Over: {trouble.title}"
            events.append(
                alert_event(
                    f"{name}:{trouble.began_ms}:over", title, "", now_ms, self._streams.get(name, "system"), over=True
                )
            )
        for name in [name for name in self._since if name not in present and name not in self._open]:
            del self._since[name], self._last[name], self._streams[name]
        return Told(tuple(events), tuple(opened), tuple(closed))


class Restarts:
    """Counts how often each process was replaced lately, from a number that each replacement changes."""

    def __init__(self, *, many: int = 3, within_s: float = 900.0) -> None:
        self._many = many
        self._within_s = within_s
        self._numbers: dict[str, int] = {}
        self._times: dict[str, deque[float]] = {}

    def see(self, mono: float, numbers: Mapping[str, int]) -> dict[str, int]:
        """By name, how many replacements there were within the last ``within_s``, where they are many."""
        for name, number in numbers.items():
            before = self._numbers.get(name, number)
            self._numbers[name] = number
            # A lease's epoch grows by one each time; a process id just differs.
            count = number - before if 0 < number - before <= 100 else int(number != before)
            self._times.setdefault(name, deque(maxlen=1000)).extend([mono] * count)
        found = {}
        for name, times in self._times.items():
            while times and mono - times[0] > self._within_s:
                times.popleft()
            if len(times) >= self._many:
                found[name] = len(times)
        return found
