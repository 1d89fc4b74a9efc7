"""What ``manta decisions explain`` does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from manta.service import database_target
from trading.errors import BadInput
from trading.explain import explain
from trading.intervals import parse_interval
from trading.storage.database import Connection, Database
from trading.storage.explained import known_books, newest_close, read_decision, read_decisions_at
from trading.storage.markets import read_markets
from trading.storage.migrate import migrate

__all__ = ["Moment", "explain_at", "explain_id", "explained_words"]


class Moment(NamedTuple):
    """The decisions of one close: the newest at or before ``at_ms``. None leaves a side open."""

    at_ms: int
    market: str | None
    interval: str | None
    book: str | None


def explain_id(decision_id: str, config: Path | None) -> dict[str, Any]:
    """The decision of this id, as a list of one; BadInput when there is none."""

    async def read(connection: Connection) -> list[dict[str, Any]]:
        found = None if "\0" in decision_id else await read_decision(connection, decision_id)
        if found is None:
            raise BadInput(
                f"There is no decision {decision_id!r}.",
                field="decision_id",
                value=decision_id,
                fix="GET /api/v1/decisions lists them; or give --at TIME.",
            )
        return [found]

    return {"decisions": [explain(item) for item in _read(config, read)]}


def explain_at(moment: Moment, config: Path | None) -> dict[str, Any]:
    """All decisions of the close that ``moment`` means; BadInput when there is none, and when the first one was."""
    interval = parse_interval(moment.interval).name if moment.interval is not None else None
    which = {"book": moment.book, "market": moment.market, "interval": interval}

    async def read(connection: Connection) -> list[dict[str, Any]]:
        newest, first = await newest_close(connection, moment.at_ms, **which)
        if newest is None:
            raise await _nothing(connection, moment, interval, first)
        return await read_decisions_at(connection, newest, **which)

    return {"at": moment.at_ms, "decisions": [explain(item) for item in _read(config, read)]}


async def _nothing(connection: Connection, moment: Moment, interval: str | None, first: int | None) -> BadInput:
    """Why no decision is found, from the most particular cause to the least."""
    books = await known_books(connection)
    markets = [market.key for market in await read_markets(connection)]
    run = await connection.fetchval("select true from books where book = $1", moment.book)
    for field, value, known in (("book", moment.book, books), ("market", moment.market, markets)):
        if value is not None and value not in known and not (field == "book" and run):
            fix = f"Known: {', '.join(known) or 'none yet'}."
            return BadInput(f"There is no {field} {value!r}.", field=field, value=value, fix=fix)
    asked = " ".join(filter(None, (moment.market, interval, moment.book)))
    if first is None:
        fix = "Decisions begin with the first candle after the start of `manta up`."
        if run and moment.book not in books:
            fix = "Of a backtest only decisions that acted are stored, and this one has none."
        return BadInput(f"There is no decision{f' of {asked}' if asked else ''} yet.", field="at", fix=fix)
    return BadInput(
        f"There is no decision{f' of {asked}' if asked else ''} at or before {_moment(moment.at_ms)}.",
        field="at",
        value=_moment(moment.at_ms),
        fix=f"The first was made at {_moment(first)}.",
    )


def explained_words(result: Mapping[str, Any]) -> str:
    """One paragraph for each decision, from what it saw to what became of it."""
    parts = ["\n".join(_words(item)) for item in result["decisions"]]
    at_ms = result.get("at")
    if at_ms is not None and result["decisions"][0]["close_time"] != at_ms:
        parts.insert(0, f"Nothing was decided at {_moment(at_ms)}; these are the newest decisions before.")
    return "\n\n".join(parts)


def _words(item: Mapping[str, Any]) -> list[str]:
    asked = item["asked"]
    params = ", ".join(f"{name} {value}" for name, value in (asked["params"] or {}).items())
    name = asked["strategy"] or "a strategy that is not recorded any more"
    features = ", ".join(f"{key} {_number(value)}" for key, value in item["features"].items()) or "none"
    stands = " (as corrected since)" if (item["candle"] or {}).get("revision", 0) > item["candle_revision"] else ""
    lines = [
        f"{_moment(item['close_time'])} {item['market']} {item['interval']}: {item['target']}, {item['outcome']}",
        f"  decision    {item['decision_id']} of {item['instance_id']} in book {item['book']} ({item['mode']})",
        f"  strategy    {name}{f' ({params})' if params else ''}",
        *([f"  its rule    {asked['summary']}"] if asked["summary"] else []),
        f"  candle      {_candle(item['candle'])}{stands}",
        f"  features    {features}",
        f"  conditions  {'as the strategy gives them' if item['from_reasons'] else 'it gives no reasons; its numbers'}",
        *(f"    - {text}" for text in item["conditions"]),
        f"  confidence  {item['confidence']:.2f}",
        f"  held before {item['position_before']}",
        f"  gate        {item['gate']['text']}",
    ]
    if not item["orders"]:
        return [*lines, "  orders      none"]
    for order in item["orders"]:
        size = order["quantity"] or f"for {order['quote_amount']}"
        why = f" ({order['reason']})" if order["reason"] else ""
        lines.append(f"  order       {order['action']} {size}, {_kind(order)}: {order['status']}{why}")
        lines += [
            f"    - {_moment(fill['time'])} {fill['side']} {fill['quantity']} at {fill['price']},"
            f" fee {fill['fee']} {fill['fee_asset']}"
            for fill in order["fills"]
        ]
    return lines


def _kind(order: Mapping[str, Any]) -> str:
    """The order's type, and for one that rests where and until when."""
    if order["price"] is None:
        return str(order["type"])
    return f"{order['type']} at {order['price']} until {_moment(order['expires_time'])}"


def _candle(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not stored"
    prices = ", ".join(f"{name} {_number(found[name])}" for name in ("open", "high", "low", "close", "volume"))
    return f"{prices}{'' if found['complete'] else ', incomplete'}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.10g}"


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read(config: Path | None, read: Any) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        async with database_target(config) as target, Database(target, application_name="manta decisions") as database:
            await migrate(target, "venue")
            found: list[dict[str, Any]] = await database.run(read)
            return found

    return asyncio.run(work())
