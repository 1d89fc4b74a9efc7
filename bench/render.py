"""Reports as Markdown, for the terminal and for ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.figures import Figure, Report, Table

__all__ = ["document", "markdown_table", "number", "section"]

_HEAD = ("what", "measured", "budget", "ratio", "kept")
_INTRODUCTION = """\
# Benchmarks

Written by `./run bench --write`; do not edit. A ratio is measured over budget: up to 1.00 keeps a budget that
begins with ≤, from 1.00 on one that begins with ≥. MB are 10⁶ bytes. Nothing fails by time: read the machine first.
"""


def number(value: float) -> str:
    """Three significant digits, thousands separated, never in exponents."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1}f}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    """A table whose cells are padded, so that its source reads well too; number columns stand right."""
    given = [list(row) for row in rows]
    right = [bool(given) and all(not isinstance(row[i], str) for row in given) for i in range(len(head))]
    lines = [list(head)] + [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in given]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(head))]
    rule = ["-" * (width - 1) + ":" if flush else "-" * width for width, flush in zip(widths, right, strict=True)]
    padded = [
        [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (padded[0], rule, *padded[1:]))


def section(report: Report) -> str:
    """One report: what was done, its figures, its tables, its notes."""
    parts = [f"## {report.subject.capitalize()}", report.how, markdown_table(_HEAD, map(_row, report.figures))]
    parts += [_titled(table) for table in report.tables]
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(parts)


def document(machine: Mapping[str, str], reports: Iterable[Report]) -> str:
    """The whole of ``docs/benchmarks.md``."""
    told = list(reports)
    budgets = [_row(figure) for report in told for figure in report.figures if figure.budget is not None]
    parts = [
        _INTRODUCTION.rstrip(),
        "## Budgets",
        markdown_table(_HEAD, budgets),
        "## Machine",
        markdown_table(("fact", "value"), machine.items()),
        *(section(report) for report in told),
    ]
    return "\n\n".join(parts) + "\n"


def _row(figure: Figure) -> list[str]:
    measured = f"{number(figure.value)} {figure.unit}"
    if figure.budget is None or figure.ratio is None:
        return [figure.what, measured, "", "", ""]
    sign = "≥" if figure.at_least else "≤"
    budget = f"{sign} {number(figure.budget)} {figure.unit}"
    return [figure.what, measured, budget, f"{figure.ratio:.2f}", "yes" if figure.kept else "**no**"]


def _titled(table: Table) -> str:
    return f"**{table.title}**\n\n{markdown_table(table.head, table.rows)}"
