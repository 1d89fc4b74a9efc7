"""What clients write in queries: times, intervals, markets."""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from serve.database import Database
from serve.problems import NotFound
from trading.errors import BadInput
from trading.intervals import parse_interval

__all__ = [
    "WARNING",
    "InSpan",
    "IntervalName",
    "Markets",
    "Naming",
    "Paged",
    "Paging",
    "Span",
    "WhichMarket",
    "interval_name",
    "span",
]

_LATEST_MS = 4_102_444_800_000  # 2100-01-01: a later number is nanoseconds or a mistake

IntervalName = Annotated[str, Query(max_length=20, description="Like 1m, 37m, 1h, 1d, 1w or 1M (a month).")]


def time_ms(text: str | None, name: str) -> int | None:
    """Epoch milliseconds of ``text`` (a number or ISO 8601); BadInput names the field."""
    if text is None:
        return None
    value: int | None = None
    # A plus sign in a query arrives as a blank.
    plain = text.strip().replace(" ", "+") if "T" in text else text.strip()
    if re.fullmatch(r"-?[0-9]{1,16}", plain):
        value = int(plain)
    else:
        try:
            moment = datetime.fromisoformat(plain)
            value = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            value = None
    if value is None or not 0 <= value < _LATEST_MS:
        raise BadInput(
            f"{name} {text!r} is no time between 1970 and 2100.",
            field=name,
            value=text,
            fix="Give epoch milliseconds, or ISO 8601 such as 2025-06-01T12:00:00Z.",
        )
    return value


@dataclass(frozen=True, slots=True)
class Span:
    """A range of times, end exclusive; None leaves a side open."""

    start_ms: int | None = None
    end_ms: int | None = None


def span(from_: str | None, to: str | None, *, names: tuple[str, str] = ("from", "to")) -> Span:
    """Both ends of a range; BadInput when it is upside down."""
    start, end = time_ms(from_, names[0]), time_ms(to, names[1])
    if start is not None and end is not None and start > end:
        raise BadInput(
            f"{names[0]} lies after {names[1]}.", field=names[0], value=from_, fix="Swap them, or leave one out."
        )
    return Span(start, end)


_TIME = "epoch milliseconds, or ISO 8601 (UTC when it names no zone)."


def _span_query(
    from_: Annotated[str | None, Query(alias="from", max_length=40, description=f"Inclusive: {_TIME}")] = None,
    to: Annotated[str | None, Query(max_length=40, description=f"Exclusive: {_TIME}")] = None,
) -> Span:
    return span(from_, to)


InSpan = Annotated[Span, Depends(_span_query)]


@dataclass(frozen=True, slots=True)
class Paging:
    """How many rows, and after which."""

    limit: int
    cursor: str | None


def _paging_query(
    limit: Annotated[int, Query(ge=1, le=5000, description="Rows of one page.")] = 100,
    cursor: Annotated[
        str | None, Query(max_length=500, description="next_cursor of the page before; keep all other filters.")
    ] = None,
) -> Paging:
    return Paging(limit, cursor)


Paged = Annotated[Paging, Depends(_paging_query)]


WARNING = "manta.warning"
"""Where a request's scope holds what its answer says in the header ``Warning``."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What a client calls the market it means; both None when it does not say.

    ``heard`` is the request's scope: what is to be said beside the answer goes there, under ``WARNING``.
    """

    market: str | None
    symbol: str | None
    heard: MutableMapping[str, Any] | None = None


def _market_query(
    request: HTTPConnection,
    market: Annotated[
        str | None, Query(max_length=80, description="Like binance:BTCUSDT. May be left out when there is one.")
    ] = None,
    symbol: Annotated[
        str | None, Query(max_length=80, description="Instead of market: BTCUSDT, BTC/USDT, BTC_USDT or BTC.")
    ] = None,
) -> Naming:
    return Naming(market, symbol, request.scope)


WhichMarket = Annotated[Naming, Depends(_market_query)]


def interval_name(text: str) -> str:
    """The canonical name of an interval."""
    return parse_interval(text).name


def _plain(symbol: str) -> str:
    return re.sub(r"[/_-]", "", symbol).upper()


