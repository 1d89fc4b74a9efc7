"""Which Ray actor holds which market: one each, or several together, as the configuration says.

A lease and a cursor belong to a market, never to its holder, so a start may pack otherwise than the one before.
"""

from __future__ import annotations

from actors.session import actor_name
from trading.config.model import Config

__all__ = ["holder", "holders", "holding_role"]


def holders(config: Config, role: str) -> dict[str, tuple[str, ...]]:
    """Names of the actors for ``role`` (feed, timeframe or brain) with the markets of each, in order.

    Timeframes that share the process of their brain are found under the brain's name.
    """
    markets, role = config.markets, holding_role(config, role)
    if role == "brain":
        count = min(config.packing.brains, len(markets))
        size = -(-len(markets) // count)
    else:
        size = min({"feed": config.packing.feeds, "timeframe": config.packing.timeframes}[role], len(markets))
    groups = [markets[start : start + size] for start in range(0, len(markets), size)]
    return {_name(role, number, group, len(groups)): group for number, group in enumerate(groups, 1)}


def holder(config: Config, role: str, market: str) -> str:
    """The name of the actor that holds ``market`` in ``role``."""
    return next(name for name, group in holders(config, role).items() if market in group)


def holding_role(config: Config, role: str) -> str:
    """The role in whose process ``role`` runs: its own, but for timeframes that share that of their brain."""
    return "brain" if role == "timeframe" and config.packing.timeframes == 0 else role


def _name(role: str, number: int, group: tuple[str, ...], groups: int) -> str:
    if role == "brain":
        return actor_name(role, str(number) if groups > 1 else "")
    return actor_name(role, group[0]) if len(group) == 1 else actor_name(f"{role}s", str(number))
