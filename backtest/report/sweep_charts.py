"""Pictures of many sets of parameters at once, as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

__all__ = ["parallel", "scatter"]

_WIDTH, _SIDE, _TOP, _BOTTOM = 1000, 60, 34, 30


def parallel(
    axes: Sequence[str], points: Sequence[Sequence[float]], classes: Sequence[str], shown: Callable[[int, float], str]
) -> str:
    """A line through its value on each of ``axes`` for each of ``points``, the first on top; ``classes`` style them.

    ``shown`` makes the value of an axis, by its number, text.
    """
    if len(axes) < 2 or len(points) < 2:
        return "<p class=soft>There is too little to draw.</p>"
    height = 340
    spans = [(min(values), max(values)) for values in zip(*points, strict=True)]
    places = [_SIDE + (_WIDTH - 2 * _SIDE) * n / (len(axes) - 1) for n in range(len(axes))]

    def y(axis: int, value: float) -> float:
        low, high = spans[axis]
        share = (value - low) / (high - low) if high > low else 0.5
        return height - _BOTTOM - share * (height - _TOP - _BOTTOM)

    parts = [
        f'<polyline class="{kind}" points="'
        + " ".join(f"{x:.1f},{y(n, value):.1f}" for n, (x, value) in enumerate(zip(places, point, strict=True)))
        + '"/>'
        for point, kind in reversed(list(zip(points, classes, strict=True)))
    ]
    for n, (name, x, (low, high)) in enumerate(zip(axes, places, spans, strict=True)):
        parts.append(f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
        for text, at in ((name, 12), (shown(n, high), _TOP - 6), (shown(n, low), height - _BOTTOM + 14)):
            parts.append(f'<text x="{x:.1f}" y="{at}" text-anchor="middle">{escape(text)}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def scatter(
    points: Sequence[tuple[float, float]], across: str, up: str, shown: Callable[[float], str], *, marked: bool
) -> str:
    """A dot a point, with the line on which both values are the same; the first of them ``marked``, or none."""
    if len(points) < 2:
        return "<p class=soft>There is too little to draw.</p>"
    height, left = 300, 90
    values = [value for point in points for value in point]
    low, high = min(values), max(values)
    high = high if high > low else low + 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        shares = [(value - low) / (high - low) for value in point]
        return left + shares[0] * (_WIDTH - left - _SIDE), height - _BOTTOM - shares[1] * (height - _TOP - _BOTTOM)

    (x0, y0), (x1, y1) = place((low, low)), place((high, high))
    parts = [f'<line class="other" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>']
    for n, point in reversed(list(enumerate(points))):
        x, y = place(point)
        kind, radius = ("first", 6) if marked and n == 0 else ("dot", 4)
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>')
    parts += [
        f'<text x="{x0:.1f}" y="{height - 10}">{escape(shown(low))}</text>',
        f'<text x="{x1:.1f}" y="{height - 10}" text-anchor="end">{escape(f"{across}: {shown(high)}")}</text>',
        f'<text x="{left - 8}" y="{y0:.1f}" text-anchor="end">{escape(shown(low))}</text>',
        f'<text x="{left - 8}" y="{y1 + 4:.1f}" text-anchor="end">{escape(shown(high))}</text>',
        f'<text x="{left - 8}" y="14">{escape(up)} ↑</text>',
    ]
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'
