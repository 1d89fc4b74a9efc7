"""What commands print: one JSON value on stdout with ``--json``, else words; errors as one paragraph with the fix."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

import trading.errors
from trading.config.loading import InvalidConfig
from trading.errors import BadInput, MantaError

__all__ = ["Terminated", "console", "error_body", "error_from", "fail", "finish", "guarded", "say_json", "write_text"]

# Without emoji, for `0:100:5` in what a user wrote is no picture.
console = Console(stderr=True, highlight=False, emoji=False)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: everything is released as on Ctrl-C."""


def finish(value: Any, *, as_json: bool, words: str | None = None) -> None:
    """Print the result of a command."""
    if as_json:
        say_json(value)
    else:
        sys.stdout.write((words if words is not None else json.dumps(value, indent=2, default=str)) + "\n")
        sys.stdout.flush()


def say_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def error_body(error: MantaError) -> dict[str, Any]:
    """``error`` as plain data: the name of its documented class, what is wrong, and what to do."""
    kind = next(base.__name__ for base in type(error).__mro__ if base.__module__ == trading.errors.__name__)
    body: dict[str, Any] = {
        "error": kind,
        "message": error.message,
        "field": error.field,
        "value": None if error.value is None else str(error.value),
        "fix": error.fix,
    }
    if isinstance(error, InvalidConfig):
        body["problems"] = [asdict(problem) for problem in error.problems]
    return body


def error_from(body: Mapping[str, Any]) -> MantaError:
    """The error that another process of ours told with ``error_body``; KeyError or TypeError when ``body`` is none."""
    kind = getattr(trading.errors, body["error"], MantaError) if body["error"] in trading.errors.__all__ else MantaError
    error: MantaError = kind(body["message"], field=body["field"], value=body["value"], fix=body["fix"])
    return error


def fail(error: MantaError, *, as_json: bool) -> NoReturn:
    """Say what is wrong and what to do, and exit with the error's own status."""
    if as_json:
        say_json(error_body(error))
    # Only a terminal wraps: in a file or a pipe a broken line would cut paths and addresses.
    console.print(f"[bold red]{error.title}:[/] ", end="")
    console.print(str(error), markup=False, soft_wrap=not console.is_terminal)
    raise SystemExit(error.exit_code)


def guarded(work: Callable[[], Any], *, as_json: bool, writes: bool = False) -> Any:
    """Run ``work``; a deliberate error becomes its paragraph and exit status, a signal 130 or 143.

    With ``as_json`` stdout is for the one JSON value: what strategies and objectives of the user's print meanwhile goes
    to stderr. ``writes`` says that ``work`` writes its JSON to stdout itself.
    """
    try:
        with redirect_stdout(sys.stderr) if as_json and not writes else nullcontext():
            return work()
    except MantaError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt as error:
        if as_json:
            say_json(
                {
                    "error": "Interrupted",
                    "message": "Stopped before the end.",
                    "field": None,
                    "value": None,
                    "fix": None,
                }
            )
        console.print("stopped")
        raise SystemExit(143 if isinstance(error, Terminated) else 130) from None


def write_text(path: Path, text: str, option: str) -> None:
    """Write a file that the user named by ``option``; BadInput when it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror}.",
            field=option,
            value=str(path),
            fix=f"Give another --{option}.",
        ) from error