@dataclass(slots=True)
class Markets:
    """Markets by name. Rows of table ``markets`` are never changed or removed, so what was read stays true.

    A name that Manta resolved to another one of the venue's at a start means that here too; the answer says so.
    """

    database: Database
    configured: tuple[str, ...]
    _ids: dict[str, int] = field(default_factory=dict)
    _bases: dict[str, tuple[str, str]] = field(default_factory=dict)
    _aliases: dict[str, str] = field(default_factory=dict)
    _read_at: float = float("-inf")

    async def find(self, naming: Naming) -> tuple[str, int]:
        """(``venue:symbol``, id) of the one market meant; BadInput or NotFound lists the candidates."""
        market, symbol = naming.market, naming.symbol
        name = market or symbol
        where = "market" if market or not symbol else "symbol"
        if market and symbol and symbol != market:
            raise BadInput("Give market or symbol, not both.", field="symbol", fix="Leave out symbol.")
        if not name:
            known = [key for key in self.configured if key in await self._known()] or list(await self._known())
            if len(known) == 1:
                return known[0], self._ids[known[0]]
            raise BadInput(
                "Which market is not said." if known else "There is no market yet.",
                field="market",
                fix=f"Use market={known[0]} or another of {', '.join(known)}."
                if known
                else "Wait for the first start.",
            )
        found = self._matching(name)
        if not found:
            await self._read()
            found = self._matching(name) or self._meant(name, naming)
        if len(found) == 1:
            return found[0], self._ids[found[0]]
        if found:
            raise BadInput(
                f"{name!r} may be {', '.join(found)}.", field=where, value=name, fix="Give the market as venue:symbol."
            )
        raise NotFound(
            f"There is no market {name!r}.",
            field=where,
            value=name,
            fix=f"{self._near(name)}Known: {', '.join(sorted(self._ids))}." if self._ids else None,
        )

    async def find_id(self, naming: Naming) -> int | None:
        """The id of the market meant, None when all are."""
        return (await self.find(naming))[1] if naming.market or naming.symbol else None

    async def all(self) -> dict[str, int]:
        """Every market and its id: configured ones first, in their order."""
        await self._read()
        ordered = [key for key in self.configured if key in self._ids]
        return {key: self._ids[key] for key in (*ordered, *sorted(self._ids.keys() - set(ordered)))}

    def _matching(self, name: str) -> list[str]:
        if name in self._ids:
            return [name]
        plain = _plain(name)
        by_symbol = [key for key in self._ids if _plain(key.partition(":")[2]) == plain]
        found = by_symbol or [key for key in self._ids if self._bases[key][0].upper() == plain]
        return [key for key in found if key in self.configured] or found

    def _meant(self, name: str, naming: Naming) -> list[str]:
        """The market that ``name`` is an alias of, which is said beside the answer."""
        plain = _plain(name)
        written = [
            alias
            for alias, market in self._aliases.items()
            if market in self._ids and (alias == name or _plain(alias.partition(":")[2]) == plain)
        ]
        if len(written) == 1 and naming.heard is not None:
            naming.heard[WARNING] = f"{written[0]} means {self._aliases[written[0]]}"
        return list(dict.fromkeys(self._aliases[alias] for alias in written))

    def _near(self, name: str) -> str:
        symbols = {_plain(key.partition(":")[2] or key): key for key in self._ids}
        near = get_close_matches(_plain(name.partition(":")[2] or name), list(symbols), n=3, cutoff=0.5)
        return f"Did you mean {', '.join(symbols[each] for each in near)}? " if near else ""

    async def _known(self) -> dict[str, int]:
        if not self._ids or time.monotonic() - self._read_at > 10:
            await self._read()
        return self._ids

    async def _read(self) -> None:
        rows = await self.database.fetch(
            "select id, venue || ':' || symbol as key, base, quote from markets order by id"
        )
        self._ids = {row["key"]: row["id"] for row in rows}
        self._bases = {row["key"]: (row["base"], row["quote"]) for row in rows}
        aliases = await self.database.fetch("select key, value from database_info where key like 'alias:%'")
        self._aliases = {row["key"].removeprefix("alias:"): row["value"] for row in aliases}
        self._read_at = time.monotonic()
