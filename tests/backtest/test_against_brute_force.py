"""The reference backtest against a second implementation, on real minutes: each fill and equity mark, exactly."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from backtest.reference import ReferenceResult, run_reference
from tests.backtest.brute_force import MINUTE, Account, Rules, backtest, read_minutes
from tests.trading.series import at
from trading.candle_files import load_candles
from trading.config.model import Book, Config, Costs
from trading.instances import resolve_instances
from trading.intervals import DAY_MS, parse_interval
from trading.markets import Market

BTC = "binance:BTCUSDT"
COSTS = Costs()
LOT, LEAST = Decimal("0.00001"), Decimal(5)
QUIET = "binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
CRASH = "binance_spot_BTCUSDT_1m_12col_20210515-20210522.csv.gz"
SPARSE = "bitfinex_BTCUSD_1m_2017.csv.gz"


def both(
    folder: Path, file: str, count: int, *, strategy: str, interval: str, profile: str, **changes: Any
) -> tuple[ReferenceResult, Account]:
    """The same minutes through the reference and through brute force."""
    path = folder / "candles_1m" / file
    skip, live_after, capital = changes.get("skip", 0), changes.get("live_after", 0), changes.get("capital", 10_000)
    leverage = changes.get("leverage", 1)
    minutes = read_minutes(path, skip, count)
    live_from = minutes[0].at + live_after
    entries = changes.get("entries", {})
    instance = {
        "strategy": strategy, "intervals": [interval], "profile": profile, "leverage": leverage, "entries": entries,
    }  # fmt: skip
    config = Config.model_validate({"strategies": [{"name": "it", **instance}]})
    result = run_reference(
        load_candles(path, BTC, start_ms=minutes[0].at, end_ms=minutes[-1].at + MINUTE),
        instances=resolve_instances(config, live_from),
        book_id="paper",
        book=Book(capital=Decimal(capital), costs=COSTS),
        markets=[Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), LOT, LEAST)],
        live_from_ms=live_from,
    )
    rules = Rules(
        minutes=parse_interval(interval).typical_ms // MINUTE,
        period=int(strategy.removeprefix("ma")),
        short_too=profile == "perp",
        leverage=leverage,
        fee=Fraction(COSTS.of("binance").taker_fee),
        slippage=Fraction(COSTS.slippage),
        funding=Fraction(COSTS.funding_per_8h),
        margin=Fraction(COSTS.maintenance_margin),
        lot=Fraction(LOT),
        least=Fraction(LEAST),
        entry=entries.get("order_type", "market"),
        offset=Fraction(entries.get("offset_bps", "0")) / 10_000,
        candles=entries.get("expires_candles", 1),
        maker=Fraction(COSTS.of("binance").maker_fee),
    )
    return result, backtest(minutes, rules, Fraction(capital), live_from)


def agree(result: ReferenceResult, account: Account) -> None:
    records = result.records
    assert [
        (fill.time_ms, fill.side, Fraction(fill.price), Fraction(fill.quantity)) for fill in records.fills
    ] == account.fills
    assert [(mark.time_ms, Fraction(mark.equity)) for mark in records.equity] == account.equity
    assert sum(Fraction(fill.fee) for fill in records.fills) == account.fees
    assert Fraction(records.positions[0].quantity) == account.held
    assert Fraction(records.positions[0].cash) == account.cash


@pytest.mark.covers("S1-19", "S1-20", "W4", "W6")
@pytest.mark.parametrize("profile", ["perp", "spot"])
@pytest.mark.parametrize(
    ("strategy", "interval", "count"), [("ma44", "1m", 4_000), ("ma125", "1m", 4_000), ("ma44", "37m", 14_400)]
)
def test_quiet_days(shared_data: Path, strategy: str, interval: str, count: int, profile: str) -> None:
    result, account = both(shared_data, QUIET, count, strategy=strategy, interval=interval, profile=profile, skip=17)
    assert len(account.fills) > 5
    agree(result, account)


@pytest.mark.covers("W4", "W6")
@pytest.mark.parametrize("leverage", [3, 20])
def test_the_crash_of_may_2021_with_leverage(shared_data: Path, leverage: int) -> None:
    result, account = both(
        shared_data, CRASH, 10_081, strategy="ma44", interval="37m", profile="perp", leverage=leverage
    )
    liquidated = [fill for fill in result.records.fills if fill.reason == "liquidation"]
    assert bool(liquidated) == (leverage == 20)
    agree(result, account)


@pytest.mark.covers("W6")
@pytest.mark.parametrize(("strategy", "interval"), [("ma44", "1m"), ("ma44", "5m"), ("ma44", "37m")])
def test_days_with_absent_minutes(shared_data: Path, strategy: str, interval: str) -> None:
    result, account = both(shared_data, SPARSE, 6_000, strategy=strategy, interval=interval, profile="perp", skip=3)
    times = [mark.time_ms for mark in result.records.equity]
    assert (times[-1] - times[0]) // MINUTE + 1 > len(times)
    agree(result, account)


@pytest.mark.covers("W6")
def test_it_begins_where_it_was_told_to(shared_data: Path) -> None:
    result, account = both(
        shared_data, QUIET, 14_400, strategy="ma44", interval="37m", profile="perp", live_after=3 * DAY_MS
    )
    assert result.records.equity[0].time_ms == at("2025-05-23 00:01")
    assert min(decision.close_ms for decision in result.records.decisions) == at("2025-05-23 00:13")
    assert result.records.decisions[0].outcome == "acted"
    assert result.candles == len(account.equity) == 14_400 - 3 * 1440
    agree(result, account)


@pytest.mark.covers("S1-19", "S1-20", "W6")
@pytest.mark.parametrize("profile", ["perp", "spot"])
@pytest.mark.parametrize("order_type", ["limit", "stop"])
@pytest.mark.parametrize(
    ("file", "interval", "count", "offset", "candles"),
    [(QUIET, "1m", 1_000, "3", 4), (SPARSE, "5m", 3_000, "20", 3)],
)
def test_entries_that_rest(
    shared_data: Path, file: str, interval: str, count: int, offset: str, candles: int, order_type: str, profile: str
) -> None:
    entries = {"order_type": order_type, "offset_bps": offset, "expires_candles": candles}
    result, account = both(
        shared_data, file, count, strategy="ma44", interval=interval, profile=profile, entries=entries, leverage=1
    )
    orders = [order for order in result.records.orders.values() if order.rests]
    ends = Counter((order.status, order.reason) for order in orders)
    assert ends["filled", ""] > 3
    assert ends["canceled", "its target changed"] > 0
    assert ends["canceled", "expired"] > 0 or order_type == "stop"
    agree(result, account)


@pytest.mark.covers("W6")
@pytest.mark.parametrize("order_type", ["limit", "stop"])
def test_entries_that_rest_in_the_crash_with_leverage(shared_data: Path, order_type: str) -> None:
    entries = {"order_type": order_type, "offset_bps": "50", "expires_candles": 5}
    result, account = both(
        shared_data, CRASH, 7_000, strategy="ma44", interval="37m", profile="perp", leverage=50, entries=entries
    )
    assert any(fill.reason == "liquidation" for fill in result.records.fills)
    agree(result, account)


def test_an_account_too_small_for_the_venue_never_trades(shared_data: Path) -> None:
    result, account = both(shared_data, QUIET, 2_000, strategy="ma44", interval="1m", profile="perp", capital=4)
    assert {order.status for order in result.records.orders.values()} <= {"rejected", "open"}
    assert len(result.records.orders) > 5
    agree(result, account)
