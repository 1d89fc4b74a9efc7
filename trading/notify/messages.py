"""An event envelope as words: a line of text, or a Discord message that stays within Discord's limits."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, NamedTuple

from trading.events import EventKind

__all__ = ["Words", "discord_body", "is_trouble", "line", "money", "percent", "utc", "words"]

_REPEAT = "possible repeat"
_DOLLARS = frozenset({"USD", "USDT", "USDC", "FDUSD", "TUSD", "BUSD"})
_RED, _GREEN, _GREY = 0xE74C3C, 0x2ECC71, 0x95A5A6
_COLOURS = {
    "start": 0x3498DB,
    "stop": _GREY,
    "decision": 0xF1C40F,
    "fill": _GREEN,
    "stale": _RED,
    "fresh": _GREEN,
    "gap": 0x9B59B6,
}
# Discord's limits, counted here in UTF-16 units: never fewer than Discord counts.
_TITLE, _DESCRIPTION, _FIELDS, _FIELD_NAME, _FIELD_VALUE, _FOOTER, _EMBED = 256, 4096, 25, 256, 1024, 2048, 6000
_MARKUP = re.compile(r"([\\*_~`|>#\[\]])")
_PING = re.compile(r"@(?=everyone|here)|<(?=[@#!:/])", re.IGNORECASE)
_DIGITS = Decimal("1e-8")


class Words(NamedTuple):
    """A message before any channel's formatting: facts are (name, value) pairs."""

    title: str
    facts: tuple[tuple[str, str], ...]


def words(body: Mapping[str, Any]) -> Words:
    """What the envelope ``body`` says; whatever it lacks is left out. An unknown kind shows its plain values."""
    payload = body.get("payload")
    known = payload if isinstance(payload, Mapping) else {}
    kind = str(body.get("kind", ""))
    render = {
        "start": _session,
        "stop": _session,
        "decision": _decision,
        "fill": _fill,
        "stale": _freshness,
        "fresh": _freshness,
        "alert": _alert,
        "gap": _gap,
    }.get(kind, _other)
    found = render(kind, known, body)
    return Words(found.title, tuple((name, value) for name, value in found.facts if value))


def line(body: Mapping[str, Any], *, maybe_duplicate: bool = False) -> str:
    """The message as one line of text."""
    title, facts = words(body)
    told = ", ".join(f"{name} {value}" for name, value in facts)
    parts = [title, told, utc(body["event_time_ms"]) if _is_time(body.get("event_time_ms")) else ""]
    return _flat(" · ".join(part for part in parts if part) + (f" ({_REPEAT})" if maybe_duplicate else ""))


def discord_body(
    body: Mapping[str, Any], *, username: str, dedupe_key: str, maybe_duplicate: bool = False
) -> dict[str, Any]:
    """The JSON of a webhook call: one embed that pings nobody. Its footer is ``dedupe_key``: repeats show."""
    title, facts = words(body)
    footer = _escape(f"{_REPEAT} · {dedupe_key}" if maybe_duplicate else dedupe_key)
    embed: dict[str, Any] = {
        "title": _cut(_escape(f"{title} ({_REPEAT})" if maybe_duplicate else title), _TITLE),
        "color": _colour(body),
        "footer": {"text": _cut(footer, _FOOTER)},
    }
    room = _EMBED - _length(embed["title"]) - _length(embed["footer"]["text"])
    if _is_time(body.get("event_time_ms")):
        embed["description"] = utc(body["event_time_ms"])
        embed["timestamp"] = _moment(body["event_time_ms"]).isoformat().replace("+00:00", "Z")
        room -= _length(embed["description"])
    fields = []
    for name, value in facts[:_FIELDS]:
        field = {"name": _cut(_escape(name), _FIELD_NAME), "value": _cut(_escape(value), _FIELD_VALUE), "inline": True}
        room -= _length(str(field["name"])) + _length(str(field["value"]))
        if room < 0:
            break
        fields.append(field)
    embed["fields"] = fields
    return {"username": username, "embeds": [embed], "allowed_mentions": {"parse": []}}


