"""Is the best set of parameters a plateau or a lonely peak?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Neighbourhood", "neighbourhood"]

Params = Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """``stability`` is the median score of the ``neighbours`` over the best one's: near 1 on a plateau, 0 or below on a
    peak. ``profitable`` is the share of neighbours whose score is above 0, ``worst`` the lowest score.
    """

    neighbours: int
    stability: float | None
    profitable: float
    worst: float


def neighbourhood(points: Sequence[Params], scores: Sequence[float | None], best: int) -> Neighbourhood | None:
    """Compare ``points[best]`` with those one step of the grid away in one parameter or in several.

    A point that has no score, such as one that never traded, counts as 0. None if the best has no neighbour.
    """
    steps = {name: sorted({point[name] for point in points}) for name in points[best]}
    place = {name: values.index(points[best][name]) for name, values in steps.items()}
    near = [
        scores[n] or 0.0
        for n, point in enumerate(points)
        if n != best and all(abs(steps[name].index(point[name]) - at) <= 1 for name, at in place.items())
    ]
    if not near:
        return None
    top = scores[best] or 0.0
    return Neighbourhood(
        neighbours=len(near),
        stability=median(near) / top if top > 0 else None,
        profitable=sum(score > 0 for score in near) / len(near),
        worst=min(near),
    )
