"""The page of a sweep: the best, what was held out, maps of the grid, and that it needs nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from backtest.report.heat import heat_table
from backtest.report.markup import number
from backtest.report.sweep_page import sweep_page
from tests.backtest.report.test_report import Page

GRID = {"fast": [2, 4, 8], "slow": [16, 32], "signal": [3, 5], "only": [1]}
CONFIG: dict[str, Any] = {
    "backtest": {"strategy": "<macd>", "market": "binance:BTCUSDT", "intervals": ["1h"]},
    "grid": GRID,
    "method": "grid",
    "halving": False,
    "objective": "sharpe",
    "min_trades": 5,
    "constraints": ["max_drawdown<=0.3"],
    "seed": 0,
}


def rows() -> list[dict[str, Any]]:
    """All sets, the best first: the higher the parameters, the better."""
    made = [
        {"fast": fast, "slow": slow, "signal": signal, "only": 1}
        for fast in GRID["fast"]
        for slow in GRID["slow"]
        for signal in GRID["signal"]
    ]
    found = []
    for place, params in enumerate(reversed(made)):
        metrics = {"total_return": 0.1 - place / 50, "sharpe": 2.0 - place / 4, "max_drawdown": 0.2, "fees": 3.0}
        found.append({"number": len(made) - 1 - place, "params": params, "metrics": metrics, "trades": 9})
    return found


def results(**changes: Any) -> dict[str, Any]:
    best = rows()[0]
    searched = {name: best["params"][name] for name in GRID}
    return {
        "best": {**best, "searched": searched, "value": 2.0},
        "objective": "sharpe",
        "tried": 12,
        "refused": 1,
        "deflated_sharpe": 0.4,
        "overfitting": {"pbo": 0.25, "loss": 0.5},
        "reality_check": 0.03,
        "neighbourhood": {"stability": 0.9, "profitable": 1.0},
        "words": ["12 combinations were tried & more"],
        "start": 0,
        "end": 10 * 86_400_000,
        "assumptions": ["It costs something."],
        **changes,
    }


def held() -> dict[str, Any]:
    sets = [
        {
            "number": row["number"],
            "value": row["metrics"]["sharpe"],
            "held_value": 1.0 - row["metrics"]["sharpe"] / 4,
            "held_metrics": {"total_return": -0.0123},
            "held_trades": 4,
        }
        for row in rows()[:5]
    ]
    return {"start": 7 * 86_400_000, "end": 10 * 86_400_000, "rank_correlation": -1.0, "profitable": 0.0, "sets": sets}


def test_a_page_stands_alone_and_shows_where_the_grid_is_good() -> None:
    text = sweep_page(CONFIG, results(holdout=held()), rows(), {"code": "abc"}, "17")
    page = Page(text)
    assert (page.open, page.asked) == ([], [])
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert not re.search(r"url\(|@import|https?:|style=", text)
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        "The best, in sample", "In words", "Held out, beside it", "The best sets", "sharpe over fast and slow",
        "sharpe over fast and signal", "sharpe over slow and signal", "Parallel coordinates", "How honest is it?",
        "Assumptions", "Made of",
    ]  # fmt: skip
    assert "Sweep of &lt;macd&gt; on" in text
    assert "fast 8, slow 32, signal 5, only 1" in text
    assert "Only those with 5 closed trades and max_drawdown&lt;=0.3 count." in text
    assert ("-1.23%" in text, "Rank correlation of 5 sets -1.00" in text, text.count('class="dot"')) == (True, True, 4)
    assert text.count("<polyline") == 12
    assert "25.0%" in text


def test_only_the_best_itself_is_marked_where_it_was_held_out() -> None:
    marked = sweep_page(CONFIG, results(holdout=held()), rows(), {}, "17")
    assert (marked.count('class="first"'), "the best is marked" in marked) == (1, True)
    told = held()
    told["sets"][0]["held_value"] = None
    text = sweep_page(CONFIG, results(holdout=told), rows(), {}, "17")
    assert (text.count('class="first"'), text.count('class="dot"')) == (0, 4)
    assert "Of the best 5 sets, the 4 with a value held out are dots; the best has no sharpe held out" in text


def test_a_map_shows_the_best_over_the_other_parameters() -> None:
    text = sweep_page(CONFIG, results(), rows(), None, "")
    part = text[text.index("sharpe over fast and slow") :]
    cells = re.findall(r"<td class=\"([a-z0-9 ]*)\">([^<]*)</td>", part[: part.index("</table>")])
    # A row for each slow, a column for each fast: the best of both signals.
    assert [text for _, text in cells] == ["-0.50", "0.50", "1.50", "0.00", "1.00", "2.00"]
    assert [kind for kind, _ in cells][-1] == "up3 best"
    assert cells[0][0].startswith("down")


@pytest.mark.parametrize("change", [{"deflated_sharpe": None, "overfitting": None, "neighbourhood": None}, {}])
def test_what_could_not_be_had_is_a_dash(change: dict[str, Any]) -> None:
    told = results(**change)
    for name in ("reality_check", "assumptions", "start", "end"):
        # Sweeps of earlier versions have none of these.
        told.pop(name)
    text = sweep_page(CONFIG, told, rows()[:1], None, "")
    assert "<td>–</td>" in text
    assert "There is too little to draw." in text


def test_a_wide_table_tells_its_numbers_when_pointed_at() -> None:
    scores = {(None, float(n)): n / 10 - 1 for n in range(20)}
    text = heat_table(scores, "period", None, (None, 19.0), shown=number)
    assert 'title="Sharpe, period 19: 0.90"' in text
    assert ">0.90<" not in text
    calm = heat_table(
        {(None, 1.0): 0.1, (None, 2.0): 0.5}, "n", None, (None, 1.0), shown=number, signed=False, more_is_better=False
    )
    assert 'class="up3 best">0.10' in calm
    assert 'class="flat">0.50' in calm
