"""YAML as a configuration wants it: safe, no key twice, and every key knows its line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from trading.errors import ConfigError

__all__ = ["Document", "parse_value", "parse_yaml"]

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 50


class Document:
    """A parsed file: ``data``, and the line (from 1) of every key in it. List items count from 0."""

    def __init__(self, data: Any, lines: Mapping[tuple[str | int, ...], int], name: str) -> None:
        self.data = data
        self.lines = lines
        self.name = name

    def line(self, path: tuple[str | int, ...]) -> int | None:
        """The line of ``path``, or of the nearest key above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def parse_yaml(text: str, name: str) -> Document:
    """Parse one YAML document; ConfigError names line, column and fix."""
    if len(text) > _MAX_BYTES:
        raise ConfigError(
            f"{name} is larger than {_MAX_BYTES // 1_000_000} MB.", field=name, fix="Is this the right file?"
        )
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        raise _explained(error, name) from None
    try:
        node = loader.get_single_node()
        if node is None:
            return Document({}, lines, name)
        _walk(node, (), lines, name, set())
        return Document(loader.construct_document(node), lines, name)
    except yaml.YAMLError as error:
        raise _explained(error, name) from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"{name} holds a value that YAML cannot read: {error}.", field=name, fix="Put the value in quotes."
        ) from None
    finally:
        loader.dispose()


def parse_value(text: str) -> Any:
    """One value as YAML reads it, such as an override's; raises ValueError saying why it cannot."""
    try:
        return parse_yaml(text, "the value").data if text.strip() else None
    except ConfigError as error:
        raise ValueError(error.message) from None


def _walk(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], name: str, above: set[int]
) -> None:
    if id(node) in above or len(path) > _MAX_DEPTH:
        raise ConfigError(f"{name} refers to itself, or is nested too deeply.", field=name, fix="Remove the alias.")
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            text, line = str(key.value), key.start_mark.line + 1
            where = (*path, text)
            if text in seen:
                raise ConfigError(
                    f"{name}, line {line}: the key {_dotted(where)} is there twice, first in line {seen[text]}.",
                    field=_dotted(where),
                    fix="Remove one of the two.",
                )
            seen[text] = lines[where] = line
            _walk(value, where, lines, name, above)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*path, number)] = item.start_mark.line + 1
            _walk(item, (*path, number), lines, name, above)


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def _explained(error: yaml.YAMLError, name: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if "\\t" in problem:
        fix = "Indent with spaces: YAML does not allow tabs."
    elif "single document" in str(error):
        fix = "Keep one document: remove the line `---`."
    else:
        fix = "Indent with spaces, write `key: value` with a space after the colon, and close every quote and bracket."
    return ConfigError(f"{name}{where} is not valid YAML: {problem}.", field=name, fix=fix)
