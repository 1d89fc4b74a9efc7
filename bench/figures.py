"""What a bench tells: figures with their budgets, tables that say where the figures come from, and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Effort", "Figure", "Report", "Table"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: ``runs`` whose median counts, and the length of a window watched in a running system."""

    runs: int = 3
    window_s: float = 120.0

    @classmethod
    def quick(cls) -> Effort:
        """One run of each; percentiles rest on some tens of samples."""
        return cls(runs=1, window_s=50.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. ``budget`` is its greatest value, or its least when ``at_least``; None: it has none."""

    what: str
    value: float
    unit: str
    budget: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """Value over budget: good is up to 1, or from 1 on when ``at_least``."""
        return None if self.budget is None else self.value / self.budget

    @property
    def kept(self) -> bool | None:
        if self.ratio is None:
            return None
        return self.ratio >= 1 if self.at_least else self.ratio <= 1


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title; the first column is text, numbers stand right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@dataclass(frozen=True, slots=True)
class Report:
    """All that one bench found. ``how`` says in a sentence what was measured, so that a reader could do it again.

    ``values`` are for programs: ``--json`` prints them beside the report, by their own names.
    """

    subject: str
    how: str
    figures: Sequence[Figure]
    tables: Sequence[Table] = field(default=())
    notes: Sequence[str] = field(default=())
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; each figure with its ratio to the budget."""
        told = asdict(self)
        for entry, figure in zip(told["figures"], self.figures, strict=True):
            entry |= {"ratio": figure.ratio, "kept": figure.kept}
        return told

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Report:
        derived = ("ratio", "kept")
        figures = [Figure(**{k: v for k, v in entry.items() if k not in derived}) for entry in told["figures"]]
        return cls(
            told["subject"],
            told["how"],
            figures,
            [Table(**entry) for entry in told["tables"]],
            list(told["notes"]),
            told["values"],
        )
