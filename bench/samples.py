"""Order statistics of measured samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["percentile", "spread"]


def percentile(samples: Iterable[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the samples lie, interpolated between neighbours; ValueError if none.

    Method 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996.
    """
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("there are no samples")
    place = (len(ordered) - 1) * share
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(samples: Sequence[float], unit: str) -> str:
    """Least to greatest in words, for a note beside a median."""
    return f"{min(samples):.4g} to {max(samples):.4g} {unit} over {len(samples)} runs"
