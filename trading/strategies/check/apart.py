"""Has a strategy checked by a process of its own, which it can neither end nor hang for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from trading.errors import BadInput

__all__ = ["check_apart", "require_honest"]

_LONGEST_S = 120.0


def check_apart(
    name: str, params: Mapping[str, object], source: str, interval: str, *, within_s: float = _LONGEST_S
) -> dict[str, Any]:
    """What ``check_strategy`` says, as plain data; BadInput when the strategy cannot be loaded or does not return."""
    request = {"name": name, "params": dict(params), "source": source, "interval": interval}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "trading.strategies.check"],
            input=json.dumps(request), capture_output=True, text=True, timeout=within_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BadInput(
            f"Strategy {name} had not answered after {within_s:.0f} s.",
            field="strategy",
            value=name,
            fix="Look for a loop that does not end.",
        ) from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BadInput(
            f"Strategy {name} ended the process that checked it, with status {done.returncode}: {last}",
            field="strategy",
            value=name,
            fix="A strategy only answers: it must not end anything.",
        ) from error
    if "error" in answer:
        message, field, fix = answer["error"]
        raise BadInput(message, field=field, value=name, fix=fix)
    return answer


def require_honest(name: str, params: Mapping[str, object], source: str, interval: str) -> dict[str, Any]:
    """The check's answer for a strategy that passes it; BadInput with the first finding for one that does not."""
    answer = check_apart(name, params, source, interval)
    if not answer["passed"]:
        first = answer["findings"][0]
        where = f"line {first['line']}: " if first["line"] else ""
        raise BadInput(
            f"Strategy {name} was not run: {where}{first['text'].rstrip('.')}.",
            field="strategy",
            value=name,
            fix=f"Mend it; `manta strategies check {name}` shows everything that was found.",
        )
    return answer
