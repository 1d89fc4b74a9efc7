"""The judge of the crash matrix must see what a crash could do: here it is done by hand."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backtest.reference import RunRecords, run_reference
from manta.crash.checks import BOOK, Findings, judge
from manta.crash.stretches import MARKET, Stretch, scripted_stretch
from trading.accounts.books import SleeveBook
from trading.instances import resolve_instances
from trading.intervals import MINUTE_MS
from trading.markets import Market
from trading.storage.records import StoredRun

MINUTES = 240


@pytest.fixture(scope="module")
def stretch(tmp_path_factory: pytest.TempPathFactory) -> Stretch:
    return scripted_stretch(tmp_path_factory.mktemp("stretch"), seed=7, minutes=MINUTES)


@pytest.fixture(scope="module")
def reference(stretch: Stretch) -> RunRecords:
    market = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, *map(Decimal, ("0.01", "0.00001", "5")))
    return run_reference(
        stretch.candles,
        instances=resolve_instances(stretch.config, stretch.start_ms),
        features=stretch.config.features,
        book_id=BOOK,
        book=stretch.config.books[BOOK],
        markets=[market],
        live_from_ms=stretch.start_ms,
    ).records


def at(stretch: Stretch) -> int:
    return stretch.checkpoint(stretch.start_ms + 120 * MINUTE_MS)


def stored(stretch: Stretch, reference: RunRecords) -> StoredRun:
    """What a faultless run has stored at the checkpoint."""
    at_ms = at(stretch)
    fills = [item for item in reference.fills if item.time_ms < at_ms]
    transfers = [item for item in reference.transfers if item.time_ms < at_ms]
    sleeves = {item.sleeve for item in transfers}
    return StoredRun(
        signals=[item for item in reference.signals if item.close_time_ms <= at_ms],
        features=[item for item in reference.features if item.close_time_ms <= at_ms],  # type: ignore[misc]
        decisions=[item for item in reference.decisions if item.close_ms <= at_ms],
        orders=[
            order if order.updated_ms < at_ms else replace(order, status="open", updated_ms=order.created_ms)
            for order in reference.orders.values()
            if order.created_ms < at_ms or (order.created_ms == at_ms and order.leg == 0)
        ],
        fills=fills,
        transfers=transfers,
        positions=[
            SleeveBook.rebuild(
                [item for item in fills if item.sleeve == key], [item for item in transfers if item.sleeve == key]
            ).record(BOOK, key, Decimal(60_000), at_ms)
            for key in sleeves
        ],
        equity=[item for item in reference.equity if item.time_ms <= at_ms],
    )


def found(stretch: Stretch, reference: RunRecords, run: StoredRun) -> Findings:
    findings = Findings()
    judge(findings, stretch, run, reference, at(stretch))
    return findings


def test_the_scripted_stretch_is_busy_and_has_absent_minutes_and_funding(
    stretch: Stretch, reference: RunRecords
) -> None:
    assert sum(1 for item in reference.decisions if item.actions) > MINUTES / 10
    assert {item.kind for item in reference.transfers} == {"deposit", "funding"}
    assert len(stretch.candles) < MINUTES + 60
    assert {fill.side for fill in reference.fills} == {"BUY", "SELL"}
    assert stretch.candles[0].market == MARKET


def test_the_same_seed_makes_the_same_candles(tmp_path: Path, stretch: Stretch) -> None:
    assert scripted_stretch(tmp_path, seed=7, minutes=MINUTES).candles == stretch.candles
    assert scripted_stretch(tmp_path, seed=8, minutes=MINUTES).candles != stretch.candles


def test_a_faultless_run_is_found_faultless(stretch: Stretch, reference: RunRecords) -> None:
    findings = found(stretch, reference, stored(stretch, reference))
    assert findings.wrong == []
    assert findings.ok


@pytest.mark.parametrize("kind", ["signals", "features", "decisions", "orders", "fills", "transfers", "equity"])
def test_a_row_that_is_missing_is_counted(stretch: Stretch, reference: RunRecords, kind: str) -> None:
    run = stored(stretch, reference)
    findings = found(stretch, reference, run._replace(**{kind: getattr(run, kind)[:-1]}))
    assert findings.missing == 1
    assert not findings.ok


@pytest.mark.parametrize("kind", ["signals", "features", "decisions", "orders", "fills", "transfers", "equity"])
def test_a_row_that_is_there_twice_is_counted(stretch: Stretch, reference: RunRecords, kind: str) -> None:
    run = stored(stretch, reference)
    rows = getattr(run, kind)
    findings = found(stretch, reference, run._replace(**{kind: [*rows, rows[-1]]}))
    assert findings.doubled == 1
    assert not findings.ok


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("fills", lambda item: replace(item, price=item.price + Decimal("1e-8"))),
        ("decisions", lambda item: replace(item, candle_revision=1)),
        ("equity", lambda item: replace(item, cash=item.cash + 1)),
        ("positions", lambda item: replace(item, quantity=item.quantity + 1)),
        ("positions", lambda item: replace(item, cash=item.cash - 1)),
        ("positions", lambda item: replace(item, equity=item.equity + 1)),
    ],
)
def test_a_value_that_differs_is_told(
    stretch: Stretch, reference: RunRecords, kind: str, change: Callable[[Any], Any]
) -> None:
    run = stored(stretch, reference)
    rows = getattr(run, kind)
    findings = found(stretch, reference, run._replace(**{kind: [change(rows[0]), *rows[1:]]}))
    assert findings.wrong
    assert not findings.ok
