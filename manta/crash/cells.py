"""Which crashes there are: every boundary of every actor, what is hurt there, and over which candles."""

from __future__ import annotations

import random
from dataclasses import dataclass

from actors.crash import VICTIMS
from actors.session import actor_name
from manta.crash.stretches import MARKET, STRETCHES

__all__ = ["PLACES", "QUICK_CELLS", "Cell", "choose", "every_cell", "place_name"]

_COMMITS = ("before_commit", "before_cursor", "in_commit", "after_commit")
_SENDS = ("before_send", "after_send", "after_ack")
_BOUNDARIES = {
    actor_name("feed", MARKET): ("after_read", *_SENDS),
    actor_name("recorder"): ("after_read", *_COMMITS, *_SENDS),
    actor_name("timeframe", MARKET): ("after_read", *_COMMITS, *_SENDS),
    actor_name("brain"): ("after_read", *_COMMITS, *_SENDS),
    actor_name("execution", "paper"): ("after_read", *_COMMITS, *_SENDS),
    actor_name("notifier"): ("in_claim", "after_read", "before_send", "after_send", *_COMMITS[:3], "after_ack"),
    actor_name("supervisor"): ("after_read", *_COMMITS),
}
PLACES = tuple((actor, boundary) for actor, boundaries in _BOUNDARIES.items() for boundary in boundaries)
# These end the whole host, which takes some seconds to start again.
_COSTLY = ("host", "raylet")
QUICK_CELLS = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """One crash: ``victim`` is hurt when ``actor`` passes ``boundary``, somewhere in the stretch."""

    stretch: str
    actor: str
    boundary: str
    victim: str

    def __str__(self) -> str:
        return f"{self.stretch}: {self.victim} at {place_name(self.actor, self.boundary)}"


def place_name(actor: str, boundary: str) -> str:
    return f"{actor.partition(':')[0]} {boundary}"


def every_cell(seed: int) -> list[Cell]:
    """All places × victims: the cheap ones over both stretches, those that end the host over one, chosen by seed."""
    dice = random.Random(seed)
    cells = []
    for actor, boundary in PLACES:
        for victim in VICTIMS:
            if victim in _COSTLY:
                cells.append(Cell(dice.choice(STRETCHES), actor, boundary, victim))
            else:
                cells += [Cell(stretch, actor, boundary, victim) for stretch in STRETCHES]
    return cells


def choose(count: int, seed: int) -> list[Cell]:
    """``count`` cells chosen by seed, all when there are no more; the costly ones as rare as in the time they take.

    The order is by chance, so that every crash meets the traces of different ones.
    """
    dice = random.Random(seed)
    cells = every_cell(seed)
    dice.shuffle(cells)
    if count < len(cells):
        costly = [cell for cell in cells if cell.victim in _COSTLY][: max(min(2, count // 2), count // 10)]
        cells = costly + _spread([cell for cell in cells if cell.victim not in _COSTLY])[: count - len(costly)]
        dice.shuffle(cells)
    return cells


def _spread(cells: list[Cell]) -> list[Cell]:
    """The same cells so that any beginning of them visits as many places, and victims there, as it can."""
    seen: dict[tuple[str, str], int] = {}
    turns: list[tuple[int, int, Cell]] = []
    for number, cell in enumerate(cells):
        place = cell.actor, cell.boundary
        turns.append((seen.get(place, 0), number, cell))
        seen[place] = seen.get(place, 0) + 1
    return [cell for _, _, cell in sorted(turns, key=lambda turn: turn[:2])]
