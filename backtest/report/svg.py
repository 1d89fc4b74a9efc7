"""Charts as inline SVG: a page that holds them needs neither scripts nor a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Any

__all__ = ["distribution", "lines", "prices"]

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 1000, 70, 12, 10, 24
_TRADES_DRAWN = 600

Point = tuple[int, float]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Maps time and value to the picture."""

    from_ms: float
    to_ms: float
    low: float
    high: float
    height: int

    def x(self, at: float) -> float:
        return _LEFT + (at - self.from_ms) / max(1e-12, self.to_ms - self.from_ms) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / max(1e-12, self.high - self.low)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def path(self, points: Sequence[Point]) -> str:
        return " ".join(f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in points)


def lines(
    main: Sequence[Point], other: Sequence[Point] = (), *, height: int = 260, percent: bool = False, fill: bool = False
) -> str:
    """One series, another dashed behind it; ``fill`` shades from zero."""
    values = [value for _, value in (*main, *other)]
    if len(main) < 2:
        return "<p class=soft>There is too little to draw.</p>"
    low, high = min(values), max(values)
    frame = _Frame(main[0][0], main[-1][0], low, max(high, low + 1e-9), height)
    parts = [_axes(frame, percent)]
    if fill:
        zero = f"{frame.x(main[-1][0]):.1f},{frame.y(0):.1f} {frame.x(main[0][0]):.1f},{frame.y(0):.1f}"
        parts.append(f'<polygon class="fall" points="{frame.path(main)} {zero}"/>')
    if other:
        parts.append(f'<polyline class="other" points="{frame.path(other)}"/>')
    parts.append(f'<polyline class="main" points="{frame.path(main)}"/>')
    return _svg(parts, height)


def prices(bars: Sequence[Sequence[float]], trades: Sequence[dict[str, Any]], *, height: int = 320) -> str:
    """Bars of the price with a line from each trade's entry to its exit: green gained, red lost."""
    if len(bars) < 2:
        return "<p class=soft>There is too little to draw.</p>"
    frame = _Frame(bars[0][0], bars[-1][0], min(bar[3] for bar in bars), max(bar[2] for bar in bars), height)
    parts = [_axes(frame, percent=False)]
    for at, _open, high, low, _close in bars:
        x = f"{frame.x(at):.1f}"
        parts.append(f'<line class="bar" x1="{x}" x2="{x}" y1="{frame.y(high):.1f}" y2="{frame.y(low):.1f}"/>')
    closed = [trade for trade in trades if trade["exit_ms"] is not None]
    for trade in closed[:: max(1, ceil(len(closed) / _TRADES_DRAWN))]:
        kind = "win" if float(trade["pnl"]) > 0 else "loss"
        x1, y1 = frame.x(trade["entry_ms"]), frame.y(float(trade["entry_price"]))
        x2, y2 = frame.x(trade["exit_ms"]), frame.y(float(trade["exit_price"]))
        tip = 6 if trade["direction"] == "LONG" else -6
        parts.append(
            f'<g class="{kind}"><line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke-width="1.6"/>'
            f'<path d="M{x1 - 4:.1f} {y1 + tip:.1f}h8l-4 {-tip:.1f}z"/></g>'
        )
    return _svg(parts, height)


def distribution(values: Sequence[float], *, height: int = 200) -> str:
    """How often trades returned how much, in up to 40 steps; losses red, gains green."""
    if len(values) < 2 or min(values) == max(values):
        return "<p class=soft>There is too little to draw.</p>"
    step = (max(values) - min(values)) / 40
    counts: dict[int, int] = {}
    for value in values:
        place = floor(value / step)
        counts[place] = counts.get(place, 0) + 1
    frame = _Frame(min(counts) * step, (max(counts) + 1) * step, 0, max(counts.values()), height)
    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{frame.y(0):.1f}" y2="{frame.y(0):.1f}"/>',
        f'<text x="{_LEFT - 6}" y="{frame.y(frame.high) + 10:.1f}" text-anchor="end">{int(frame.high)}</text>',
    ]
    for place, count in sorted(counts.items()):
        x, y = frame.x(place * step), frame.y(count)
        width = max(1.0, frame.x((place + 1) * step) - x - 1)
        kind = "win" if place >= 0 else "loss"
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{frame.y(0) - y:.1f}"/>'
        )
    parts += [
        f'<text x="{frame.x(value):.1f}" y="{height - 6}" text-anchor="middle">{value:+.2%}</text>'
        for value in _ticks(frame.from_ms, frame.to_ms)
    ]
    return _svg(parts, height)


def _axes(frame: _Frame, percent: bool) -> str:
    out = []
    for value in _ticks(frame.low, frame.high):
        y = frame.y(value)
        text = f"{value:.0%}" if percent else f"{value:,.6g}"
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for n in range(5):
        at = frame.from_ms + (frame.to_ms - frame.from_ms) * n / 4
        anchor = ("start", "middle", "middle", "middle", "end")[n]
        day = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")
        out.append(f'<text x="{frame.x(at):.1f}" y="{frame.height - 6}" text-anchor="{anchor}">{day}</text>')
    return "".join(out)


def _ticks(low: float, high: float) -> list[float]:
    """About four round numbers between ``low`` and ``high``."""
    rough = (high - low) / 4
    if rough <= 0:
        return [low]
    unit = 10 ** floor(log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough)
    return [step * n for n in range(ceil(low / step), floor(high / step) + 1)]


def _svg(parts: Sequence[str], height: int) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'
