"""What pydantic refuses in a request, as the error that a user reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trading.errors import BadInput
from trading.intervals import iso

__all__ = ["explained"]

_SHOULD = "Input should be "
_LONGEST = 60


def explained(error: ValidationError) -> BadInput:
    """The first mistake as a sentence that names the field, with the value and the fix where they are known.

    A validator that judges a whole request says ``FIELD …: fix``: its message begins with the name of the field.
    """
    first = error.errors(include_url=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    given = first.get("input")
    if not first["loc"] or (isinstance(given, Mapping) and first["type"] == "value_error"):
        what, _, fix = message.rpartition(": ")
        field = message.split(" ", 1)[0]
        return BadInput(f"{what or fix}.", field=field, value=_of(given, field), fix=_sentence(fix) if what else None)
    field = str(first["loc"][-1] if isinstance(first["loc"][-1], str) else first["loc"][0]).removesuffix("_ms")
    value = ", ".join(map(str, given)) if isinstance(given, list | tuple) else given
    cause = getattr(first.get("ctx", {}).get("error"), "__cause__", None)
    if isinstance(cause, BadInput):
        return BadInput(f"{field}: {cause.message}", field=field, value=cause.value, fix=cause.fix)
    if message.startswith(_SHOULD):
        fix = f"It should be {message.removeprefix(_SHOULD)}."
        return BadInput(f"{field} cannot be {_shown(value)}.", field=field, value=value, fix=fix)
    return BadInput(f"{field}: {message}.", field=field, value=value)


def _shown(value: Any) -> str:
    """``value`` in a sentence; what is too long for one is not repeated there."""
    text = str(value)
    return text if 0 < len(text) <= _LONGEST else "this"


def _of(given: Any, field: str) -> Any:
    """What the request says of ``field``; times are named without their unit."""
    if not isinstance(given, Mapping):
        return None
    if given.get(f"{field}_ms") is not None:
        return iso(int(given[f"{field}_ms"]))
    return given.get(field)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
