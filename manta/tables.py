"""Tables of the command line: columns as wide as what is in them, and numbers written the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

__all__ = ["NONE", "amount", "date", "money", "percent", "ratio", "searches", "signed_percent", "table"]

NONE = "–"
"""What stands where there is no value."""

_GAP = "  "


def percent(value: float | None) -> str:
    """12.34% of the share 0.1234."""
    return NONE if value is None else f"{value:,.2%}"


def signed_percent(value: float | None) -> str:
    """+12.34% of the share 0.1234: what may as well be a loss."""
    return NONE if value is None else f"{value:+,.2%}"


def ratio(value: float | None) -> str:
    """1,234.57 of 1234.567."""
    return NONE if value is None else f"{value:,.2f}"


def amount(value: int | None) -> str:
    """1,234 of the count 1234."""
    return NONE if value is None else f"{value:,}"


def money(value: float | str) -> str:
    """1,234.57 of 1234.567, or of that as text."""
    return f"{float(value):,.2f}"


def date(time_ms: int | None) -> str:
    """The UTC day of ``time_ms``."""
    return NONE if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Lines of ``head`` and ``rows``; the first ``left`` columns are words and begin together, the others are numbers
    and end together.
    """
    lines = [head, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]

    def joined(line: Sequence[str]) -> str:
        cells = [
            text.ljust(width) if place < left else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        return _GAP.join(cells).rstrip()

    return [joined(line) for line in lines]


def searches(
    rows: Sequence[Mapping[str, Any]], head: Sequence[str], figures: Callable[[Mapping[str, Any]], Sequence[str]]
) -> str:
    """A line for each sweep or walk-forward: what it is, and its ``figures`` under ``head``."""
    what = ("id", "strategy", "market", "interval", "from", "to", "status")
    lines = [
        [row["run_id"], row["strategy"], row["market"], ",".join(row["intervals"]), date(row["start"]),
         date(row["end"]), row["status"], *figures(row)]
        for row in rows
    ]  # fmt: skip
    return "\n".join(table([*what, *head], lines, left=len(what)))
