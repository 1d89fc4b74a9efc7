"""Faults of the paper venue and of the wire to it, ordered for a simulator session.

============== =======================================================================================
kind           what happens to the next order (or its events) from ``at_ms`` on, ``times`` times
============== =======================================================================================
lose_request   the request never arrives; the caller learns nothing
lose_answer    the order is accepted and the answer lost
reject         the venue refuses the order
delay          the answer comes ``seconds`` late
split          the fill is told in ``parts`` executions
lose_event     the venue's own event is lost
double_event   it comes twice
reorder_events it comes after the one that follows it
============== =======================================================================================

``marker`` names a file that says that the fault has happened, so that it does not happen again to a process that takes
the place of a killed one. Without it, the fault is counted in memory.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trading.accounts.broker import OrderUpdate

__all__ = ["BrokerFault", "BrokerFaults", "FaultKind"]

FaultKind = Literal[
    "lose_request", "lose_answer", "reject", "delay", "split", "lose_event", "double_event", "reorder_events"
]


@dataclass(frozen=True, slots=True)
class BrokerFault:
    """One order for trouble; the module says what each kind does."""

    kind: FaultKind
    at_ms: int = 0
    times: int = 1
    seconds: float = 0.0
    parts: int = 2
    marker: str = ""


class BrokerFaults:
    """The faults that are yet to come, asked for by the venue at each step."""

    def __init__(self, faults: Iterable[BrokerFault] = ()) -> None:
        self._faults = tuple(faults)
        self._used: Counter[int] = Counter()
        self._held: list[OrderUpdate] = []

    def use(self, kind: FaultKind, at_ms: int) -> BrokerFault | None:
        """The fault of ``kind`` that strikes at event time ``at_ms``, if one does."""
        for number, fault in enumerate(self._faults):
            if fault.kind != kind or at_ms < fault.at_ms or self._used[number] >= fault.times:
                continue
            self._used[number] += 1
            if _happens(fault, self._used[number]):
                return fault
        return None

    def told(self, event: OrderUpdate) -> list[OrderUpdate]:
        """What arrives of ``event``, in order."""
        at_ms = event.updated_ms
        if self.use("lose_event", at_ms):
            return []
        if self.use("reorder_events", at_ms):
            self._held.append(event)
            return []
        arrived = [event, *self._held]
        self._held = []
        return [event, *arrived] if self.use("double_event", at_ms) else arrived


def _happens(fault: BrokerFault, number: int) -> bool:
    if not fault.marker:
        return True
    try:
        os.close(os.open(f"{fault.marker}.{number}", os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True
