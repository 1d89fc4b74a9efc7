"""What a strategy is: one small module with parameters, the features it wants, and a stateless rule.

The module defines

- ``class Params(NamedTuple)`` of numbers and ``RANGES``, a range for each;
- ``features(p)``: feature name → ``Feature``;
- ``class Row(NamedTuple)``: ``close`` and then one float per feature, in the order of ``features``;
- ``warmup(p)``: how many closed candles there must be before the rule is asked;
- ``rule(now, prev, p)``: ``LONG``, ``FLAT``, ``SHORT`` or ``HOLD`` from the row of the candle just closed and the row
  before it, whose numbers are NaN where they were not known;
- optionally ``confidence(now, p)``: 0.0 … 1.0; without it every signal that is no HOLD has confidence 1.

Rules see scalars only and use only + − × ÷ sqrt min max abs and comparisons, so that they can be compiled unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from trading.events import Target
from trading.features.contract import Feature
from trading.parameters import Range

__all__ = ["FLAT", "HOLD", "LONG", "SHORT", "TARGETS", "Strategy", "StrategyModule"]

LONG: Final = 1
FLAT: Final = 0
SHORT: Final = -1
HOLD: Final = 2

TARGETS: Mapping[int, str] = {
    LONG: Target.LONG.value,
    FLAT: Target.FLAT.value,
    SHORT: Target.SHORT.value,
    HOLD: Target.HOLD.value,
}


class StrategyModule(Protocol):
    """The names every strategy module has; ``confidence`` is optional and therefore not among them."""

    __name__: str
    Params: Any
    Row: Any
    RANGES: Mapping[str, Range]

    def features(self, p: Any, /) -> Mapping[str, Feature]: ...
    def warmup(self, p: Any, /) -> int: ...
    def rule(self, now: Any, prev: Any, p: Any, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy with its parameters, ready to run. ``warmup`` covers the rule and every feature."""

    name: str
    params: Any
    row: type[Any]
    features: Mapping[str, Feature]
    warmup: int
    rule: Callable[[Any, Any, Any], int]
    confidence: Callable[[Any, Any], float] | None
    source: str

    @property
    def history(self) -> int:
        """Candles to replay so that a restart gives the same signals, bit for bit, as no restart."""
        # One more than the features want: the rule also sees the row before.
        return max(self.warmup, *(feature.history for feature in self.features.values()), 0) + 1

    def params_dict(self) -> dict[str, int | float]:
        result: dict[str, int | float] = self.params._asdict()
        return result
