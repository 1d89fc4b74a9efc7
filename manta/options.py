"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from trading.errors import BadInput

# No market is older than 1970.
_MOST_DAYS = 20_000

__all__ = ["AsJson", "ConfigPath", "parse_amount", "parse_seconds", "parse_time"]

ConfigPath = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration; default: ./manta.yaml, else the built-in one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON value on stdout.")]


def parse_seconds(text: str, option: str = "for") -> float:
    """Seconds of ``90``, ``90s``, ``2m`` or ``1h``; BadInput otherwise."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise BadInput(
            f"--{option} {text!r} is no duration.", field=option, value=text, fix="Write it like 60s, 2m or 1h."
        )
    return seconds


def parse_time(text: str, field: str) -> int:
    """UTC epoch milliseconds of an ISO date or time, of epoch ms, or of days before now (-10d); BadInput otherwise."""
    if text.isascii() and text.startswith("-") and text.endswith("d") and text[1:-1].isdigit() and len(text) <= 7:
        days = min(int(text[1:-1]), _MOST_DAYS)
        return int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
    if text.isascii() and text.isdigit() and 12 <= len(text) <= 13:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            f"{field} {text!r} is no time.",
            field=field,
            value=text,
            fix="Write it like 2025-07-16 or 2025-07-16T12:00.",
        ) from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp() * 1000)


def parse_amount(text: str, field: str) -> Decimal:
    """A number above zero; BadInput names ``field``."""
    try:
        value = Decimal(text)
    except ArithmeticError:
        value = Decimal(0)
    if not value.is_finite() or value <= 0:
        raise BadInput(f"{field} {text!r} is not above zero.", field=field, value=text, fix="Give a number like 10000.")
    return value
