"""Table book_configs: who traded in a book at what costs, and from where on, so that a past day can be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from trading.accounts.capital import RetiredSleeve
from trading.config.model import Book, Config, FeatureSpec
from trading.config.rules import Entries, Exits
from trading.config.section import Section
from trading.instances import Instance
from trading.storage.cursors import read_cursors
from trading.storage.database import Connection
from trading.storage.retired import read_retired

__all__ = ["BookConfig", "Spell", "read_spells", "record_book_configs"]

_BRAIN = "brain:"
_SPELLS = "select ms(since), positions, config from book_configs where book = $1"
_RULES: Mapping[str, type[Section]] = {"exits": Exits, "entries": Entries}


@dataclass(frozen=True, slots=True)
class BookConfig:
    """What decides how a book is run: its settings, the instances that trade in it, the features shown beside, and what
    is held that no instance has any more.
    """

    book: Book
    instances: tuple[Instance, ...]
    features: tuple[FeatureSpec, ...]
    heal_wait_minutes: int
    retired: tuple[RetiredSleeve, ...] = ()

    @property
    def markets(self) -> set[str]:
        """Where it is traded, or something is still held."""
        return {name for item in self.instances for name in item.markets} | {item.market for item in self.retired}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-safe dict, money as text."""
        return {
            "book": self.book.model_dump(mode="json"),
            "instances": [_plain(item) for item in self.instances],
            "features": [item.model_dump(mode="json") for item in self.features],
            "heal_wait_minutes": self.heal_wait_minutes,
            "retired": [[*item[:4], _rules(item.exits)] for item in self.retired],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BookConfig:
        return cls(
            Book.model_validate(data["book"]),
            tuple(_instance(item) for item in data["instances"]),
            tuple(FeatureSpec.model_validate(item) for item in data["features"]),
            int(data["heal_wait_minutes"]),
            tuple(
                RetiredSleeve(*item[:4], *(Exits.model_validate(rules) for rules in item[4:]))
                for item in data.get("retired", ())
            ),
        )


class Spell(NamedTuple):
    """A configuration, in force from ``since_ms`` on until the next one.

    The brain of a market changed over at ``thinks_from[market]``, execution at ``trades_from[market]``; a market that
    is not named had not begun.
    """

    since_ms: int
    thinks_from: Mapping[str, int]
    trades_from: Mapping[str, int]
    config: BookConfig


async def record_book_configs(
    connection: Connection, config: Config, instances: Sequence[Instance], start_ms: int
) -> None:
    """Note how every book is run from now on; a configuration that is in force already changes nothing.

    Call it in the transaction that stores ``instances``, before any actor works with them. ``start_ms`` is the time
    from which a book that has not begun yet will trade.
    """
    for name, book in config.books.items():
        mine = tuple(item for item in instances if item.book == name)
        retired = tuple(await read_retired(connection, name, mine))
        if mine or retired:
            found = BookConfig(book, mine, config.features, config.timeframes.heal_wait_minutes, retired)
            await _record(connection, name, found.to_dict(), start_ms)


async def read_spells(connection: Connection, book: str, from_ms: int, to_ms: int) -> list[Spell]:
    """The configurations in force on any market during [``from_ms``, ``to_ms``], oldest first; empty when none was
    ever noted.

    A time before the first one is taken to have been run like it.
    """
    rows = await connection.fetch(_SPELLS + " and since <= at_ms($2) order by since, id", book, to_ms)
    if not rows:
        rows = await connection.fetch(_SPELLS + " order by since, id limit 1", book)
    # A market that was ahead of the others follows the configuration before for longer.
    before = [number for number, row in enumerate(rows) if max([row[0], *row[1].values()]) <= from_ms]
    return [_spell(book, *row) for row in rows[max(before, default=0) :]]


async def _record(connection: Connection, book: str, config: dict[str, Any], start_ms: int) -> None:
    newest = await connection.fetchval("select config from book_configs where book = $1 order by id desc limit 1", book)
    if newest == config:
        return
    thinks = await read_cursors(connection, _BRAIN)
    trades = await read_cursors(connection, _execution(book))
    await connection.execute(
        "insert into book_configs (book, since, positions, config) values ($1, at_ms($2), $3, $4)",
        book,
        min(trades.values(), default=start_ms),
        thinks | trades,
        config,
    )


def _spell(book: str, since_ms: int, positions: Mapping[str, int], config: Mapping[str, Any]) -> Spell:
    return Spell(
        since_ms,
        _after(_BRAIN, positions.items()),
        _after(_execution(book), positions.items()),
        BookConfig.from_dict(config),
    )


def _after(prefix: str, positions: Iterable[tuple[str, int]]) -> dict[str, int]:
    return {name.removeprefix(prefix): position for name, position in positions if name.startswith(prefix)}


def _execution(book: str) -> str:
    return f"execution:{book}:"


def _rules(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_defaults=True)


def _plain(instance: Instance) -> dict[str, Any]:
    data = asdict(instance)
    rules = {name: _rules(getattr(instance, name)) for name in _RULES}
    return (
        {key: str(value) if isinstance(value, Decimal) else value for key, value in data.items()}
        | rules
        | {
            "params": dict(instance.params),
            "markets": list(instance.markets),
            "intervals": list(instance.intervals),
        }
    )


def _instance(data: Mapping[str, Any]) -> Instance:
    tuples = {name: tuple(data[name]) for name in ("markets", "intervals")}
    numbers = {name: Decimal(data[name]) for name in ("leverage", "size", "share")}
    rules = {name: kind.model_validate(data.get(name, {})) for name, kind in _RULES.items()}
    return Instance(**{**data, **tuples, **numbers, **rules})
