"""What ``manta walkforward`` says in words. Out-of-sample figures lead; what the search promised follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manta.tables import NONE, amount, date, percent, ratio, searches, signed_percent, table

__all__ = ["list_words", "result_words"]

_LISTED = ("out of sample", "Sharpe")


def list_words(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "There is no walk-forward yet."
    return searches(rows, _LISTED, _listed)


def _listed(row: Mapping[str, Any]) -> list[str]:
    return [signed_percent(row["total_return"]), ratio(row["sharpe"])]


def result_words(result: Mapping[str, Any]) -> str:
    """Out of sample first, then fold by fold."""
    if result.get("status") == "stopped":
        return f"walk-forward {result['run_id']} is stopped: `manta walkforward resume {result['run_id']}` goes on."
    tested, search = result["out_of_sample"], result["search"]
    best = search["best"]
    lines = [
        f"walk-forward {result['run_id']}",
        "",
        *table(
            ["", "out of sample", "best of search"],
            [
                ["total return", signed_percent(tested["total_return"]), signed_percent(best["total_return"])],
                ["Sharpe", ratio(tested["sharpe"]), ratio(best["sharpe"])],
                ["max drawdown", percent(tested["max_drawdown"]), ""],
                ["days", amount(tested["days"]), amount(search["days"])],
            ],
        ),
        "",
        *(f"- {text}" for text in result["words"]),
        "",
        *_folds(result),
        "",
        *(f"- {text}" for text in result["assumptions"]),
    ]
    return "\n".join(lines)


def _folds(result: Mapping[str, Any]) -> list[str]:
    """What each fold chose, how that did in training and how it was tested."""
    # The Sharpe ratio stands there whatever is chosen by; stored runs of earlier versions knew nothing else.
    objective = result.get("objective", "sharpe")
    chosen_by = [] if objective == "sharpe" else [f"{objective.replace('_', ' ')} trained"]
    figures = ["Sharpe trained", "Sharpe tested", "return trained", "return tested", "drawdown tested", "trades tested"]
    head = ["test", "chosen", *chosen_by, *figures]
    rows = []
    for fold in result["folds"]:
        value = NONE if fold["train_value"] is None else f"{fold['train_value']:.4g}"
        rows.append(
            [
                f"{date(fold['test_start'])} to {date(fold['test_end'])}",
                ", ".join(f"{name} {fold['params'][name]:g}" for name in result["grid"]),
                *([value] if chosen_by else []),
                ratio(fold["train_sharpe"]),
                ratio(fold["test_sharpe"]),
                signed_percent(fold.get("train_return")),
                signed_percent(fold["test_return"]),
                percent(fold.get("test_drawdown")),
                amount(fold["trades"]),
            ]
        )
    return table(head, rows, left=2)
