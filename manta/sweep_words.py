"""What ``manta sweep`` says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtest.sweep.evaluator import METRICS

__all__ = ["best_words", "list_words", "show_words"]

_SHARES = ("total_return", "max_drawdown", "win_rate", "exposure")
_SHOWN = ("total_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor")


def list_words(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "There is no sweep yet."
    lines = [f"{'id':38}{'strategy':14}{'market':22}{'status':13}{'tried':>9}{'refused':>9}{'of':>9}  best"]
    for row in rows:
        best = "–" if row["value"] is None else f"{row['objective']} {_value(row['objective'], row['value'])}"
        total = "–" if row["combos"] is None else f"{row['combos']}"
        lines.append(
            f"{row['run_id']:38}{row['strategy']:14}{row['market']:22}{row['status']:13}"
            f"{row['tried']:>9}{row['refused']:>9}{total:>9}  {best}"
        )
    return "\n".join(lines)


def show_words(row: Mapping[str, Any]) -> str:
    """The best beside how many were tried, then what tells skill from search."""
    if row.get("best") is None:
        refused = f", {row['refused']} more the strategy does not take" if row["refused"] else ""
        of = f"{row['combos'] or 'its'} combination{'' if row['combos'] == 1 else 's'}"
        lines = [f"sweep {row['run_id']} is {row['status']}: {row['tried']} of {of}{refused}"]
        lines += [f"- {row['error']}"] if row.get("error") else []
        if row["status"] in ("stopped", "interrupted", "failed"):
            lines.append(f"- `manta sweep resume {row['run_id']}` goes on with it.")
        return "\n".join(lines)
    best = row["best"]
    found = ", ".join(f"{name} {value:g}" for name, value in best["searched"].items())
    lines = [f"sweep {row['run_id']}", "", f"best of {row['tried']}: {found}", ""]
    lines += [f"{name.replace('_', ' '):24}{_value(name, best['metrics'].get(name)):>14}" for name in _SHOWN]
    lines += [f"{'trades':24}{best['trades']:>14}", "", *(f"- {text}" for text in row["words"])]
    return "\n".join(lines)


def best_words(found: Mapping[str, Any]) -> str:
    if not found["best"]:
        return "No combination counts yet."
    shown = list(dict.fromkeys((found["by"], *_SHOWN)))[:6]
    width = max(len(_params(item, found["grid"])) for item in found["best"]) + 2
    lines = [f"the best of {found['tried']} by {found['by']}", ""]
    lines.append(
        f"{'parameters':{width}}" + "".join(f"{name.replace('_', ' '):>15}" for name in shown) + f"{'trades':>8}"
    )
    for item in found["best"]:
        values = "".join(f"{_value(name, item['metrics'].get(name)):>15}" for name in shown)
        lines.append(f"{_params(item, found['grid']):{width}}{values}{item['trades']:>8}")
    return "\n".join(lines)


def _params(item: Mapping[str, Any], grid: Sequence[str]) -> str:
    return ", ".join(f"{name} {item['params'][name]:g}" for name in grid)


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name in _SHARES:
        return f"{value:+.1%}" if METRICS[name] and name != "win_rate" else f"{value:.1%}"
    return f"{value:,.2f}"
