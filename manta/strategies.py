"""What ``manta strategies`` does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from manta.output import console
from trading.config.loading import strategies_folder
from trading.errors import BadInput
from trading.intervals import parse_interval
from trading.strategies.catalogue import BUILT_IN, OWN, catalogue, describe, find_source
from trading.strategies.check.apart import check_apart
from trading.strategies.folder import NAME, own_source, unsafe
from trading.strategies.registry import STRATEGIES

__all__ = [
    "check_strategy",
    "check_words",
    "list_strategies",
    "list_words",
    "new_strategy",
    "new_words",
    "own_text",
    "show_strategy",
    "show_words",
]


def list_strategies(config: Path | None) -> dict[str, Any]:
    """Built-in and own strategies, and what is wrong with own ones that cannot be used."""
    folder = _folder(config)
    found, broken = catalogue(folder)
    brief = [{key: item[key] for key in ("name", "kind", "summary")} for item in found]
    return {"folder": str(folder), "strategies": brief, "broken": broken}


def list_words(result: Mapping[str, Any]) -> str:
    width = max(len(item["name"]) for item in result["strategies"]) + 2
    lines = []
    for kind in (BUILT_IN, OWN):
        some = [item for item in result["strategies"] if item["kind"] == kind]
        if some:
            lines += [f"{kind}:", *(f"  {item['name']:{width}}{item['summary']}" for item in some)]
    if result["broken"]:
        lines += ["broken:", *(f"  {item['error']} {item['fix']}" for item in result["broken"])]
    if not any(item["kind"] == OWN for item in result["strategies"]) and not result["broken"]:
        lines += [f"Your own ones go into {result['folder']}: manta strategies new NAME"]
    return "\n".join(lines)


def show_strategy(name: str, config: Path | None) -> dict[str, Any]:
    """What there is to know about one strategy."""
    return describe(name, _folder(config))


def show_words(result: Mapping[str, Any]) -> str:
    lines = [f"{result['name']} ({result['kind']})", "", result["description"].rstrip(), "", "parameters:"]
    lines += [f"  {key} = {item['default']}  ({item['allowed']})" for key, item in result["params"].items()] or [
        "  none"
    ]
    lines += ["", f"looks at the close and, after {result['warmup']} candles:"]
    for key, item in result["features"].items():
        told = ", ".join(f"{name} {value}" for name, value in item["params"].items())
        lines.append(f"  {key}: {item['kind']}{f' ({told})' if told else ''}")
    return "\n".join([*lines, "", f"defines {', '.join(result['has'])}", "", result["code"].rstrip()])


def new_strategy(name: str, config: Path | None) -> dict[str, Any]:
    """Write the template as ``name``; BadInput when the name cannot be used or is taken."""
    folder = _folder(config)
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} is no name for a strategy.",
            field="name",
            value=name,
            fix="Use small letters, digits and _, a letter first, at most 40 in all.",
        )
    path = folder / f"{name}.py"
    if name in STRATEGIES or path.exists():
        kind = "built-in strategy" if name in STRATEGIES else f"file {path}"
        raise BadInput(f"There is a {kind} of that name.", field="name", value=name, fix="Choose another name.")
    text = (
        files("trading.strategies").joinpath("template.py").read_text(encoding="utf-8").replace("NAME:", f"{name}:", 1)
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror}.",
            field="strategies_folder",
            value=str(folder),
            fix="Name a folder that you may write to.",
        ) from error
    return {"name": name, "path": str(path)}


def new_words(result: Mapping[str, Any]) -> str:
    return (
        f"{result['path']} is yours to change.\n"
        f"  manta strategies check {result['name']}    does it look ahead?\n"
        f"  manta backtest run --strategy {result['name']} --intervals 1h"
    )


def check_strategy(named: str, interval: str, config: Path | None) -> dict[str, Any]:
    """What the check says of a strategy by name, or of the file at a path."""
    width = parse_interval(interval).name
    path = Path(named)
    if path.suffix == ".py":
        name = path.stem
        source = own_source(path.parent, name)
        if not source:
            raise BadInput(
                f"There is no file {named}.", field="strategy", value=named, fix="Give the path of a strategy."
            )
    else:
        name, source = named, find_source(named, _folder(config))
    return check_apart(name, {}, source, width)


def check_words(result: Mapping[str, Any]) -> str:
    beside = f" and the {', '.join(result['others'])} ones that they belong to" if result["others"] else ""
    if result["passed"]:
        lines = [
            f"{result['strategy']}: nothing found. Tried on {result['candles']} {result['interval']} candles"
            f"{beside} with {result['futures']} other futures, at another time, a second time, beside another market"
            " and restarted."
        ]
    else:
        lines = [f"{result['strategy']} cannot be trusted:"]
        for item in result["findings"]:
            where = f"line {item['line']}: " if item["line"] else ""
            lines.append(f"  {where}{item['text']}")
    return "\n".join([*lines, *(f"  note: {note}" for note in result["notes"])])


def own_text(name: str, config: Path | None) -> dict[str, str]:
    """What the configuration of an instance says besides the strategy's name: of an own one its text."""
    source = own_source(_folder(config), name, STRATEGIES)
    return {"source": source} if source else {}


def _folder(config: Path | None) -> Path:
    folder = strategies_folder(config, os.environ)
    for text in unsafe(folder):
        console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)
    return folder
