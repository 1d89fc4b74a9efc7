"""The keys of the configuration: found by path, and described in words, for messages, overrides and the document."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from copy import copy
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema

__all__ = ["Key", "allowed", "children", "keys_of", "plain_type", "step"]

Key = tuple[str, ...]

_KIND_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    str: "text",
    Path: "a path",
}


def plain_type(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """``annotation`` without Annotated, and what Annotated added."""
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        inner, deeper = plain_type(inner)
        return inner, (*deeper, *extra)
    return annotation, ()


def _members(annotation: Any) -> tuple[Any, ...]:
    annotation, _ = plain_type(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(inner for item in get_args(annotation) for inner in _members(item))
    return (annotation,)


def children(annotation: Any) -> dict[str, FieldInfo]:
    """The fields below a section; for a choice of sections, those of all."""
    found: dict[str, FieldInfo] = {}
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, field in member.model_fields.items():
                # Filled in when the configuration is read: nothing for a user to write.
                if any(type(extra).__name__ == SkipJsonSchema.__name__ for extra in field.metadata):
                    continue
                found[name] = _either(found[name], field) if name in found else field
    return found


def _either(one: FieldInfo, other: FieldInfo) -> FieldInfo:
    """What tells one section of a choice from the next: all its values are allowed."""
    values = (*get_args(one.annotation), *get_args(other.annotation))
    if get_origin(one.annotation) is not Literal or get_origin(other.annotation) is not Literal:
        return other
    merged = copy(other)
    merged.annotation = Literal[values]
    return merged


def step(annotation: Any, part: str) -> Any | None:
    """The annotation one key further down; None when there is no such key. List items answer to any name or number."""
    fields = children(annotation)
    if part in fields:
        return _annotation(fields[part])
    for member in _members(annotation):
        origin = get_origin(member)
        if origin is dict:
            return get_args(member)[1]
        if origin in (tuple, list):
            return get_args(member)[0]
    return None


def _annotation(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def allowed(annotation: Any) -> str:
    """What a value of this type may be, in words; empty when that takes more than words."""
    inner, extra = plain_type(annotation)
    members = [item for item in _members(inner) if item is not type(None)]
    if len(members) != len(_members(inner)):
        return f"{allowed(Annotated[(members[0], *extra)] if extra else members[0])}, or nothing"
    if get_origin(inner) is Literal:
        return _one_of(get_args(inner))
    if get_origin(inner) in (tuple, list):
        item = "sections" if children(get_args(inner)[0]) else allowed(get_args(inner)[0])
        return f"a list of {item}" + (", at least one" if _limit(extra, "min_length") else "")
    if get_origin(inner) is dict or children(inner):
        return "a section with keys"
    return (_KIND_WORDS.get(inner, "") + _range(extra)).strip()


def _one_of(values: tuple[Any, ...]) -> str:
    return str(values[0]) if len(values) == 1 else f"one of {', '.join(map(str, values))}"


def _limit(extra: tuple[Any, ...], name: str) -> Any:
    # Constraints arrive bare or inside a FieldInfo of an Annotated alias.
    flat = [part for item in extra for part in (item.metadata if isinstance(item, FieldInfo) else (item,))]
    return next((value for item in flat if (value := getattr(item, name, None)) is not None), None)


def _range(extra: tuple[Any, ...]) -> str:
    words = []
    for name, text in (("ge", "from {}"), ("gt", "above {}"), ("le", "to {}"), ("lt", "below {}")):
        if (value := _limit(extra, name)) is not None:
            words.append(text.format(value))
    if len(words) == 2 and not words[1].startswith("to"):
        words.insert(1, "and")
    if (pattern := _limit(extra, "pattern")) is not None:
        words.append(_SHAPES.get(pattern, f"that matches {pattern}"))
    return " " + " ".join(words) if words else ""


_SHAPES = {
    r"^[a-z][a-z0-9_-]{0,39}$": "of small letters, digits, _ and -, beginning with a letter, up to 40 characters",
    r"^[A-Z0-9]{2,10}$": "of 2 to 10 capital letters and digits",
}


def keys_of(annotation: Any, path: Key = ()) -> Iterator[tuple[Key, FieldInfo]]:
    """Every key below a section with its field, in order. List items are ``[]``, names the user chooses ``<name>``."""
    for name, field in children(annotation).items():
        yield (*path, name), field
        for member in _members(field.annotation):
            inner, mark = member, ""
            if get_origin(member) is dict:
                inner, mark = get_args(member)[1], "<name>"
            elif get_origin(member) in (tuple, list):
                inner, mark = get_args(member)[0], "[]"
            yield from keys_of(inner, (*path, name, mark) if mark else (*path, name))
