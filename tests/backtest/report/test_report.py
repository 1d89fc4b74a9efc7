"""Reports: what a page, a table and a document of a run hold, and that a page needs nothing from elsewhere."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from backtest.report.document import document_of
from backtest.report.page import page_of
from backtest.report.svg import distribution, lines, prices
from backtest.report.table import trades_csv
from backtest.run import BacktestRequest, Source, run_backtest
from tests.trading.series import MARKET, at, random_minutes
from trading.intervals import DAY_MS, HOUR_MS
from trading.markets import Market

START = at("2025-05-30 00:00")
CANDLES = random_minutes(START, 4 * 1440, 3, extras=False)
BTC = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    request = BacktestRequest(
        strategy="ma44", market=MARKET, intervals=("37m",), params={"period": 9}, start_ms=START + 7 * HOUR_MS
    )
    sources = [Source(list(CANDLES), [], BTC, known_market=True)]
    made = document_of(request, sources, *run_backtest(request, sources, "b"))
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


def test_the_document_holds_the_series_of_the_charts(document: dict[str, Any]) -> None:
    days = [START + 7 * HOUR_MS, *(START + n * DAY_MS for n in range(1, 5))]
    for name in ("equity", "holding", "drawdown"):
        assert [point[0] for point in document[name]] == days
    assert document["equity"][0][1] == document["holding"][0][1] == 10_000
    assert document["equity"][-1][1] == pytest.approx(float(document["summary"]["final_equity"]), abs=0.01)
    held = CANDLES[-1].close / CANDLES[7 * 60 - 1].close
    assert document["holding"][-1][1] == pytest.approx(10_000 * held, abs=0.01)
    assert max(value for _, value in document["drawdown"]) == 0
    [bars] = document["prices"].values()
    assert max(bar[2] for bar in bars) == max(c.high for c in CANDLES[420:]) / 1e8
    assert len(bars) <= 240


def test_months_multiply_to_the_whole(document: dict[str, Any]) -> None:
    assert list(document["months"]) == ["2025-05", "2025-06"]
    whole = (1 + document["months"]["2025-05"]) * (1 + document["months"]["2025-06"]) - 1
    assert whole == pytest.approx(document["summary"]["total_return"], abs=1e-5)


class Page(HTMLParser):
    """Collects what a browser would ask for, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [(tag, value) for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_a_page_stands_alone(document: dict[str, Any]) -> None:
    text = page_of(document, {"code": "abc", "seed": 0}, "17")
    page = Page(text)
    assert page.open == []
    assert page.asked == []
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert not re.search(r"url\(|@import|https?:", text)
    assert page.tags.count("svg") == 4
    for title in ("Equity", "Drawdown", "Trades on the chart", "Months", "Distribution", "Assumptions", "Made of"):
        assert f"<h2>{title}" in text
    assert f"{document['summary']['total_return']:+.2%}" in text
    for assumption in document["summary"]["assumptions"]:
        assert assumption.replace("'", "&#x27;") in text


def test_a_page_of_a_run_from_before_several_shared_a_book_is_still_drawn(document: dict[str, Any]) -> None:
    [instance] = document["instances"]
    new = ("instances", "prices")
    old = {name: value for name, value in document.items() if name not in new} | {
        "bars": document["prices"][MARKET],
        **{name: instance[name] for name in ("params", "profile", "leverage")},
        "summary": {name: value for name, value in document["summary"].items() if name not in ("parts", "markets")},
        "trades": [{k: v for k, v in trade.items() if k != "instance"} for trade in document["trades"]],
    }
    assert page_of(old) == page_of(document)
    assert "period 9 · perp, leverage 1" in page_of(old)
    assert trades_csv(old).count("\n") == trades_csv(document).count("\n")


def test_names_cannot_bring_markup_into_a_page(document: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    trades = [{**trade, "tag": evil, "exit_reason": evil} for trade in document["trades"]]
    text = page_of({**document, "strategy": evil, "market": evil, "trades": trades}, {"file": evil}, evil)
    assert evil not in text
    assert "&lt;script&gt;" in text


def test_what_is_unknown_is_a_dash(document: dict[str, Any]) -> None:
    summary = document["summary"]
    metrics = {name: value if isinstance(value, (dict, int)) else None for name, value in summary["metrics"].items()}
    metrics |= {"total_return": 0.0, "max_drawdown": 0.0}
    text = page_of({**document, "trades": [], "summary": {**summary, "metrics": metrics, "pessimistic": None}})
    assert '<span class="soft">Sharpe</span><b>–</b>' in text
    assert "too little to draw" in text


def test_the_table_has_a_line_for_each_trade(document: dict[str, Any]) -> None:
    risky = {**document["trades"][0], "tag": "=1+1"}
    rows = list(csv.DictReader(io.StringIO(trades_csv({**document, "trades": [risky, *document["trades"][1:]]}))))
    assert len(rows) == len(document["trades"]) > 5
    assert (rows[0]["tag"], rows[1]["tag"]) == ("'=1+1", "")
    assert rows[0]["entry_time"].endswith("+00:00")
    closed = [row for row in rows if row["exit_time"]]
    assert sum(Decimal(row["pnl"]) for row in closed) == sum(
        Decimal(trade["pnl"]) for trade in document["trades"] if trade["pnl"] is not None
    )
    assert all((row["pnl"] == "") == (row["exit_time"] == "") for row in rows)


def test_charts_draw_what_they_are_given() -> None:
    rising = lines([(0, 1.0), (DAY_MS, 3.0)])
    start, end = re.search(r'class="main" points="([\d.]+,[\d.]+) ([\d.]+,[\d.]+)"', rising).groups()  # type: ignore[union-attr]
    assert float(start.split(",")[1]) > float(end.split(",")[1])
    assert distribution([-0.02, -0.01, 0.01, 0.03]).count("<rect") == 4
    trade = {"exit_ms": 5, "pnl": "1", "entry_ms": 1, "entry_price": "2", "exit_price": "3", "direction": "LONG"}
    bars = [(0, 1, 4, 1, 2), (6, 2, 3, 2, 3)]
    drawn = prices(bars, [trade, {**trade, "pnl": "-1"}, {**trade, "exit_ms": None}])
    assert (drawn.count('class="win"'), drawn.count('class="loss"')) == (1, 1)
    for empty in (lines([]), lines([(0, 1.0)]), prices([], []), distribution([0.1])):
        assert "too little" in empty
    assert "NaN" not in lines([(0, 5.0), (DAY_MS, 5.0)])
