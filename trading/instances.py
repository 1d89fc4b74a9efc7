"""Configured strategies made ready: their identity, and how much history they want."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading.config.model import Config
from trading.config.rules import NO_ENTRIES, NO_EXITS, Entries, Exits
from trading.features.ranges import atr
from trading.features.registry import load_feature
from trading.intervals import DAY_MS, parse_interval
from trading.strategies.contract import Strategy
from trading.strategies.registry import check_entries, instance_id, load_strategy

__all__ = ["Instance", "history_ms", "resolve_instances", "wanted_natives"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One named strategy at work. It decides on candles that close after ``live_from_ms``; earlier ones warm it up.

    ``params`` holds every parameter, defaults included, ``source`` the text of a strategy that is not built in. Plain
    data, so that it can be sent to another process.
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
    source: str = ""
    exits: Exits = NO_EXITS
    entries: Entries = NO_ENTRIES

    def load(self) -> Strategy:
        """The strategy with this instance's parameters."""
        return load_strategy(self.strategy, self.params, self.source)


def resolve_instances(config: Config, live_from_ms: int, known: Mapping[str, int] | None = None) -> list[Instance]:
    """Every configured instance, in the order of the configuration; BadInput names a bad strategy or parameter.

    ``known`` holds the ``live_from_ms`` of instances that already started to decide, by instance id; new ones start at
    ``live_from_ms``.
    """
    result = []
    for item in config.strategies:
        strategy = load_strategy(item.strategy, item.params, item.source)
        check_entries(strategy, item.entries)
        identity = instance_id(item.name, strategy, profile=item.profile, leverage=item.leverage, size=item.size,
            exits=item.exits, entries=item.entries)  # fmt: skip
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
                source=item.source,
                exits=item.exits,
                entries=item.entries,
            )
        )
    return result


def history_ms(config: Config) -> int:
    """How much 1m history all instances and features want, within the bounds of ``config.history``.

    One interval more than the candles needed, because the first one is usually cut by the start of the history.
    """
    wanted = 0.0
    for item in config.strategies:
        strategy = load_strategy(item.strategy, item.params, item.source)
        for interval in item.intervals:
            wanted = max(wanted, *(_span_ms(*need) for need in _histories(strategy, item.exits, interval).items()))
    for spec in config.features:
        feature = load_feature(spec.kind, spec.params)
        for interval in spec.intervals:
            wanted = max(wanted, _span_ms(interval, feature.history_of(parse_interval(interval).typical_ms)))
    bounded = min(max(wanted, config.history.min_days * DAY_MS), config.history.max_days * DAY_MS)
    return -(-int(bounded) // 60_000) * 60_000


def wanted_natives(config: Config, market: str, offered: Collection[str], start_ms: int) -> dict[str, int]:
    """By interval, of those ``offered``, the open time from which on ``market`` needs candles to be warm at
    ``start_ms``.
    """
    spans: dict[str, int] = {}

    def want(interval: str, candles: int) -> None:
        spans[interval] = max(spans.get(interval, 0), _span_ms(interval, candles))

    for item in config.strategies:
        strategy = load_strategy(item.strategy, item.params, item.source)
        for name in item.intervals if market in config.markets_of(item) else ():
            for need in _histories(strategy, item.exits, name).items():
                want(*need)
    for spec in config.features:
        feature = load_feature(spec.kind, spec.params)
        for name in spec.intervals:
            want(name, feature.history_of(parse_interval(name).typical_ms))
    return {
        name: _next_open(name, max(0, start_ms - span_ms))
        for name, span_ms in spans.items()
        if name in offered and name != "1m"
    }


def _histories(strategy: Strategy, exits: Exits, interval: str) -> dict[str, int]:
    """By interval, the candles to replay for a strategy that decides on ``interval``, and for its exits."""
    found = strategy.histories(interval)
    if exits.in_atr:
        own = atr(exits.atr_period).history_of(parse_interval(interval).typical_ms)
        found[interval] = max(found[interval], own)
    return found


def _next_open(interval: str, time_ms: int) -> int:
    width = parse_interval(interval)
    opened = width.open_of(time_ms)
    return opened if opened == time_ms else width.close_of(opened)


def _span_ms(interval: str, candles: int) -> int:
    return (candles + 1) * parse_interval(interval).typical_ms
