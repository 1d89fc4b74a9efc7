"""Progress bars on stderr, which stay silent when nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from manta.output import console
from trading.intervals import MINUTE_MS

__all__ = ["bar", "candle_bar"]


@contextmanager
def bar(text: str, total: float, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A bar that is told how much is done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def candle_bar(text: str, start_ms: int, end_ms: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar over minutes that is told the close time reached."""
    with bar(text, (end_ms - start_ms) // MINUTE_MS, quiet=quiet) as tell:
        yield lambda position_ms: tell(max(0, position_ms - start_ms) // MINUTE_MS)
