"""What ``manta sweep`` says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtest.sweep.evaluator import METRICS
from manta.tables import NONE, amount, percent, ratio, searches, signed_percent, table

__all__ = ["best_words", "list_words", "show_words"]

_SHARES = ("total_return", "max_drawdown", "win_rate", "exposure")
_SHOWN = ("total_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor")
_LISTED = ("tried", "refused", "of", "best")


def list_words(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "There is no sweep yet."
    return searches(rows, _LISTED, _listed)


def _listed(row: Mapping[str, Any]) -> list[str]:
    best = NONE if row["value"] is None else f"{row['objective']} {_value(row['objective'], row['value'])}"
    return [amount(row["tried"]), amount(row["refused"]), amount(row["combos"]), best]


def show_words(row: Mapping[str, Any]) -> str:
    """The best beside how many were tried, then what tells skill from search."""
    if row.get("best") is None:
        refused = f", {amount(row['refused'])} more the strategy does not take" if row["refused"] else ""
        count = "its" if row["combos"] is None else amount(row["combos"])
        of = f"{count} combination{'' if row['combos'] == 1 else 's'}"
        lines = [f"sweep {row['run_id']} is {row['status']}: {amount(row['tried'])} of {of}{refused}"]
        lines += [f"- {row['error']}"] if row.get("error") else []
        if row["status"] in ("stopped", "interrupted", "failed"):
            lines.append(f"- `manta sweep resume {row['run_id']}` goes on with it.")
        return "\n".join(lines)
    best = row["best"]
    found = ", ".join(f"{name} {value:g}" for name, value in best["searched"].items())
    lines = [f"sweep {row['run_id']}", "", f"best of {amount(row['tried'])}: {found}", ""]
    figures = [[name.replace("_", " "), _value(name, best["metrics"].get(name))] for name in _SHOWN]
    lines += table(figures[0], [*figures[1:], ["trades", amount(best["trades"])]])
    return "\n".join([*lines, "", *(f"- {text}" for text in row["words"])])


def best_words(found: Mapping[str, Any]) -> str:
    if not found["best"]:
        return "No combination counts yet."
    shown = list(dict.fromkeys((found["by"], *_SHOWN)))[:6]
    head = ["parameters", *(name.replace("_", " ") for name in shown), "trades"]
    rows = [
        [
            ", ".join(f"{name} {item['params'][name]:g}" for name in found["grid"]),
            *(_value(name, item["metrics"].get(name)) for name in shown),
            amount(item["trades"]),
        ]
        for item in found["best"]
    ]
    return "\n".join([f"the best of {amount(found['tried'])} by {found['by']}", "", *table(head, rows)])


def _value(name: str, value: float | None) -> str:
    if name not in _SHARES:
        return ratio(value)
    return signed_percent(value) if METRICS[name] and name != "win_rate" else percent(value)
