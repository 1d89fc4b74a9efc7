"""Several instances, several markets, or both, in one backtest that shares a book."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from backtest.provenance import data_fingerprint, provenance_of
from backtest.report.document import document_of
from backtest.report.page import page_of
from backtest.report.table import trades_csv
from backtest.reproduce import compare
from backtest.run import BacktestRequest, BookRequest, RunRequest, Source, read_request, run_backtest
from tests.trading.series import MARKET, at, random_minutes
from trading.candles import Candle, Hole, HoleReason
from trading.config.model import Config
from trading.errors import BadInput, DataHole
from trading.instances import resolve_instances
from trading.intervals import MINUTE_MS
from trading.markets import Market

ETH = "binance:ETHUSDT"
START = at("2025-06-02 00:00")
BTC_MINUTES = random_minutes(START, 1500, 1, extras=False)
ETH_MINUTES = [item._replace(market=ETH) for item in random_minutes(START, 1500, 2, extras=False)]
FAST = {"name": "fast", "strategy": "ma44", "params": {"period": 5}, "intervals": ["5m"], "profile": "perp"}
SLOW = {"name": "slow", "strategy": "ma125", "params": {"period": 9}, "intervals": ["3m", "10m"], "share": "3"}


def known(name: str, quote: str = "USDT") -> Market:
    venue, symbol = name.split(":")
    return Market(venue, symbol, "spot", symbol, quote, 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))


def source(name: str, candles: Sequence[Candle], holes: Sequence[Hole] = ()) -> Source:
    return Source(list(candles), list(holes), known(name), known_market=True)


BOTH = [source(MARKET, BTC_MINUTES), source(ETH, ETH_MINUTES)]


def book_of_two(**changes: Any) -> BookRequest:
    return BookRequest.model_validate({"strategies": [FAST], "markets": [MARKET, ETH], **changes})


def alone(market: str, capital: str = "5000", **changes: Any) -> BacktestRequest:
    wanted = {"strategy": "ma44", "params": {"period": 5}, "intervals": ["5m"], "market": market, "capital": capital}
    return BacktestRequest.model_validate(wanted | changes)


def test_markets_together_are_the_sum_of_each_alone_with_its_part_of_the_capital() -> None:
    result, summary, _ = run_backtest(book_of_two(), BOTH, "b")
    total = Decimal(0)
    for each in BOTH:
        own, figures, _ = run_backtest(alone(each.market.key), [each], "b")
        [part] = [part for part in summary["parts"] if part["market"] == each.market.key]
        total += own.equity.last
        assert len(own.records.fills) > 20
        assert [
            (fill.time_ms, fill.side, fill.price, fill.quantity, fill.fee)
            for fill in result.records.fills
            if fill.market == each.market.key
        ] == [(fill.time_ms, fill.side, fill.price, fill.quantity, fill.fee) for fill in own.records.fills]
        assert {name: part[name] for name in figures["intervals"]["5m"]} == figures["intervals"]["5m"]
        assert summary["metrics"]["by"]["market"][each.market.key]["trades"] == figures["trades"]
    assert result.equity.last == total
    assert Decimal(summary["final_equity"]) == total
    assert summary["candles"] == 3000
    assert summary["markets"][ETH] == {"candles": 1500, "absent_minutes": 0, "missing_minutes": 0}
    assert json.loads(json.dumps(summary)) == summary


def test_instances_share_the_capital_by_their_shares_markets_and_intervals() -> None:
    wanted = book_of_two(strategies=[{**FAST, "markets": [MARKET]}, SLOW], capital="8000")
    result, summary, _ = run_backtest(wanted, BOTH, "b")
    deposits = {
        (item.instance_id.rsplit("-", 1)[0], item.market, item.interval): item.amount
        for item in result.records.transfers
        if item.kind == "deposit"
    }
    assert deposits == {
        ("fast", MARKET, "5m"): 2000,
        **{("slow", market, name): 1500 for market in (MARKET, ETH) for name in ("3m", "10m")},
    }
    assert [(part["instance"], part["market"], part["interval"]) for part in summary["parts"]] == list(deposits)
    assert sum(Decimal(part["final_equity"]) for part in summary["parts"]) == Decimal(summary["final_equity"])
    by = summary["metrics"]["by"]["instance"]
    assert set(by) == {"fast", "slow"}
    assert sum(group["trades"] for group in by.values()) == summary["trades"] > 20
    # The slow one is a spot instance: it never goes short.
    assert {trade.direction for trade in result.trades if trade.instance_id.startswith("slow")} == {"LONG"}
    assert any("divided over 5 parts" in line for line in summary["assumptions"])


def test_instances_are_who_they_are_live() -> None:
    config = Config.model_validate({"markets": [MARKET, ETH], "strategies": [{**FAST, "markets": [ETH]}, SLOW]})
    wanted = BookRequest(strategies=config.strategies, markets=config.markets)
    live = resolve_instances(config, START)
    assert [replace(item, book="paper") for item in wanted.instances(START)] == live


def test_each_venue_charges_its_own_and_the_twin_twice_that() -> None:
    perp = "hyperliquid:ETH"
    moved = source(perp, [item._replace(market=perp) for item in ETH_MINUTES])
    _, summary, _ = run_backtest(book_of_two(markets=[MARKET, perp]), [BOTH[0], moved], "b")
    words = " ".join(summary["assumptions"])
    assert "binance: Taker fee 0.1000%" in words
    assert "hyperliquid: Taker fee 0.0450%" in words
    twins = [
        run_backtest(alone(each.market.key), [each], "b")[1]["pessimistic"]["final_equity"] for each in (BOTH[0], moved)
    ]
    assert Decimal(summary["pessimistic"]["final_equity"]) == sum(map(Decimal, twins))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": [FAST, FAST]}, "strategy fast is there twice"),
        ({"markets": [MARKET, MARKET]}, f"market {MARKET} is there twice"),
        (
            {"strategies": [{**FAST, "markets": [ETH, "binance:SOLUSDT"]}]},
            "market binance:SOLUSDT of fast is not among",
        ),
        ({"strategies": [{**FAST, "markets": [ETH]}]}, f"market {MARKET} is traded by no instance"),
        ({"markets": [MARKET, "binance:ETHBTC"]}, "binance:ETHBTC counts in BTC and binance:BTCUSDT in USDT"),
        ({"markets": [MARKET, "bitfinex:ETH-USD"]}, "bitfinex:ETH-USD counts in USD and"),
        ({"strategies": []}, "at least 1"),
        ({"start_ms": START, "end_ms": START}, "is not before"),
    ],
)
def test_books_that_make_no_sense_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        book_of_two(**changes)
    with pytest.raises(BadInput, match="no parameter 'perod'"):
        book_of_two(strategies=[{**FAST, "params": {"perod": 5}}])


def test_too_many_missing_minutes_are_refused_with_their_market() -> None:
    hole = Hole(ETH, START + 500 * MINUTE_MS, START + 540 * MINUTE_MS, HoleReason.MISSING.value)
    torn = [BOTH[0], source(ETH, ETH_MINUTES[:500] + ETH_MINUTES[540:], [hole])]
    with pytest.raises(DataHole, match=rf"{ETH}: 40 of 1500 minutes are missing \(2\.7%\)"):
        run_backtest(book_of_two(), torn, "b")
    _, summary, _ = run_backtest(book_of_two(max_missing_percent=3), torn, "b")
    assert (summary["markets"][MARKET]["missing_minutes"], summary["markets"][ETH]["missing_minutes"]) == (0, 40)
    # What one market's candles do not reach over is missing there, however long the other's are.
    late = [BOTH[0], source(ETH, ETH_MINUTES[100:1450])]
    with pytest.raises(DataHole, match=f"{ETH}: 150 of 1500 minutes"):
        run_backtest(book_of_two(), late, "b")
    _, summary, _ = run_backtest(book_of_two(max_missing_percent=10), late, "b")
    assert any(line.startswith(f"{ETH}: its candles reach from 2025-06-02 01:40") for line in summary["assumptions"])


def test_the_report_shows_the_whole_and_every_part() -> None:
    wanted = book_of_two(strategies=[FAST, SLOW])
    document = json.loads(json.dumps(document_of(wanted, BOTH, *run_backtest(wanted, BOTH, "b"))))
    assert (document["strategy"], document["market"]) == ("fast, slow", f"{MARKET}, {ETH}")
    assert list(document["prices"]) == [MARKET, ETH]
    grown = [each.candles[-1].close / each.candles[0].open for each in BOTH]
    assert document["holding"][-1][1] == pytest.approx(10_000 * sum(grown) / 2, abs=0.01)
    page = page_of(document)
    for text in ("<h2>Parts of the capital", "<h2>Instances", f"Trades on the chart: {ETH}", "2 instances, 2 markets"):
        assert text in page
    assert page.count("<svg") == 5
    lines = trades_csv(document).splitlines()
    assert lines[0].endswith(",instance")
    assert {line.rsplit(",", 1)[1] for line in lines[1:]} == {"fast", "slow"}


def test_the_origin_names_every_file_and_changes_with_any_market() -> None:
    made_of = provenance_of(book_of_two(), BOTH, {})
    moved = source(ETH, [*ETH_MINUTES[:-1], ETH_MINUTES[-1]._replace(volume=7)])
    assert data_fingerprint([BOTH[0], moved]) != made_of["data"]
    assert provenance_of(book_of_two(strategies=[FAST, SLOW]), BOTH, {})["strategy"] != made_of["strategy"]
    assert (made_of["candles"], made_of["files"]) == (3000, {})


def stored(request: RunRequest, sources: list[Source]) -> dict[str, Any]:
    result, summary, _ = run_backtest(request, sources, "b")
    made_of = {**provenance_of(request, sources, {}), "result": str(len(result.records.fills))}
    return {"run_id": "1", "config": request.model_dump(mode="json"), "provenance": made_of, "results": summary}


def test_a_book_is_compared_with_another_and_with_a_single_run() -> None:
    one, two = stored(book_of_two(), BOTH), stored(book_of_two(strategies=[{**FAST, "size": "0.5"}]), BOTH)
    found = compare(one, two)
    assert found["request"] == {"fast.size": ["1", "0.5"]}
    assert set(found["parts"]) == {f"fast {MARKET} 5m", f"fast {ETH} 5m"}
    single = compare(stored(alone(MARKET), BOTH[:1]), one)
    assert single["request"]["markets"] == [[MARKET], [MARKET, ETH]]
    assert single["parts"][f"ma44 {MARKET} 5m"] == [single["figures"]["total_return"][0], None]
    # Of a run from before parts were stored there is nothing to put beside them.
    old = stored(alone(MARKET), BOTH[:1])
    old["results"] = {name: value for name, value in old["results"].items() if name != "parts"}
    assert set(compare(old, one)["parts"]) == set(found["parts"])
    assert read_request(one["config"]) == book_of_two()
    assert read_request(alone(MARKET).model_dump(mode="json")) == alone(MARKET)
