"""``manta reload``: what changes, what must be restarted for it, and what cannot change while Manta runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trading.config.model import Config
from trading.errors import ConfigError

__all__ = ["ReloadPlan", "plan_reload"]

# Everything else needs a restart: it holds sockets, processes or money that a reload must not touch.
_RELOADED = ("strategies", "strategies_folder", "features", "intervals", "books", "notify", "gaps")
_FIXED_OF_BOOKS = ("mode", "currency")
# Lists whose entries have names: an entry is known by its name, wherever it stands.
_NAMED = ("strategies", "features")


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """``changed`` are the keys that differ; ``roles`` the actors that start anew with the new configuration.

    ``intervals`` are those that minutes were not folded into before.
    """

    changed: tuple[str, ...]
    roles: tuple[str, ...]
    intervals: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"changed": list(self.changed), "restarted": list(self.roles), "new_intervals": list(self.intervals)}


def plan_reload(old: Config, new: Config) -> ReloadPlan:
    """What a reload from ``old`` to ``new`` does; ConfigError names every changed key that needs a restart."""
    changed = sorted(_differences(_plain(old), _plain(new)))
    refused = [key for key in changed if _is_fixed(key, old, new)]
    if refused:
        raise ConfigError(
            f"A reload cannot change {', '.join(refused)}.",
            field=refused[0],
            fix="Undo the change, or apply it with `manta down` and `manta up`.",
        )
    sections = {key.partition(".")[0] for key in changed}
    fresh = tuple(name for name in new.all_intervals() if name not in old.all_intervals())
    roles = []
    if set(new.all_intervals()) != set(old.all_intervals()):
        roles.append("timeframe")
    if sections & {"strategies", "features", "books", "intervals"}:
        roles += ["brain", "execution"]
    if "notify" in sections:
        roles += [role for role in ("execution", "notifier") if role not in roles]
    return ReloadPlan(tuple(changed), tuple(roles), fresh)


def _is_fixed(key: str, old: Config, new: Config) -> bool:
    parts = key.split(".")
    if parts[0] != "books":
        return parts[0] not in _RELOADED
    # A book that comes or goes as a whole is no change of it.
    lives = parts[1] in old.books and parts[1] in new.books
    return lives and len(parts) > 2 and parts[2] in _FIXED_OF_BOOKS


def _plain(config: Config) -> dict[str, Any]:
    data = config.model_dump(mode="json")
    for section in _NAMED:
        data[section] = {item["name"]: item for item in data[section]}
    return data


def _differences(old: Any, new: Any, at: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            here = f"{at}.{key}" if at else str(key)
            if key not in old or key not in new:
                yield here
            else:
                yield from _differences(old[key], new[key], here)
    elif old != new:
        yield at
