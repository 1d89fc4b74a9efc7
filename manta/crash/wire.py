"""Trouble on the wire to the paper venue, spread over a whole run: orders and events that get lost, late or doubled."""

from __future__ import annotations

import random
from pathlib import Path

from trading.intervals import MINUTE_MS
from trading.venues.paper.faults import BrokerFault, FaultKind

__all__ = ["wire_faults"]

# A refused order is another run, and a split fill another row: these change nothing that the backtest would not do.
_KINDS: tuple[FaultKind, ...] = (
    "lose_request",
    "lose_answer",
    "delay",
    "lose_event",
    "double_event",
    "reorder_events",
)


def wire_faults(seed: int, folder: Path, start_ms: int, minutes: int, *, every_minutes: int) -> tuple[BrokerFault, ...]:
    """One fault about every ``every_minutes`` of event time; markers in ``folder`` keep each from happening again."""
    dice = random.Random(seed)
    faults = []
    for number in range(minutes // every_minutes):
        at_ms = start_ms + (number * every_minutes + dice.randrange(every_minutes)) * MINUTE_MS
        marker = str(folder / f"wire{number}")
        faults.append(BrokerFault(dice.choice(_KINDS), at_ms, seconds=0.1, marker=marker))
    return tuple(faults)
