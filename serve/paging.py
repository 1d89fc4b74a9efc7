"""Lists in pages. A cursor names the last row a client saw, so rows that come in between are neither lost nor doubled.

Each list has one total order by columns that never change. Series (candles, features, equity) stand in time order in
every page and, without ``from``, the newest page comes first; other lists are newest first.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serve.database import Database
from serve.parameters import Paging
from trading.errors import BadInput

__all__ = ["Key", "Listing", "Page"]


@dataclass(frozen=True, slots=True)
class Key:
    """One order column: text or a whole number, or a timestamptz, which cursors carry as epoch milliseconds."""

    column: str
    is_time: bool = False

    @property
    def selected(self) -> str:
        return f"ms({self.column})" if self.is_time else self.column

    def given(self, number: int) -> str:
        return f"at_ms(${number}::bigint)" if self.is_time else f"${number}"


@dataclass(frozen=True, slots=True)
class Page:
    """``items`` are JSON texts; ``next_cursor`` is None on the last page."""

    items: list[str]
    next_cursor: str | None

    def json(self, **head: object) -> bytes:
        """The response body: ``head``, then items and next_cursor."""
        start = "".join(f"{json.dumps(name)}:{json.dumps(value)}," for name, value in head.items())
        return f'{{{start}"items":[{",".join(self.items)}],"next_cursor":{json.dumps(self.next_cursor)}}}'.encode()


@dataclass(slots=True)
class Listing:
    """One list: ``source`` is ``from …`` in SQL, ``item`` an expression giving a row's JSON text, ``key`` its order
    columns.

    ``where`` gathers conditions with their arguments.
    """

    name: str
    source: str
    item: str
    key: Sequence[Key]
    where: list[str] = field(default_factory=list)
    args: list[Any] = field(default_factory=list)
    filters: list[Any] = field(default_factory=list)

    def match(self, condition: str, value: Any) -> None:
        """Add a condition whose ``{}`` stands for ``value``, unless ``value`` is None."""
        self.filters.append(value)
        if value is not None:
            self.args.append(value)
            self.where.append(condition.format(f"${len(self.args)}"))

    async def page(self, database: Database, paging: Paging, *, forward: bool, reverse: bool) -> Page:
        """Up to ``paging.limit`` items: towards newer rows if ``forward``; ``reverse`` turns the page around."""
        limit = paging.limit
        last = self._read(paging.cursor, forward) if paging.cursor else None
        conditions, args = list(self.where), list(self.args)
        if last is not None:
            columns = ", ".join(key.column for key in self.key)
            given = ", ".join(key.given(len(args) + n) for n, key in enumerate(self.key, 1))
            conditions.append(f"({columns}) {'>' if forward else '<'} ({given})")
            args += last
        direction = "asc" if forward else "desc"
        args.append(limit + 1)
        query = (
            f"select {self.item} as item, {', '.join(key.selected for key in self.key)} "
            f"{self.source} {'where ' + ' and '.join(conditions) if conditions else ''} "
            f"order by {', '.join(f'{key.column} {direction}' for key in self.key)} limit ${len(args)}"
        )
        rows = await database.fetch(query, *args)
        more = len(rows) > limit
        rows = rows[:limit]
        following = self._write([*rows[-1]][1:], forward) if more else None
        items = [row[0] for row in rows]
        return Page(items[::-1] if reverse else items, following)

    def _mark(self, forward: bool) -> int:
        return zlib.crc32(json.dumps([self.name, forward, self.filters], default=str).encode())

    def _write(self, key: list[Any], forward: bool) -> str:
        text = json.dumps([self._mark(forward), *key], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def _read(self, cursor: str, forward: bool) -> list[Any]:
        try:
            mark, *key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            known = len(key) == len(self.key) and all(_is_key(value) for value in key)
        except (binascii.Error, UnicodeError, ValueError, TypeError):
            mark, key, known = None, [], False
        if not known or mark != self._mark(forward):
            raise BadInput(
                "This cursor does not belong to this list and these filters.",
                field="cursor",
                value=cursor[:80],
                fix="Use next_cursor of the page before, with the same filters.",
            )
        return key


def _is_key(value: object) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
