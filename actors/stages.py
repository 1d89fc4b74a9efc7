"""How the time for stopping is shared out: stage after stage in the order of the data's flow, each with its part."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["REST_S", "role_of", "stage_seconds", "stages"]

REST_S = 10.0
"""How long an actor may take to finish what it has in hand before a reload."""


def stages(names: Iterable[str]) -> list[list[str]]:
    """Actors that stop together, in the order of ``names``: neighbours with one role, such as all feeds."""
    out: list[list[str]] = []
    for name in names:
        if out and role_of(out[-1][0]) == role_of(name):
            out[-1].append(name)
        else:
            out.append([name])
    return out


def stage_seconds(left_s: float, stages_left: int) -> float:
    """What the next of ``stages_left`` stages may take of ``left_s``: half of it, and the last one all.

    A stage that hangs costs no other more than half of its time, and a stage that is quick leaves what it did not need.
    """
    return max(0.0, left_s if stages_left <= 1 else left_s / 2)


def role_of(name: str) -> str:
    """``feed`` of ``feed:binance:BTCUSDT``, and of ``feeds:1``, which holds several markets."""
    return name.partition(":")[0].removesuffix("s")