def is_trouble(body: Mapping[str, Any]) -> bool:
    """Whether the envelope tells that something is wrong, rather than what happened or that it is over."""
    return body.get("kind") == EventKind.STALE or (body.get("kind") == EventKind.ALERT and not _is_over(body))


def money(value: Any, currency: str = "USDT", *, signed: bool = False) -> str:
    """``$65,432.50``, or ``0.01500000 BTC`` when the currency is no dollar; below one dollar up to eight decimals."""
    amount = _decimal(value)
    if amount is None:
        return ""
    sign = "-" if amount < 0 else "+" if signed and amount > 0 else ""
    size = abs(amount)
    if currency not in _DOLLARS:
        return f"{sign}{_rounded(size, _DIGITS):,f} {currency}".rstrip()
    # Two decimals would show a price such as 0.00001234 as nothing.
    if 0 < size < Decimal("0.01") or (size < 1 and size != _rounded(size, Decimal("0.01"))):
        return f"{sign}${_rounded(size, _DIGITS).normalize():,f}"
    return f"{sign}${_rounded(size, Decimal('0.01')):,f}"


def percent(fraction: Any) -> str:
    """A signed share of one with two decimals: ``0.0123`` is ``+1.23%``."""
    share = _decimal(fraction)
    if share is None:
        return ""
    shown = _rounded(share * 100, Decimal("0.01"))
    return f"{abs(shown):,f}%" if shown == 0 else f"{shown:+,f}%"


def utc(time_ms: int) -> str:
    """``2025-11-02 14:35:00 UTC``: to the second, cut off."""
    return f"{_moment(time_ms):%Y-%m-%d %H:%M:%S} UTC"


def _session(kind: str, payload: Mapping[str, Any], _body: Mapping[str, Any]) -> Words:
    facts = (
        ("markets", _listed(payload.get("markets"))),
        ("strategies", _listed(payload.get("strategies"))),
        ("data", "simulator" if payload.get("origin") == "simulator" else ""),
        ("reason", _text(payload.get("reason"))),
    )
    return Words("Manta started" if kind == "start" else "Manta stopped", facts)


def _decision(_kind: str, payload: Mapping[str, Any], body: Mapping[str, Any]) -> Words:
    actions = payload.get("actions")
    title = f"Decision: {_listed(actions) or _text(payload.get('target'))} {_market(payload, body)}".rstrip()
    features = payload.get("features")
    seen = features.items() if isinstance(features, Mapping) else ()
    facts = (
        ("interval", _text(payload.get("interval"))),
        ("price", money(payload.get("price"), _quote(_market(payload, body)))),
        *((str(name), _number(value)) for name, value in seen),
        ("confidence", _number(payload.get("confidence"))),
        ("instance", _text(payload.get("instance_id"))),
        ("book", _text(payload.get("book"))),
        ("reason", _text(payload.get("reason"))),
    )
    return Words(title, facts)


def _fill(_kind: str, payload: Mapping[str, Any], body: Mapping[str, Any]) -> Words:
    market = _market(payload, body)
    quote = _quote(market)
    price, quantity = _decimal(payload.get("price")), _decimal(payload.get("quantity"))
    value = price * quantity if price is not None and quantity is not None else None
    amount = "" if quantity is None else f"{quantity.normalize():,f} "
    facts = (
        ("price", money(price, quote)),
        ("value", money(value, quote)),
        ("fee", money(payload.get("fee"), _text(payload.get("fee_asset")) or quote)),
        ("result", _result(payload, value, quote)),
        ("interval", _text(payload.get("interval"))),
        ("instance", _text(payload.get("instance_id"))),
        ("book", _text(payload.get("book"))),
        ("reason", _text(payload.get("reason"))),
    )
    return Words(f"Fill: {_text(payload.get('side'))} {amount}{market}".rstrip(), facts)


