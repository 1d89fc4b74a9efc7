"""Configured strategies made ready: their identity, and how much history they want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading.config.model import Config
from trading.features.registry import load_feature
from trading.intervals import DAY_MS, parse_interval
from trading.strategies.contract import Strategy
from trading.strategies.registry import instance_id, load_strategy

__all__ = ["Instance", "history_ms", "resolve_instances"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One named strategy at work. It decides on candles that close after ``live_from_ms``; earlier ones warm it up.

    ``params`` holds every parameter, defaults included. Plain data, so that it can be sent to another process.
    """

    instance_id: str
    name: str
    strategy: str
    params: Mapping[str, int | float]
    profile: str
    markets: tuple[str, ...]
    intervals: tuple[str, ...]
    book: str
    leverage: Decimal
    size: Decimal
    share: Decimal
    live_from_ms: int

    def load(self) -> Strategy:
        """The strategy with this instance's parameters."""
        return load_strategy(self.strategy, self.params)


def resolve_instances(config: Config, live_from_ms: int, known: Mapping[str, int] | None = None) -> list[Instance]:
    """Every configured instance, in the order of the configuration; BadInput names a bad strategy or parameter.

    ``known`` holds the ``live_from_ms`` of instances that already started to decide, by instance id; new ones start at
    ``live_from_ms``.
    """
    result = []
    for item in config.strategies:
        strategy = load_strategy(item.strategy, item.params)
        identity = instance_id(item.name, strategy, profile=item.profile, leverage=item.leverage, size=item.size)
        result.append(
            Instance(
                instance_id=identity,
                name=item.name,
                strategy=item.strategy,
                params=strategy.params_dict(),
                profile=item.profile,
                markets=config.markets_of(item),
                intervals=item.intervals,
                book=item.book,
                leverage=item.leverage,
                size=item.size,
                share=item.share,
                live_from_ms=(known or {}).get(identity, live_from_ms),
            )
        )
    return result


def history_ms(config: Config) -> int:
    """How much 1m history all instances and features want, within the bounds of ``config.history``.

    One interval more than the candles needed, because the first one is usually cut by the start of the history.
    """
    wanted = 0.0
    for item in config.strategies:
        candles = load_strategy(item.strategy, item.params).history
        wanted = max(wanted, *(_span_ms(name, candles) for name in item.intervals))
    for spec in config.features:
        candles = load_feature(spec.kind, spec.params).history
        wanted = max(wanted, *(_span_ms(name, candles) for name in spec.intervals))
    bounded = min(max(wanted, config.history.min_days * DAY_MS), config.history.max_days * DAY_MS)
    return -(-int(bounded) // 60_000) * 60_000


def _span_ms(interval: str, candles: int) -> int:
    return (candles + 1) * parse_interval(interval).typical_ms
