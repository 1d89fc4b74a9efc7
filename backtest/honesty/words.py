"""What the figures of a walk-forward mean, in sentences that a reader can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["few_trades", "overfitting_words", "words_of"]


def words_of(result: dict[str, Any]) -> list[str]:
    """The sentences in the order in which they matter; each begins with what was found."""
    return [
        *_tested(result["out_of_sample"], result["baselines"], result["skill"]),
        *_searched(result["search"]),
        *_luck(result["baselines"]["random_entry"], result["monte_carlo"]),
    ]


def overfitting_words(overfit: Mapping[str, float]) -> str:
    """Of the probability of backtest overfitting, ``pbo``, and how often the chosen set loses money, ``loss``.

    The first is about ranks: what is chosen can be better than most and lose money all the same.
    """
    said = f"Probability of backtest overfitting {overfit['pbo']:.0%}:"
    lost = f"{overfit['loss']:.0%} of cases"
    if overfit["pbo"] >= 0.4:
        return (
            f"{said} choosing by the past is no better than chance. What looks best in one half of the days loses money"
            f" in the other in {lost}."
        )
    joined = "but" if overfit["loss"] >= 0.5 else "and"
    return (
        f"{said} what looks best in one half of the days is mostly better than the median set in the other, {joined}"
        f" loses money there in {lost}."
    )


def few_trades(count: int) -> str:
    return f"{count} trade is" if count == 1 else f"{count} trades are"


def _tested(figures: dict[str, Any], baselines: dict[str, Any], skill: float | None) -> list[str]:
    closed = f"{figures['trades']} closed trade{'s' if figures['trades'] != 1 else ''}"
    said = [
        f"Out of sample it returned {figures['total_return']:+.1%} in {figures['days']} days with {closed};"
        f" at twice the costs {figures['pessimistic_return']:+.1%}."
    ]
    held = baselines["buy_and_hold"]
    if held is not None:
        relation = "more" if figures["total_return"] > held["total_return"] else "no more"
        said.append(f"That is {relation} than holding the market, which returned {held['total_return']:+.1%}.")
    if skill is not None:
        said.append(f"The probability that its true Sharpe ratio is above 0 is {skill:.0%}.")
    if figures["trades"] < 30:
        said.append(f"{few_trades(figures['trades'])} too few to tell skill from luck, whatever the figures say.")
    return said


def _searched(search: dict[str, Any]) -> list[str]:
    said = []
    overfit = search["overfitting"]
    if overfit is not None:
        said.append(overfitting_words(overfit))
    deflated = search["deflated_sharpe"]
    if deflated is not None:
        meaning = "is likely skill" if deflated >= 0.95 else "may be luck"
        said.append(
            f"Deflated Sharpe ratio {deflated:.0%}: the best of {search['trials']} trials {meaning}, given the search."
        )
    checked = search["reality_check"]["against_cash"]
    if checked is not None:
        meaning = "the best trial beats cash" if checked <= 0.05 else "that the best trial beats cash is not shown"
        said.append(f"White's reality check p = {checked:.2f}: {meaning}.")
    near = search["neighbourhood"]
    if near is not None and near["stability"] is not None:
        meaning = "a plateau" if near["stability"] >= 0.7 else "a lonely peak"
        said.append(f"Parameters next to the best score {near['stability']:.0%} of it in the median: {meaning}.")
    return said


def _luck(random: dict[str, Any] | None, shuffled: dict[str, Any] | None) -> list[str]:
    said = []
    if random is not None:
        said.append(
            f"Of {random['samples']} runs with the same trades at random times, {random['p_value']:.0%} did as well."
        )
    if shuffled is not None:
        said.append(
            f"In another order the same trades could have fallen {shuffled['drawdown_95']:.0%} from a peak (one in 20)."
        )
    return said
