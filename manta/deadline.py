"""A budget of time that is spent step by step, each with a moment at which it has to be over."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """Counts from its making. ``left(upto_s)`` is what remains until ``upto_s`` seconds after that: never below 0.

    Steps that share one deadline may use what earlier ones left over, and cannot use what later ones need.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()

    @property
    def spent(self) -> float:
        return self._clock() - self._began

    def left(self, upto_s: float) -> float:
        return max(0.0, upto_s - self.spent)
