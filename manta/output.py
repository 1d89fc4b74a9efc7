"""What commands print: one JSON value on stdout with ``--json``, words otherwise; errors as one paragraph with the fix."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from rich.console import Console

from trading.errors import MantaError

__all__ = ["console", "fail", "finish", "guarded"]

console = Console(stderr=True, highlight=False)


def finish(value: Any, *, as_json: bool, words: str | None = None) -> None:
    """Print the result of a command."""
    if as_json:
        sys.stdout.write(json.dumps(value, default=str) + "\n")
    else:
        sys.stdout.write((words if words is not None else json.dumps(value, indent=2, default=str)) + "\n")
    sys.stdout.flush()


def fail(error: MantaError, *, as_json: bool) -> NoReturn:
    """Say what is wrong and what to do, and exit with the error's own status."""
    if as_json:
        body = {
            "error": type(error).__name__,
            "message": error.message,
            "field": error.field,
            "value": None if error.value is None else str(error.value),
            "fix": error.fix,
        }
        sys.stdout.write(json.dumps(body) + "\n")
        sys.stdout.flush()
    console.print(f"[bold red]{error.title}:[/] ", end="")
    console.print(str(error), markup=False)
    raise SystemExit(error.exit_code)


def guarded(work: Callable[[], Any], *, as_json: bool) -> Any:
    """Run ``work``; a deliberate error becomes its paragraph and exit status."""
    try:
        return work()
    except MantaError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        console.print("stopped")
        raise SystemExit(130) from None