def _result(payload: Mapping[str, Any], value: Decimal | None, quote: str) -> str:
    """Profit of a closing fill, in money and as a share of what the position had cost."""
    profit = _decimal(payload.get("realized_pnl"))
    if payload.get("role") != "exit" or profit is None:
        return ""
    cost = None if value is None else value - profit if payload.get("side") == "SELL" else value + profit
    share = f" ({percent(profit / cost)})" if cost is not None and cost > 0 else ""
    return money(profit, quote, signed=True) + share


def _freshness(kind: str, payload: Mapping[str, Any], body: Mapping[str, Any]) -> Words:
    market = _market(payload, body)
    facts = [("reason", _text(payload.get("reason")))]
    if kind == "stale":
        facts.append(("meaning", "its targets are not acted on until it is fresh again"))
    return Words(f"Stale: {market}" if kind == "stale" else f"Fresh again: {market}", tuple(facts))


def _alert(_kind: str, payload: Mapping[str, Any], body: Mapping[str, Any]) -> Words:
    title = _text(payload.get("title")) or f"Trouble {_text(body.get('stream'))}".rstrip()
    return Words(title, (("message", _text(payload.get("message"))),))


def _gap(_kind: str, payload: Mapping[str, Any], _body: Mapping[str, Any]) -> Words:
    """A message about price gaps brings its text along; the rest says where it comes from."""
    lines = payload.get("lines")
    listed = [(str(name), _text(value)) for name, value in lines] if isinstance(lines, list | tuple) else []
    facts = ((name, _text(payload.get(name))) for name in ("market", "mode", "source"))
    return Words(_text(payload.get("text")), (*listed, *facts))


def _is_over(body: Mapping[str, Any]) -> bool:
    payload = body.get("payload")
    return isinstance(payload, Mapping) and payload.get("over") is True


def _colour(body: Mapping[str, Any]) -> int:
    if body.get("kind") == EventKind.ALERT:
        return _GREEN if _is_over(body) else _RED
    return _COLOURS.get(str(body.get("kind", "")), _GREY)


def _other(kind: str, payload: Mapping[str, Any], body: Mapping[str, Any]) -> Words:
    title = _text(payload.get("title")) or f"{kind} {_text(body.get('stream'))}".strip() or "Message"
    return Words(title, tuple((str(name), _text(value)) for name, value in payload.items() if name != "title"))


def _market(payload: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    return _text(payload.get("market")) or _text(body.get("stream"))


def _quote(market: str) -> str:
    """The dollar that a market's symbol ends with; empty when it is priced in something else."""
    return next((name for name in sorted(_DOLLARS, key=len, reverse=True) if market.upper().endswith(name)), "")


def _listed(value: Any) -> str:
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else _text(value)


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, Mapping | list | tuple) else str(value)


def _number(value: Any) -> str:
    found = _decimal(value)
    if found is None:
        return ""
    return f"{_rounded(found, Decimal('0.01') if abs(found) >= 1 else Decimal('0.0001')):,f}"


def _decimal(value: Any) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    # What no market can show would only break the rounding.
    return found if found.is_finite() and abs(found) < Decimal("1e15") else None


def _rounded(value: Decimal, step: Decimal) -> Decimal:
    return value.quantize(step, ROUND_HALF_EVEN)


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 253_402_300_800_000


def _moment(time_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _escape(text: str) -> str:
    """Markup becomes plain text, and an @everyone one that pings nobody."""
    return _PING.sub(lambda found: f"{found.group()}\u200b", _MARKUP.sub(r"\\\1", _flat(text)))


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` UTF-16 units; never empty, because Discord refuses empty parts."""
    if _length(text) > limit:
        kept = text.encode("utf-16-le")[: 2 * (limit - 1)].decode("utf-16-le", "ignore")
        # An escape character that lost what it escaped would escape the ellipsis.
        loose = len(kept) - len(kept.rstrip("\\"))
        text = (kept[:-1] if loose % 2 else kept) + "…"
    return text or "–"
