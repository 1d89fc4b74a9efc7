"""What a strategy is: one small module with parameters, the features it wants, and a rule or a step.

The module defines

- ``class Params(NamedTuple)`` of numbers and ``RANGES``, a range for each;
- ``features(p)``: feature name → ``Feature``;
- ``class Row(NamedTuple)``: ``close`` and then one float per feature, in the order of ``features``;
- ``warmup(p)``: how many closed candles there must be before the strategy is asked;
- either ``rule(now, prev, p)``: ``LONG``, ``FLAT``, ``SHORT`` or ``HOLD`` from the row of the candle just closed and
  the row before it, whose numbers are NaN where they were not known;
- or, for a strategy with a state of its own, ``class State(NamedTuple)``, every field with the default it starts from,
  and ``step(state, now, p)``, which returns the next state. Its field ``target`` is one of the four above; or its field
  ``lots`` is a tuple of the lots it means to hold. All other fields are finite numbers.

And, if it likes, each asked when the target is not HOLD:

- ``confidence(now, p)``: 0.0 … 1.0; without it 1;
- ``entry(now, p)``: the price at which to enter, None for the next open; not for a strategy with ``lots``;
- ``bracket(now, p)``: the distances of stop and profit from the entry, as prices above 0, None for no such exit;
- ``sizing(now, p)``: the share, above 0 and up to 1, of what the instance may put in; without it all;
- ``tag(now, p)``: a short name of the kind of trade, told apart in reports;
- ``reasons(now, p)``: short texts that say why.

Rules see scalars only and use only + − × ÷ sqrt min max abs and comparisons, so that they can be compiled unchanged.
Nothing may be remembered outside the state, and nothing may come from elsewhere: no file, clock or chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from trading.errors import BadInput
from trading.events import Target
from trading.features.contract import Feature
from trading.intervals import parse_interval
from trading.parameters import Kind

__all__ = ["FLAT", "HOLD", "LONG", "SHORT", "TARGETS", "Strategy", "StrategyFailed", "StrategyModule"]

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


class StrategyFailed(BadInput):
    """A strategy raised, or returned what no strategy may: the message names the candle, the place and the values."""

    title = "Strategy failed"


class StrategyModule(Protocol):
    """The names every strategy module has; it has a ``rule`` or a ``State`` and a ``step`` besides."""

    __name__: str
    Params: Any
    Row: Any
    RANGES: Mapping[str, Kind]

    def features(self, p: Any, /) -> Mapping[str, Feature]: ...
    def warmup(self, p: Any, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy with its parameters, ready to run. ``warmup`` covers the rule and every feature.

    It has a ``rule``, or a ``step`` that begins with ``start``. ``summary`` is its description's first line.
    """

    name: str
    params: Any
    row: type[Any]
    features: Mapping[str, Feature]
    warmup: int
    source: str
    rule: Callable[[Any, Any, Any], int] | None = None
    step: Callable[[Any, Any, Any], Any] | None = None
    start: Any = None
    confidence: Callable[[Any, Any], float] | None = None
    entry: Callable[[Any, Any], float | None] | None = None
    bracket: Callable[[Any, Any], tuple[float | None, float | None]] | None = None
    sizing: Callable[[Any, Any], float] | None = None
    tag: Callable[[Any, Any], str] | None = None
    reasons: Callable[[Any, Any], tuple[str, ...]] | None = None
    summary: str = ""

    def features_on(self, interval: str) -> dict[str, Feature]:
        """Its features where it decides on ``interval``: the ``interval`` of each is settled, empty for the same."""
        return {
            name: found.here if (found := feature.for_interval(interval)).interval == interval else found
            for name, feature in self.features.items()
        }

    def history_of(self, interval: str) -> int:
        """Candles of ``interval`` to replay so that a restart gives the same signals, bit for bit, as no restart."""
        width_ms = parse_interval(interval).typical_ms
        own = (item for item in self.features_on(interval).values() if not item.interval)
        # One more than the features want: the rule also sees the row before.
        return max(self.warmup, *(feature.history_of(width_ms) for feature in own), 0) + 1

    def other_intervals(self, intervals: Iterable[str]) -> tuple[str, ...]:
        """Intervals that features read beside the one of ``intervals`` that the strategy decides on."""
        used = (item.interval for name in intervals for item in self.features_on(name).values())
        return tuple(dict.fromkeys(name for name in used if name))

    def histories(self, interval: str) -> dict[str, int]:
        """By interval, the candles to replay for a strategy that decides on ``interval``."""
        found = {interval: self.history_of(interval)}
        for feature in self.features_on(interval).values():
            if feature.interval:
                need = feature.history_of(parse_interval(feature.interval).typical_ms)
                found[feature.interval] = max(need, found.get(feature.interval, 0))
        return found

    def params_dict(self) -> dict[str, int | float]:
        result: dict[str, int | float] = self.params._asdict()
        return result
