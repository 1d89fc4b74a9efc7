"""A backtest from request to stored result, over a file and over the database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from backtest.assumptions import assumptions_of
from backtest.run import BacktestRequest, Source, book_of, load_sources, resolve_symbol, run_backtest, run_stored
from tests.trading.series import MARKET, at, random_minutes
from tests.trading.strategies.own import text
from trading.candles import Candle, Hole, HoleReason
from trading.errors import BadInput, DataHole
from trading.intervals import HOUR_MS, MINUTE_MS
from trading.markets import Market
from trading.storage import backtests, quality, records
from trading.storage import markets as stored_markets
from trading.storage.candles import upsert_candles
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

BTC = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))
START = at("2025-06-02 00:00")
CANDLES = random_minutes(START, 3000, 1, extras=False)


def request(**changes: Any) -> BacktestRequest:
    wanted = {"strategy": "ma44", "market": MARKET, "intervals": ["5m"], "params": {"period": 5}, **changes}
    return BacktestRequest.model_validate(wanted)


def source(candles: Sequence[Candle] = CANDLES, holes: Sequence[Hole] = (), *, known: bool = True) -> list[Source]:
    return [Source(list(candles), list(holes), BTC, known)]


def write_csv(path: Path, candles: Sequence[Candle] = CANDLES) -> Path:
    lines = ["open_time,open,high,low,close,volume"]
    for c in candles:
        prices = ",".join(str(Decimal(units).scaleb(-8)) for units in (c.open, c.high, c.low, c.close, c.volume))
        lines.append(f"{c.open_time_ms},{prices}")
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
async def store(database: DatabaseTarget) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


async def with_candles(store: Database, candles: Sequence[Candle] = CANDLES) -> None:
    async with store.transaction() as connection:
        await stored_markets.upsert_market(connection, BTC)
        await upsert_candles(connection, candles)


async def queued(store: Database, wanted: BacktestRequest) -> UUID:
    run_id = uuid4()
    async with store.transaction() as connection:
        await backtests.queue(
            connection,
            run_id,
            book=book_of(run_id),
            strategy=wanted.strategy,
            market=wanted.market,
            intervals=wanted.intervals,
            config=wanted.model_dump(mode="json"),
        )
    return run_id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": "ma4"}, "no strategy 'ma4'"),
        ({"params": {"perod": 5}}, "no parameter 'perod'"),
        ({"params": {"period": 1}}, "period is 1"),
        ({"market": "BTCUSDT"}, "not venue:symbol"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        request(**changes)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"intervals": ["7x"]}, "intervals", "'7x' is not known"),
        ({"intervals": []}, "intervals", "at least 1"),
        ({"start_ms": 2 * START, "end_ms": START}, "", "is not before"),
        ({"start_ms": START, "end_ms": START}, "", "is not before"),
        ({"start_ms": -1}, "start_ms", "greater than or equal to 0"),
        ({"capital": "0"}, "capital", "greater than 0"),
        ({"capital": "NaN"}, "capital", "finite"),
        ({"costs": {"taker_fee": "-0.001"}}, "costs", "greater than or equal to 0"),
        ({"leverage": "2", "profile": "spot"}, "", "spot cannot use"),
        ({"wings": 2}, "wings", "not permitted"),
    ],
)
def test_impossible_requests_are_refused_with_their_field(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        request(**changes)
    location = caught.value.errors()[0]["loc"]
    assert (str(location[0]) if location else "") == field


@pytest.mark.parametrize("text", ["BTC", "btc", "BTCUSDT", "BTC/USDT", "btc-usdt", "binance:BTCUSDT"])
def test_a_symbol_finds_the_one_market_that_it_means(text: str) -> None:
    assert resolve_symbol(["binance:ETHBTC", MARKET, "binance:BTCSTUSDT"], text) == MARKET


def test_a_symbol_of_none_or_several_markets_lists_the_candidates() -> None:
    with pytest.raises(BadInput, match="several markets") as caught:
        resolve_symbol([MARKET, "binance:BTCUSDC", "binance:ETHUSDT"], "BTC")
    assert caught.value.field == "symbol"
    assert "binance:BTCUSDT, binance:BTCUSDC." in str(caught.value)
    with pytest.raises(BadInput, match=r"no configured market.*binance:BTCUSDT"):
        resolve_symbol([MARKET], "ET")
    with pytest.raises(BadInput, match="no configured market"):
        resolve_symbol(["binance:ETHFIUSDT"], "ETH")


@pytest.mark.covers("S1-23", "S1-24", "W6")
def test_the_result_says_what_was_done_and_assumed() -> None:
    told: list[float] = []
    wanted = request(intervals=["5m", "37m"], start_ms=START + 2 * HOUR_MS, capital="1000")
    result, summary, _ = run_backtest(wanted, source(), "backtest-x", told.append)

    assert json.loads(json.dumps(summary)) == summary
    assert summary["start"] == START + 2 * HOUR_MS
    assert summary["candles"] == 3000 - 120
    assert min(item.close_ms for item in result.records.decisions) > START + 2 * HOUR_MS
    for name in ("total_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor"):
        assert isinstance(summary[name], float)
    assert summary["trades"] > 10
    assert summary["fills"] == len(result.records.fills)
    assert Decimal(summary["fees"]) == sum(fill.fee for fill in result.records.fills)
    assert Decimal(summary["final_equity"]) == result.records.equity[-1].equity
    assert sum(part["trades"] for part in summary["intervals"].values()) == summary["trades"]
    assert told == sorted(told)
    assert 0 < told[-1] <= 1
    assert any("Taker fee 0.1000%" in line for line in summary["assumptions"])
    assert any("Funding 0.0100%" in line for line in summary["assumptions"])
    assert not any("rested" in line for line in summary["assumptions"])


def test_entries_that_were_not_filled_are_counted() -> None:
    rules = {"order_type": "limit", "offset_bps": "40", "expires_candles": 2}
    result, summary, _ = run_backtest(request(entries=rules), source(), "backtest-x")
    rested = [order for order in result.records.orders.values() if order.rests]
    expired, changed = (sum(order.reason == reason for order in rested) for reason in ("expired", "its target changed"))
    assert expired > 0 < changed
    told = f"Of {len(rested)} entry orders that rested, {expired + changed} were not filled: {expired} expired,"
    assert f"{told} {changed} its target changed." in summary["assumptions"]
    assert any("Entries are limit orders 40 bps" in line for line in summary["assumptions"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": "0.5"}, "Every entry uses 50.00% of the equity times 1; quantities"),
        ({"strategy": "dip", "params": {}, "leverage": "2"}, "a share of the whole equity times 2; quantities"),
        (
            {"strategy": "mine", "params": {}, "source": text("return LONG", more="def sizing(now, p): return 0.1")},
            "Every entry uses the share that the strategy's sizing gives it of the whole equity times 1; quantities",
        ),
    ],
)
def test_what_an_entry_costs_is_told_as_the_strategy_has_it(changes: dict[str, Any], words: str) -> None:
    [line] = [line for line in assumptions_of(request(**changes), source()) if "quantities are whole lots" in line]
    assert words in line
    assert ("Every lot" in line) == (changes.get("strategy") == "dip")


def test_a_price_of_entry_at_the_close_is_a_limit_order_at_no_distance() -> None:
    """What the configuration can say as well gives the same fills, whichever way it is said."""
    rule = "return LONG if now.close > prev.close else SHORT if now.close < prev.close else HOLD"
    entries = {"expires_candles": 2}
    runs = [
        run_backtest(request(strategy="mine", params={}, source=text(rule, more=more), entries=entries), source(), "x")
        for more, entries in (
            ("def entry(now, p): return now.close", entries),
            ("", {**entries, "order_type": "limit"}),
        )
    ]
    own, configured = (
        [(fill.time_ms, fill.side, fill.price, fill.quantity, fill.fee, fill.reason) for fill in result.records.fills]
        for result, *_ in runs
    )
    assert own == configured
    assert {fill[-1] for fill in own} == {"decision", "limit"}
    told = runs[0][1]["assumptions"]
    assert any(
        "Entries at a price of the strategy's own are limit or stop orders for 2 candles" in line for line in told
    )


@pytest.mark.covers("W6")
def test_the_pessimistic_twin_is_a_run_at_twice_the_costs() -> None:
    costs = {"taker_fee": "0.0005", "slippage": "0.0001", "funding_per_8h": "0.0001"}
    doubled = {"taker_fee": "0.0010", "slippage": "0.0002", "funding_per_8h": "0.0002"}
    _, summary, _ = run_backtest(request(costs=costs), source(), "b")
    _, twice, _ = run_backtest(request(costs=doubled), source(), "b")
    assert summary["pessimistic"] == {name: twice[name] for name in summary["pessimistic"]}
    assert summary["pessimistic"]["total_return"] < summary["total_return"]


def test_absent_and_missing_minutes_are_told_apart() -> None:
    hole = Hole(MARKET, CANDLES[500].open_time_ms, CANDLES[503].open_time_ms, HoleReason.MISSING.value)
    _, summary, _ = run_backtest(request(), source(CANDLES[:500] + CANDLES[510:], [hole]), "b")
    assert (summary["absent_minutes"], summary["missing_minutes"]) == (7, 3)


def test_unknown_rules_of_a_market_are_an_assumption() -> None:
    _, summary, _ = run_backtest(request(), source(known=False), "b")
    assert any("rules are not known" in line for line in summary["assumptions"])


@pytest.mark.covers("S1-24", "S1-33")
async def test_a_run_over_the_database_is_stored_in_a_book_of_its_own(store: Database) -> None:
    await with_candles(store)
    wanted = request(start_ms=START + 5 * HOUR_MS, end_ms=START + 40 * HOUR_MS)
    run_id = await queued(store, wanted)
    told: list[float] = []

    result = await run_stored(store, run_id, wanted, on_progress=told.append)

    assert UUID(result["run_id"]) == run_id
    assert told
    async with store.transaction() as connection:
        row = await connection.fetchrow("select * from backtest_runs where run_id = $1", run_id)
        run = await records.read_run(connection, book_of(run_id))
        mode = await connection.fetchval("select mode from books where book = $1", book_of(run_id))
        trades = await connection.fetchval("select count(*) from trades where book = $1 and closed", book_of(run_id))
    assert row is not None
    assert (row["status"], row["progress"], row["book"], mode) == ("done", 1, result["book"], "backtest")
    assert row["results"] == {name: value for name, value in result.items() if name not in ("run_id", "book")}
    assert trades == result["trades"] > 5
    assert len(run.decisions) == result["decisions"]
    assert all(item.actions and item.features["ma"] is not None for item in run.decisions)
    assert len(run.fills) == result["fills"]
    assert {order.status for order in run.orders} <= {"filled", "intent"}
    assert sum(item.amount for item in run.transfers if item.kind == "deposit") == 10_000
    assert run.equity[-1].equity == run.positions[0].equity == Decimal(result["final_equity"])
    assert all(mark.time_ms % HOUR_MS == 0 for mark in run.equity[:-1])
    assert (result["start"], result["end"]) == (START + 5 * HOUR_MS, START + 40 * HOUR_MS)


@pytest.mark.covers("S1-24")
async def test_a_file_gives_the_same_result_as_the_database(store: Database, tmp_path: Path) -> None:
    await with_candles(store)
    wanted = request(start_ms=START + 5 * HOUR_MS)
    stored = await run_stored(store, await queued(store, wanted), wanted)
    filed = await run_stored(store, await queued(store, wanted), wanted, {MARKET: write_csv(tmp_path / "candles.csv")})
    assert {**filed, "run_id": "", "book": ""} == {**stored, "run_id": "", "book": ""}


async def test_a_file_of_an_unknown_market_says_what_it_assumes_every_time(store: Database, tmp_path: Path) -> None:
    wanted = request(market="kraken:XBTUSD")
    path = write_csv(tmp_path / "candles.csv")
    for _ in range(2):
        result = await run_stored(store, await queued(store, wanted), wanted, {wanted.market: path})
        assert any("rules are not known" in line for line in result["assumptions"])


async def test_warm_up_comes_from_before_the_start(store: Database) -> None:
    await with_candles(store)
    async with store.transaction() as connection:
        [found] = await load_sources(connection, request(start_ms=START + 10 * HOUR_MS), {})
    # Five candles of five minutes, one more for the row before, one more because the first is usually cut.
    assert found.candles[0].open_time_ms == START + 10 * HOUR_MS - 7 * 5 * MINUTE_MS
    result, _, _ = run_backtest(request(start_ms=START + 10 * HOUR_MS), [found], "b")
    assert result.records.signals[0].status == "ready"


async def test_missing_minutes_of_the_database_are_known_to_the_run(store: Database) -> None:
    await with_candles(store, CANDLES[:500] + CANDLES[503:])
    gone = Hole(MARKET, CANDLES[500].open_time_ms, CANDLES[503].open_time_ms, HoleReason.MISSING.value)
    async with store.transaction() as connection:
        await quality.record_hole(connection, gone)
        [found] = await load_sources(connection, request(), {})
    assert found.holes == [gone]
    assert found.market == BTC


async def test_a_run_that_cannot_be_done_says_why_in_its_row(store: Database) -> None:
    await with_candles(store)
    for wanted, kind, words in (
        (request(market="binance:ETHUSDT"), BadInput, "has no candles here"),
        (request(start_ms=START + 100 * HOUR_MS), DataHole, "no candles in this range"),
        (request(end_ms=START), DataHole, "no candles in this range"),
    ):
        run_id = await queued(store, wanted)
        with pytest.raises(kind, match=words):
            await run_stored(store, run_id, wanted)
        async with store.transaction() as connection:
            row = await connection.fetchrow("select status, error from backtest_runs where run_id = $1", run_id)
        assert row is not None
        assert row["status"] == "failed"
        assert words in row["error"]


async def test_a_file_whose_candles_do_not_add_up_is_refused(store: Database, tmp_path: Path) -> None:
    hourly = [c._replace(open_time_ms=START + n * HOUR_MS) for n, c in enumerate(CANDLES[:50])]
    path = write_csv(tmp_path / "hours.csv", hourly)
    async with store.transaction() as connection:
        with pytest.raises(BadInput, match=r"Candles of 1h do not add up to .*give a file of 1m candles"):
            await load_sources(connection, request(), {MARKET: path})


async def test_plain_data_is_checked_and_a_bad_one_fails_its_row(store: Database) -> None:
    await with_candles(store)
    good = request()
    run_id = await queued(store, good)
    result = await run_stored(store, run_id, good.model_dump(mode="json"))
    assert result["trades"] > 5

    for bad, kind, words in (
        ({"strategy": "ma4"}, BadInput, "no strategy"),
        ({"capital": "0"}, ValidationError, "capital"),
    ):
        run_id = await queued(store, good)
        with pytest.raises(kind, match=words):
            await run_stored(store, run_id, {**good.model_dump(mode="json"), **bad})
        async with store.transaction() as connection:
            row = await connection.fetchrow("select status, error from backtest_runs where run_id = $1", run_id)
        assert row is not None
        assert row["status"] == "failed"
        assert words in row["error"]


def test_too_many_missing_minutes_are_refused_by_number() -> None:
    hole = Hole(MARKET, START + 500 * MINUTE_MS, START + 540 * MINUTE_MS, HoleReason.MISSING)
    found = source(CANDLES[:500] + CANDLES[540:], [hole])
    with pytest.raises(DataHole, match=r"40 of 3000 minutes are missing \(1\.3%\)"):
        run_backtest(request(), found, "b")
    _, summary, _ = run_backtest(request(max_missing_percent=2), found, "b")
    assert summary["missing_minutes"] == 40


def test_an_interval_without_a_single_candle_is_refused() -> None:
    with pytest.raises(DataHole, match="No candle of 1w closes in this range"):
        run_backtest(request(intervals=["1w"]), source(), "b")


def test_exits_and_entry_rules_of_a_request_are_traded() -> None:
    result, _, _ = run_backtest(request(exits={"stop_loss_percent": "0.5"}), source(), "b")
    assert "stop_loss" in {trade.exit_reason for trade in result.trades}
    result, _, _ = run_backtest(request(entries={"long_only": True}), source(), "b")
    assert {trade.direction for trade in result.trades} == {"LONG"}


@pytest.mark.covers("S1-22")
def test_a_run_stops_where_it_is_ruined_and_says_so() -> None:
    costs = {"taker_fee": "0.05", "slippage": "0.02"}
    poor = replace(BTC, min_notional=Decimal(50))
    found = [Source(list(CANDLES), [], poor, True)]
    result, summary, _ = run_backtest(request(costs=costs, capital="100"), found, "b")
    assert summary["ruined_at"] is not None
    assert result.candles < len(CANDLES)
    assert result.equity.last < 50
    assert all(fill.time_ms < summary["ruined_at"] for fill in result.records.fills)
    assert any(line.startswith("RUINED at 2025-") for line in summary["assumptions"])
    _, fine, _ = run_backtest(request(), source(), "b")
    assert fine["ruined_at"] is None
