"""A sweep as one HTML page that stands alone: the best, where on the grid it lies, and how much of it may be luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations
from typing import Any

from backtest.report.heat import Place, heat_table
from backtest.report.markup import bullets, day, document_page, made_of, number, percent, section, table, tiles
from backtest.report.sweep_charts import parallel, scatter
from backtest.sweep.objective import more_is_better

__all__ = ["MOST_ROWS", "sweep_page"]

MOST_ROWS = 20_000
"""Scores that a page is made of, the best; of more, the rest would not change what it shows."""

_BEST, _MOST_MAPS, _MOST_LINES, _TOP_SHARE = 20, 6, 400, 0.1
_SHARES = frozenset({"total_return", "max_drawdown", "win_rate", "exposure"})
_SIGNED = frozenset({"total_return", "sharpe", "sortino", "objective"})
_COLUMNS = ("total_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor", "exposure", "fees")

Row = Mapping[str, Any]


def sweep_page(
    config: Mapping[str, Any],
    results: Mapping[str, Any],
    rows: Sequence[Row],
    provenance: Mapping[str, Any] | None = None,
    run_id: str = "",
) -> str:
    """The page of a finished sweep. ``rows`` are its scores over the whole range that chose, the best first, at most
    ``MOST_ROWS``; ``config`` is its request, ``provenance`` says what it was made of.
    """
    base, objective = config["backtest"], results["objective"]
    title = f"Sweep of {base['strategy']} on {base['market']}"
    axes = [name for name, values in config["grid"].items() if len(values) > 1]
    cut = f" The map is of the best {len(rows):,} sets." if len(rows) == MOST_ROWS else ""
    held = results.get("holdout")
    span = f"{day(results['start'])} to {day(results['end'])} UTC · " if "start" in results else ""
    told = (
        f"{', '.join(base['intervals'])} · {span}{config['method']}{', halving' if config['halving'] else ''} ·"
        f" {results['tried']:,} sets tried{_runs(results)}, {results['refused']:,} refused · seed {config['seed']}"
        f"{f' · {run_id}' if run_id else ''}"
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(told)}</p>',
        section("The best, in sample", _best(results), "Of many the best is lucky: expect less."),
        section("In words", bullets(results["words"])),
        section("Held out, beside it", *_held(results, rows, axes)) if held else "",
        section("The best sets", _table(rows[:_BEST], axes, objective), _counts(config)),
        *_maps(rows, axes, results["best"], objective, cut),
        section(
            "Parallel coordinates",
            _lines(rows, axes, objective),
            "A line a set; the best tenth stands out. Where their lines run together, a parameter matters.",
        ),
        section("How honest is it?", _honesty(results)),
        section("Assumptions", bullets(results["assumptions"])) if results.get("assumptions") else "",
        section("Made of", made_of(provenance)) if provenance else "",
    ]
    return document_page(title, body)


def _value(metric: str, value: float | None, *, signed: bool = False) -> str:
    if metric in _SHARES:
        return percent(value) if signed and metric == "total_return" else percent(value, signed=False)
    return number(value)


def _params(params: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in params.items())


def _best(results: Mapping[str, Any]) -> str:
    best = results["best"]
    metrics = best["metrics"]
    objective = results["objective"]
    shown = [("parameters", escape(_params(best["searched"])))]
    shown += [] if objective in _COLUMNS else [(objective.replace("_", " "), _value(objective, best["value"]))]
    shown += [(name.replace("_", " "), _value(name, metrics.get(name), signed=True)) for name in _COLUMNS]
    return tiles([*shown, ("trades", f"{best['trades']:,}")])


def _runs(results: Mapping[str, Any]) -> str:
    """What halving ran more than once is told beside what was tried; sweeps of earlier versions did not keep it."""
    runs = results.get("runs", 0)
    return f" in {runs:,} runs" if runs > results["tried"] else ""


def _counts(config: Mapping[str, Any]) -> str:
    wanted = [f"{config['min_trades']} closed trades"] if config["min_trades"] else []
    wanted += config["constraints"]
    return f"Only those with {' and '.join(wanted)} count." if wanted else ""


def _table(rows: Sequence[Row], axes: Sequence[str], objective: str) -> str:
    names = list(dict.fromkeys((objective, *_COLUMNS)))
    head = [*axes, *(name.replace("_", " ") for name in names), "trades"]
    return table(
        head,
        [
            [
                *(f"{row['params'][name]:g}" for name in axes),
                *(_value(name, row["metrics"].get(name), signed=True) for name in names),
                f"{row['trades']:,}",
            ]
            for row in rows
        ],
    )


def _held(results: Mapping[str, Any], rows: Sequence[Row], axes: Sequence[str]) -> tuple[str, str]:
    """What chose nothing beside what chose, and what it says."""
    held, objective = results["holdout"], results["objective"]
    known = {row["number"]: row for row in rows}
    shown = []
    for item in held["sets"][:_BEST]:
        row = known.get(item["number"])
        if row is None:
            continue
        shown.append(
            [
                *(f"{row['params'][name]:g}" for name in axes),
                _value(objective, item["value"]),
                _value(objective, item["held_value"]),
                percent(row["metrics"].get("total_return")),
                percent(item["held_metrics"].get("total_return")),
                f"{row['trades']:,}",
                f"{item['held_trades']:,}",
            ]
        )
    name = objective.replace("_", " ")
    head = [*axes, f"{name} in sample", "held out", "return in sample", "held out", "trades in sample", "held out"]
    pairs = [(item["value"], item["held_value"]) for item in held["sets"] if item["held_value"] is not None]
    # What is drawn first is marked as the best, which it is only where the best has a value held out.
    marked = bool(held["sets"]) and held["sets"][0]["held_value"] is not None
    chart = scatter(
        pairs, f"{name} in sample", f"{name} held out", lambda value: _plain(objective, value), marked=marked
    )
    best = "the best is marked" if marked else f"the best has no {name} held out and so no dot"
    tie = held["rank_correlation"]
    correlated = (
        ""
        if tie is None
        else f" Rank correlation of {len(pairs)} sets {tie:+.2f}: near 1 the order held, near 0 it was luck."
    )
    return f"{chart}{table(head, shown)}", (
        f"Chosen on {day(results['start'])} to {day(held['start'])}, then run on {day(held['start'])} to"
        f" {day(held['end'])}, which chose nothing. Of the best {len(held['sets'])} sets, the {len(pairs)} with"
        f" a value held out are dots; {best}; on the dashed line both are the same.{correlated}"
    )


def _maps(rows: Sequence[Row], axes: Sequence[str], best: Mapping[str, Any], objective: str, cut: str) -> list[str]:
    """The objective over each pair of parameters, the best over all others; of one parameter, a row."""
    pairs: list[tuple[str, str | None]] = list(combinations(axes, 2)) or [(name, None) for name in axes]
    found = []
    name = objective.replace("_", " ")
    for across, down in pairs[:_MOST_MAPS]:
        scores: dict[Place, float | None] = {}
        for row in rows:
            place = (row["params"][down] if down is not None else None, row["params"][across])
            # The best come first.
            if scores.get(place) is None:
                scores[place] = row["metrics"].get(objective)
        chosen = best["params"]
        content = heat_table(
            scores,
            across,
            down,
            (chosen[down] if down is not None else None, chosen[across]),
            shown=lambda value: _value(objective, value),
            of=name,
            signed=objective in _SIGNED,
            more_is_better=more_is_better(objective),
        )
        title = f"{name} over {across}{f' and {down}' if down is not None else ''}"
        others = " Each place shows the best over all other parameters." if len(axes) > 2 else ""
        found.append(
            section(title, content, f"In sample; the best is framed. A plateau is worth more than a peak.{others}{cut}")
        )
    return found


def _lines(rows: Sequence[Row], axes: Sequence[str], objective: str) -> str:
    counted = [row for row in rows if row["metrics"].get(objective) is not None]
    top = max(1, round(len(counted) * _TOP_SHARE))
    step = max(1, -(-len(counted) // _MOST_LINES))
    drawn = [(place, row) for place, row in enumerate(counted) if place % step == 0]
    points = [[*(row["params"][name] for name in axes), row["metrics"][objective]] for _, row in drawn]
    classes = ["chosen" if place == 0 else "good" if place < top else "pale" for place, _ in drawn]

    def shown(axis: int, value: float) -> str:
        return f"{value:g}" if axis < len(axes) else _plain(objective, value)

    return parallel([*axes, objective.replace("_", " ")], points, classes, shown)


def _plain(metric: str, value: float) -> str:
    return f"{value:.1%}" if metric in _SHARES else f"{value:,.2f}"


def _honesty(results: Mapping[str, Any]) -> str:
    """Each figure with the question it answers and when it is good; a figure that could not be had is a dash."""
    overfit, near = results["overfitting"] or {}, results["neighbourhood"] or {}
    told: list[tuple[str, float | None, str]] = [
        ("Deflated Sharpe ratio", results["deflated_sharpe"],
         "The probability that the best is better than the luckiest of as many without skill; above 95 % is good."),
        ("Probability of overfitting", overfit.get("pbo"),
         "How often what was best in one half of the days is below the median in the other; 50 % is chance."),
        ("Loss of the chosen", overfit.get("loss"),
         "How often what was best in one half of the days loses money in the other."),
        ("Reality check against cash", results.get("reality_check"),
         "The chance of a best this good if none had any edge; below 5 % is good."),
        ("Stability of the best", near.get("stability"),
         "The median objective of the neighbouring parameters over the best one's: near 100 % a plateau, near 0 a"
         " lonely peak."),
        ("Neighbours above 0", near.get("profitable"), "The share of neighbours whose objective is above 0."),
    ]  # fmt: skip
    rows = [[escape(name), percent(value, signed=False), escape(meaning)] for name, value, meaning in told]
    return f'<div class="told">{table(["figure", "", "what it says"], rows)}</div>'
