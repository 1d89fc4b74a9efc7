"""Tables whose cells are shaded by a score: where on a grid of parameters it is good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

__all__ = ["Place", "heat_table"]

_SHADES = 3
_MOST_NAMED = 14
"""Columns whose cells have room for a number; of more, a cell's number shows when it is pointed at."""

Place = tuple[float | None, float]


def heat_table(
    scores: Mapping[Place, float | None],
    across: str,
    down: str | None,
    best: Place,
    *,
    shown: Callable[[float | None], str],
    of: str = "Sharpe",
    signed: bool = True,
    more_is_better: bool = True,
) -> str:
    """``scores`` by their values of ``down``, None where only one parameter was searched, and ``across``.

    ``best`` is framed. Of a ``signed`` score green is above 0 and red below; of another the best is greenest. ``shown``
    makes a number text, and ``of`` says what it is.
    """
    known = [score for score in scores.values() if score is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    most = max((abs(score) for score in known), default=0.0)

    def shade(score: float) -> int:
        if signed:
            return round(score / most * _SHADES) if most > 0 else 0
        share = (score - low) / (high - low) if high > low else 1.0
        return round((share if more_is_better else 1 - share) * _SHADES)

    columns = sorted({place[1] for place in scores})
    named = len(columns) <= _MOST_NAMED
    rows = []
    for value in sorted({place[0] for place in scores}, key=lambda item: (item is not None, item or 0.0)):
        label = f"{down} {value:g}" if down is not None and value is not None else of
        cells = []
        for column in columns:
            score = scores.get((value, column))
            step = 0 if score is None else shade(score)
            kind = f"{'up' if step > 0 else 'down'}{abs(step)}" if step else "flat"
            kind += " best" if (value, column) == best else ""
            text = shown(score)
            told = f' title="{escape(f"{label}, {across} {column:g}: {text}")}"' if not named else ""
            cells.append(f'<td class="{kind}"{told}>{text if named else ""}</td>')
        rows.append(f"<tr><td>{escape(label)}</td>{''.join(cells)}</tr>")
    top = "".join(f"<th>{column:g}</th>" for column in columns)
    dense = "" if named else " dense"
    return f'<table class="heat{dense}"><tr><th>{escape(across)}</th>{top}</tr>{"".join(rows)}</table>'
