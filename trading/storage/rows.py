"""How records become table rows and come back: one description of each table, from which the SQL is made.

Rows travel as one array a column. Attributes hold the market's key, epoch milliseconds and Decimals; columns hold the
market's number, timestamptz and numeric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trading.candles import UNIT
from trading.storage.database import Connection
from trading.storage.markets import market_ids

__all__ = ["Field", "Table", "insert_together"]

T = TypeVar("T")

_ARGUMENT = re.compile(r"\$(\d+)")
_UNIT_SEPARATOR = chr(31)
_KEEP = "do nothing"
# How a value of each kind is sent (array element type), stored (from n.<column>) and read (to the attribute's value).
_SENT = {"market": "int", "time": "bigint", "units": "float8", "texts": "text"}
_STORED = {
    "time": "at_ms(n.{0})",
    "texts": "string_to_array(n.{0}, chr(31))",
}
_READ = {"market": "m.venue || ':' || m.symbol", "time": "ms(t.{0})"}


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute and its column. ``kind`` is an SQL type, or market, time (ms), units (10**-8 as float8), texts."""

    attribute: str
    kind: str
    column: str = ""

    @property
    def name(self) -> str:
        return self.column or ("market_id" if self.kind == "market" else self.attribute)


class Table(Generic[T]):
    """Inserts and reads the rows of one table as records of one kind.

    A row that is there already stays as it is, or, with ``update``, is changed so where ``key`` is equal.
    """

    def __init__(
        self, name: str, make: Callable[..., T], fields: Sequence[Field], *, key: str = "", update: str = ""
    ) -> None:
        self._make = make
        self._fields = tuple(fields)
        self._market = next((field.attribute for field in self._fields if field.kind == "market"), None)
        columns = ", ".join(field.name for field in self._fields)
        sent = ", ".join(f"${n}::{_SENT.get(field.kind, field.kind)}[]" for n, field in enumerate(self._fields, 1))
        stored = ", ".join(_STORED.get(field.kind, "n.{0}").format(field.name) for field in self._fields)
        self._insert = (
            f"insert into {name} ({columns}) select {stored} from unnest({sent}) with ordinality as n({columns}, place)"  # noqa: S608
            f" order by n.place on conflict {f'({key}) do update set {update}' if update else _KEEP}"
        )
        read = ", ".join(_READ.get(field.kind, "t.{0}").format(field.name) for field in self._fields)
        join = " join markets m on m.id = t.market_id" if self._market else ""
        self._select = f"select {read} from {name} t{join}"  # noqa: S608

    async def insert(self, connection: Connection, records: Iterable[T]) -> int:
        """Insert ``records`` in one statement; returns how many rows were new or changed."""
        rows = list(records)
        if not rows:
            return 0
        numbers: dict[str, int] = {}
        if self._market is not None:
            numbers = await market_ids(connection, {getattr(row, self._market) for row in rows})
        status = await connection.execute(self._insert, *(self._column(field, rows, numbers) for field in self._fields))
        return int(status.rsplit(" ", 1)[1])

    def markets(self, rows: Iterable[T]) -> set[str]:
        """Keys of the markets that ``rows`` belong to."""
        return set() if self._market is None else {getattr(row, self._market) for row in rows}

    def part(self, rows: list[T], numbers: Mapping[str, int], place: int) -> tuple[str, list[Any]]:
        """The insert of ``rows`` as a part of a larger statement, with ``place`` arguments before its own."""
        sql = _ARGUMENT.sub(lambda found: f"${int(found[1]) + place}", self._insert)
        return sql, [self._column(field, rows, numbers) for field in self._fields]

    async def select(self, connection: Connection, tail: str, *arguments: object) -> list[T]:
        """Read records; ``tail`` is the SQL from ``where`` on, in which the table is ``t`` and its market ``m``."""
        rows = await connection.fetch(f"{self._select} {tail}", *arguments)
        return [self._make(**self._values(tuple(row))) for row in rows]

    def _column(self, field: Field, rows: list[T], numbers: Mapping[str, int]) -> list[Any]:
        values = [getattr(row, field.attribute) for row in rows]
        if field.kind == "market":
            return [numbers[value] for value in values]
        if field.kind == "units":
            return [value / UNIT for value in values]
        if field.kind == "texts":
            # An array of arrays would have to be a rectangle: each list travels as one text.
            return [_UNIT_SEPARATOR.join(value) for value in values]
        return values

    def _values(self, row: Sequence[Any]) -> dict[str, Any]:
        values = {}
        for place, field in enumerate(self._fields):
            value = row[place]
            if field.kind == "units":
                value = round(value * UNIT)
            elif field.kind == "texts":
                value = tuple(value)
            values[field.attribute] = value
        return values


async def insert_together(connection: Connection, parts: Iterable[tuple[Table[Any], Iterable[Any]]]) -> None:
    """Insert rows of several tables in one statement, for each costs a journey; as ``Table.insert`` one by one would.

    A row may refer to one of another part: Postgres checks that when the statement ends.
    """
    filled = [(table, list(rows)) for table, rows in parts]
    filled = [(table, rows) for table, rows in filled if rows]
    if not filled:
        return
    numbers = await market_ids(connection, set().union(*(table.markets(rows) for table, rows in filled)))
    inserts: list[str] = []
    arguments: list[Any] = []
    for table, rows in filled:
        sql, own = table.part(rows, numbers, len(arguments))
        inserts.append(sql)
        arguments += own
    *before, last = inserts
    named = ", ".join(f"part{number} as ({sql})" for number, sql in enumerate(before))
    await connection.execute(f"with {named} {last}" if named else last, *arguments)
