"""``./run bench``: one subject, or all of them, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.figures import Effort, Report
from bench.machine import machine_facts
from bench.render import document, section
from manta.output import console, fail, guarded
from trading.errors import BadInput, MantaError

SUBJECTS = (
    "memory", "latency", "startup", "replay", "restart", "api", "backfill", "data", "pressure", "markets", "reference",
    "sweep", "scale",
)  # fmt: skip
_PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def bench(
    subject: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(SUBJECTS)}. Default: all.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One run each: minutes instead of a quarter of an hour; the page says so.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Run all and write docs/benchmarks.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON value on stdout.")] = False,
) -> None:
    """Measure against the budgets; what is slow is told, never failed."""
    if wrong := _refusal(subject, write=write):
        fail(wrong, as_json=as_json)
    facts = machine_facts(" ".join(["./run bench", *sys.argv[1:]]))
    effort = Effort.quick() if quick else Effort()
    if subject is not None:
        reports = [guarded(partial(_here, subject, effort), as_json=as_json)]
    else:
        reports = [guarded(partial(_in_process, name, quick), as_json=as_json) for name in SUBJECTS]
    if write:
        _PAGE.write_text(document(facts, reports), encoding="utf-8")
        console.print(f"wrote {_PAGE}")
    if as_json:
        told = {"machine": facts, "reports": [report.to_dict() for report in reports]}
        values = {name: value for report in reports for name, value in report.values.items()}
        sys.stdout.write(json.dumps(told | values) + "\n")
    else:
        sys.stdout.write("\n\n".join(section(report) for report in reports) + "\n")


def _refusal(subject: str | None, *, write: bool) -> BadInput | None:
    if subject is not None and subject not in SUBJECTS:
        known = ", ".join(SUBJECTS)
        return BadInput(f"There is no bench {subject!r}.", field="subject", value=subject, fix=f"Use one of {known}.")
    if write and subject is not None:
        return BadInput("--write measures everything.", field="write", fix="Leave the subject out.")
    return None


def _here(name: str, effort: Effort) -> Report:
    report: Report = asyncio.run(import_module(f"bench.{name}").measure(effort))
    return report


def _in_process(name: str, quick: bool) -> Report:
    """Measure in a fresh process: memory that one subject leaves behind must not count for the next."""
    console.print(f"[dim]{name} …[/]")
    command = [sys.executable, "-P", "-m", "bench", name, "--json", *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    try:
        told: dict[str, Any] = json.loads(done.stdout)
        return Report.from_dict(told["reports"][0])
    except (ValueError, KeyError) as error:
        raise MantaError(f"The bench {name} failed.", fix=f"Run `./run bench {name}` to see why.") from error


if __name__ == "__main__":
    app(prog_name="./run bench")
