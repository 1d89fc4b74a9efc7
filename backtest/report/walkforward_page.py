"""A walk-forward as one HTML page that stands alone. What was out of sample leads; what the search saw comes after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from backtest.report.heat import heat_table
from backtest.report.markup import (
    bullets,
    day,
    document_page,
    duration,
    made_of,
    number,
    percent,
    section,
    table,
    tiles,
)
from backtest.report.svg import lines

__all__ = ["walkforward_page"]

_DAY_BREAKS = (
    "Each test's return in a row, at the end of each UTC day. Every test begins in cash, with parameters that saw none"
    " of its days."
)


def walkforward_page(results: Mapping[str, Any], provenance: Mapping[str, Any] | None = None, run_id: str = "") -> str:
    """The page of the stored ``results`` of a walk-forward; ``provenance`` says what it was made of."""
    title = f"Walk-forward of {results['strategy']} on {results['market']}"
    search = results["search"]
    told = (
        f"{', '.join(results['intervals'])} · {day(results['start'])} to {day(results['end'])} UTC · {results['mode']},"
        f" {results['train']} days of training, {results['test']} of test, purge {results['purge']}, embargo"
        f" {results['embargo']} · seed {results['seed']}{f' · {run_id}' if run_id else ''}"
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(told)}</p>',
        section("Equity out of sample", lines(results["equity"]), _DAY_BREAKS),
        section("Out of sample", _tested(results)),
        section("In words", bullets(results["words"])),
        section("In sample, beside it", _beside(results), "Only the first column was not looked at when choosing."),
        section("Folds", _folds(results), results["assumptions"][0] + " They are judged on the test days."),
        section("How honest is it?", _honesty(results)),
        section("Neighbourhood", _heat(results["grid"], search), _heat_words(results["grid"], search)),
        section("Assumptions", bullets(results["assumptions"])),
        section("Made of", made_of(provenance)) if provenance else "",
    ]
    return document_page(title, body)


def _tested(results: Mapping[str, Any]) -> str:
    figures, held = results["out_of_sample"], results["baselines"]["buy_and_hold"]
    return tiles(
        [
            ("total return", percent(figures["total_return"])),
            ("at twice the costs", percent(figures["pessimistic_return"])),
            ("market held", percent(held["total_return"] if held is not None else None)),
            ("Sharpe", number(figures["sharpe"])),
            ("Sortino", number(figures["sortino"])),
            ("Calmar", number(figures["calmar"])),
            ("max drawdown", percent(-figures["max_drawdown"])),
            ("longest drawdown", duration(figures["longest_drawdown_ms"])),
            ("days", f"{figures['days']:,}"),
            ("trades", f"{figures['trades']:,}"),
            ("win rate", percent(figures["win_rate"], signed=False)),
            ("profit factor", number(figures["profit_factor"])),
            ("exposure", percent(figures["exposure"], signed=False)),
            ("turnover a year", number(figures["turnover"])),
            ("fees", number(figures["fees"])),
        ]
    )


def _beside(results: Mapping[str, Any]) -> str:
    tested, search = results["out_of_sample"], results["search"]
    best = search["best"]
    rows = [
        ["parameters", "chosen anew in each fold", "as chosen, in training", escape(_params(best["params"]))],
        ["days", f"{tested['days']:,}", f"{len(results['folds'])} windows", f"{search['days']:,}"],
        ["Sharpe", number(tested["sharpe"]), number(search["train_sharpe"]), number(best["sharpe"])],
        ["total return", percent(tested["total_return"]), "–", percent(best["total_return"])],
    ]
    return table(["", "out of sample", "mean of the trainings", f"best of {search['trials']} over all days"], rows)


def _folds(results: Mapping[str, Any]) -> str:
    # The Sharpe ratio stands there whatever is chosen by; stored runs of earlier versions knew nothing else.
    objective = results.get("objective", "sharpe")
    chosen_by = [] if objective == "sharpe" else [f"{objective.replace('_', ' ')}, trained"]
    rows = [
        [
            f"{fold['number']}", f"{day(fold['train_start'])} to {day(fold['train_end'])}",
            f"{day(fold['test_start'])} to {day(fold['test_end'])}",
            escape(_params({name: fold["params"][name] for name in results["grid"]})),
            *([_plain(fold["train_value"])] if chosen_by else []), number(fold["train_sharpe"]),
            number(fold["test_sharpe"]), percent(fold.get("train_return")), percent(fold["test_return"]),
            percent(fold["pessimistic_return"]), _share(fold.get("train_drawdown")), _share(fold.get("test_drawdown")),
            _count(fold.get("train_trades")), f"{fold['trades']:,}",
        ]
        for fold in results["folds"]
    ]  # fmt: skip
    head = ["fold", "training", "test", "chosen", *chosen_by, "Sharpe, trained", "Sharpe, tested", "return, trained",
            "return, tested", "at twice the costs", "drawdown, trained", "drawdown, tested", "trades, trained",
            "trades, tested"]  # fmt: skip
    return f'<div class="folds">{table(head, rows)}</div>'


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _count(value: int | None) -> str:
    """What daily returns do not tell, and what stored runs of earlier versions did not keep, is a dash."""
    return "–" if value is None else f"{value:,}"


def _plain(value: float | None) -> str:
    """Of any metric, be it a share or an amount."""
    return "–" if value is None else f"{value:.4g}"


def _honesty(results: Mapping[str, Any]) -> str:
    """Each figure with the question it answers and when it is good; a figure that could not be had is a dash."""
    search, baselines = results["search"], results["baselines"]
    overfit, checks, near = search["overfitting"] or {}, search["reality_check"], search["neighbourhood"] or {}
    held, entries = baselines["buy_and_hold"] or {}, baselines["random_entry"] or {}
    shuffled = results["monte_carlo"] or {}
    told: list[tuple[str, float | None, bool, str]] = [
        ("Skill", results["skill"], True,
         "The probability that its true Sharpe ratio is above 0, from the tests alone; above 95 % is good."),
        ("Efficiency", search["efficiency"], True,
         "How much of the Sharpe ratio that the trainings promised the tests kept; below 50 % is poor."),
        ("Deflated Sharpe ratio", search["deflated_sharpe"], True,
         "The probability that the best trial is better than the luckiest of as many without skill; above 95 % is"
         " good."),
        ("Probability of overfitting", overfit.get("pbo"), True,
         "How often what was best in one half of the days is below the median in the other; 50 % is chance."),
        ("Loss of the chosen", overfit.get("loss"), True,
         "How often what was best in one half of the days loses money in the other."),
        ("Reality check against cash", checks["against_cash"], True,
         "The chance of a best trial this good if none had any edge; below 5 % is good."),
        ("Reality check against the market", checks["against_market"], True,
         "The same against holding the market."),
        ("Stability of the best", near.get("stability"), True,
         "The median score of the neighbouring parameters over the best one's: near 100 % a plateau, near 0 a"
         " lonely peak."),
        ("Random entries as good", entries.get("p_value"), True,
         "The share of runs with the same trades at random times that did as well; below 5 % the entries matter."),
        ("Market held", held.get("total_return"), False,
         "What the market returned over the test days, bought once and held."),
        ("Drawdown, one time in 20", shuffled.get("drawdown_95"), True,
         "How far the same trades could have fallen in an unluckier order."),
        ("Return, one time in 20", shuffled.get("return_05"), False,
         "What as many trades drawn from the same ones returned at worst, one time in 20."),
    ]  # fmt: skip
    rows = [
        [escape(name), percent(value, signed=False) if plain else percent(value), escape(meaning)]
        for name, value, plain, meaning in told
    ]
    return f'<div class="told">{table(["figure", "", "what it says"], rows)}</div>'


def _heat(grid: Mapping[str, Sequence[float]], search: Mapping[str, Any]) -> str:
    """The Sharpe ratio of each trial over all days: two parameters against each other, or one in a row."""
    across, down = _axes(grid)
    best = search["best"]["params"]
    near = [
        point
        for point in search["points"]
        if all(point["params"][name] == best[name] for name in best if name not in (across, down))
    ]
    scores = {(point["params"].get(down), point["params"][across]): point["sharpe"] for point in near}
    place = (best[down] if down is not None else None, best[across])
    return heat_table(scores, across, down, place, shown=number)


def _axes(grid: Mapping[str, Sequence[float]]) -> tuple[str, str | None]:
    """The two parameters with the most values, the first across; None for the other if only one was searched."""
    # What comes back from the database has lost its order.
    names = sorted(grid, key=lambda name: (-len(grid[name]), name))
    return names[0], names[1] if len(names) > 1 else None


def _heat_words(grid: Mapping[str, Sequence[float]], search: Mapping[str, Any]) -> str:
    across, down = _axes(grid)
    best = search["best"]["params"]
    others = {name: value for name, value in best.items() if name not in (across, down)}
    kept = f" The others are as the best set has them: {_params(others)}." if others else ""
    refused = f" Refused by the strategy and left out: {search['refused']}." if search["refused"] else ""
    return (
        "Sharpe ratio of each set over all days, in sample; the best is framed. A plateau around it is worth more than"
        f" the peak.{kept}{refused}"
    )


def _params(params: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in params.items())
