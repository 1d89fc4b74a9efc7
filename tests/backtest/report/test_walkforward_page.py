"""The page of a walk-forward: what leads, what each figure says, the heat table, and that it needs nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from decimal import Decimal
from typing import Any

import pytest

from backtest.honesty.searched import run_walkforward
from backtest.honesty.walkforward import WalkForwardRequest
from backtest.report.walkforward_page import walkforward_page
from backtest.run import BacktestRequest, Source
from backtest.sweep.pool import HerePool
from tests.backtest.report.test_report import Page
from tests.trading.series import MARKET, at, random_minutes
from trading.markets import Market

BTC = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    request = WalkForwardRequest(
        backtest=BacktestRequest(strategy="sma_cross", market=MARKET, intervals=("30m", "60m")),
        grid={"fast": [2, 4, 8], "slow": [6, 12]},
        train=2,
        test=1,
        purge=0,
    )
    candles = random_minutes(at("2025-06-02 00:00"), 5 * 1440, 3, extras=False)
    found = asyncio.run(run_walkforward(request, Source(candles, [], BTC, known_market=True), HerePool()))
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def test_a_page_stands_alone_and_what_was_out_of_sample_leads(results: dict[str, Any]) -> None:
    text = walkforward_page(results, {"code": "abc"}, "17")
    page = Page(text)
    assert (page.open, page.asked) == ([], [])
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert not re.search(r"url\(|@import|https?:|style=", text)
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        "Equity out of sample", "Out of sample", "In words", "In sample, beside it", "Folds", "How honest is it?",
        "Neighbourhood", "Assumptions", "Made of",
    ]  # fmt: skip
    assert f"{results['out_of_sample']['total_return']:+.2%}" in text
    assert f"{results['search']['best']['total_return']:+.2%}" in text
    assert "prefers-color-scheme: dark" in text
    for fold in results["folds"]:
        assert f"fast {fold['params']['fast']}, slow {fold['params']['slow']}" in text
    for said in (*results["words"], *results["assumptions"]):
        assert said.replace("'", "&#x27;") in text


def test_each_figure_of_honesty_has_a_sentence(results: dict[str, Any]) -> None:
    text = walkforward_page(results)
    rows = re.findall(r"<tr>(<td>.*?)</tr>", re.search(r'class="told">(.*?)</table>', text).group(1))  # type: ignore[union-attr]
    assert len(rows) == 12
    assert all(row.endswith(("</td>",)) and len(re.findall(r"<td>", row)) == 3 for row in rows)
    assert all(row.rsplit("<td>", 1)[1].removesuffix("</td>").endswith(".") for row in rows)
    # What could not be had is a dash, not a crash.
    search = {**results["search"], "overfitting": None, "neighbourhood": None, "deflated_sharpe": None}
    baselines = {"buy_and_hold": None, "random_entry": None}
    poor = walkforward_page({**results, "search": search, "baselines": baselines, "monte_carlo": None, "skill": None})
    assert "<td>Skill</td><td>–</td>" in poor


def heat(text: str) -> list[list[str]]:
    [table] = re.findall(r'class="heat">(.*?)</table>', text)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]


def test_the_heat_table_has_a_cell_for_each_set_and_frames_the_best(results: dict[str, Any]) -> None:
    text = walkforward_page(results)
    shown = heat(text)
    assert [row[0] for row in shown] == ["fast", "slow 6", "slow 12"]
    assert shown[0][1:] == ["2", "4", "8"]
    points = {tuple(point["params"].values()): point["sharpe"] for point in results["search"]["points"]}
    for row, slow in zip(shown[1:], (6, 12), strict=True):
        for cell, fast in zip(row[1:], (2, 4, 8), strict=True):
            score = points.get((fast, slow))
            assert cell == ("–" if score is None else f"{score:,.2f}")
    # A fast average slower than the slow one was refused.
    assert shown[1][3] == "–"
    assert "left out: 1." in text
    best = results["search"]["best"]
    assert re.findall(r'best">(.*?)</td>', text) == [f"{best['sharpe']:,.2f}"]


def test_one_parameter_is_a_row_and_a_third_stays_at_the_best(results: dict[str, Any]) -> None:
    def reduced(names: tuple[str, ...], **extra: int) -> dict[str, Any]:
        points = [
            {**point, "params": {**{name: point["params"][name] for name in names}, **extra}}
            for point in results["search"]["points"]
            if "slow" in names or point["params"]["slow"] == 12
        ]
        grid = {**{name: results["grid"][name] for name in names}, **{name: [value] for name, value in extra.items()}}
        folds = [{**fold, "params": {**fold["params"], **extra}} for fold in results["folds"]]
        search = {**results["search"], "points": points, "best": {**results["search"]["best"], **points[0]}}
        return {**results, "grid": grid, "folds": folds, "search": search}

    assert [row[0] for row in heat(walkforward_page(reduced(("fast",))))] == ["fast", "Sharpe"]
    three = walkforward_page(reduced(("fast", "slow"), wait=3))
    assert len(heat(three)) == 3
    assert "as the best set has them: wait 3" in three


def test_names_cannot_bring_markup_into_a_page(results: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    text = walkforward_page({**results, "strategy": evil, "words": [evil], "market": evil}, {"file": evil}, evil)
    assert evil not in text
    assert "&lt;script&gt;" in text


def test_folds_name_their_figures_and_times_are_for_people(results: dict[str, Any]) -> None:
    plain = walkforward_page(results, {"first": 1_752_105_600_000, "code": "abc"})
    heads = [f"{name}, {when}" for name in ("Sharpe", "return", "drawdown", "trades") for when in ("trained", "tested")]
    assert re.findall("<th>([^<]*(?:trained|tested))</th>", plain) == heads
    for fold in results["folds"]:
        assert f"<td>{fold['train_drawdown']:.2%}</td><td>{fold['test_drawdown']:.2%}</td><td>–</td>" in plain
    assert "2025-07-10 00:00 UTC" in plain
    folds = [{**fold, "train_value": 0.04321} for fold in results["folds"]]
    other = walkforward_page({**results, "objective": "total_return", "folds": folds})
    assert re.findall("<th>([^<]*(?:trained|tested))</th>", other) == ["total return, trained", *heads]
    assert other.count("<td>0.04321</td>") == len(folds)
