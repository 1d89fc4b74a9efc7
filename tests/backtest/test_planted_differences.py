"""A comparison finds every difference, names the earliest, and never counts a suppressed decision as equal."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from backtest.compare import compare
from backtest.reference import RunRecords, run_reference
from tests.trading.accounts.ledger import market
from tests.trading.series import MARKET, at, random_minutes
from trading.config.model import Book, Config
from trading.instances import resolve_instances
from trading.intervals import MINUTE_MS

START = at("2025-06-02 12:00")
LIVE_FROM = START + 10 * MINUTE_MS
MINUTES = random_minutes(START, 600, seed=4)
CONFIG = Config.model_validate(
    {
        "features": [{"name": "shown", "kind": "sma", "params": {"period": 5}, "intervals": ["1m", "37m"]}],
        "strategies": [
            {"name": "it", "strategy": "ma44", "params": {"period": 5}, "intervals": ["1m", "37m"], "profile": "perp"}
        ],
    }
)
BIT = Decimal("1e-18")


def run(**changes: Any) -> RunRecords:
    return run_reference(
        MINUTES,
        instances=resolve_instances(CONFIG, LIVE_FROM),
        book_id="paper",
        book=Book(),
        markets=[market(MARKET)],
        live_from_ms=LIVE_FROM,
        features=CONFIG.features,
        **changes,
    ).records


@pytest.fixture(scope="module")
def truth() -> RunRecords:
    return run()


def listed(records: RunRecords, name: str) -> list[Any]:
    return list(records.orders.values()) if name == "orders" else getattr(records, name)


def put(records: RunRecords, name: str, items: list[Any]) -> None:
    setattr(records, name, {item.order_id: item for item in items} if name == "orders" else items)


def changed(item: Any, field: str, value: Any) -> Any:
    return item._replace(**{field: value}) if hasattr(item, "_replace") else replace(item, **{field: value})


def nudge(value: Any) -> Any:
    """The nearest other value of the same type."""
    match value:
        case float():
            return value * (1 + 2**-52)
        case Decimal():
            return value + BIT
        case int():
            return value + 1
        case str():
            return value + "?"
        case tuple():
            return (*value, "HOLD")
        case dict():
            return {name: nudge(inner) for name, inner in value.items()}
        case _:
            return 0.0


PLACES = [
    ("features", "feature", ["value"]),
    ("signals", "signal", ["target", "confidence", "status", "warm_have", "warm_need", "price", "features", "plan"]),
    ("decisions", "decision", ["outcome", "actions", "target", "confidence", "price", "position_before", "features"]),
    ("orders", "order", ["action", "side", "quantity", "quote_amount", "status", "reason", "updated_ms", "leg"]),
    ("fills", "fill", ["side", "price", "quantity", "fee", "realized_pnl", "role", "trade_no", "reason", "slippage"]),
    ("transfers", "transfer", ["amount"]),
    ("equity", "equity", ["cash", "position_value", "equity"]),
    ("positions", "position", ["quantity", "cash", "mark", "equity"]),
]


def test_equal_runs_are_equal(truth: RunRecords) -> None:
    found = compare(copy.deepcopy(truth), truth)
    assert (found.mismatches, found.explained, found.first_difference) == (0, 0, None)
    assert found.decisions == sum(1 for item in truth.decisions if item.actions) > 50
    assert found.holds == len(truth.decisions) - found.decisions > 50
    assert (found.fills, found.features, found.marks) == (len(truth.fills), len(truth.features), len(truth.equity))
    assert min(found.fills, found.features, found.marks) > 50


@pytest.mark.parametrize(("name", "kind", "field"), [(n, k, field) for n, k, fields in PLACES for field in fields])
def test_one_changed_value_is_one_mismatch(truth: RunRecords, name: str, kind: str, field: str) -> None:
    live = copy.copy(truth)
    items = list(listed(truth, name))
    place = next(
        number for number in range(len(items) // 2, len(items)) if getattr(items[number], field) not in (None, ())
    )
    items[place] = changed(items[place], field, nudge(getattr(items[place], field)))
    put(live, name, items)
    found = compare(live, truth)
    assert found.mismatches == 1
    assert found.first_difference is not None
    assert (found.first_difference["kind"], found.first_difference["field"]) == (kind, field)
    assert found.first_difference["live"] != found.first_difference["reference"]
    assert found.first_difference["cause"]


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kind, _ in PLACES if name != "positions"])
def test_what_only_one_of_them_made_is_a_mismatch(truth: RunRecords, name: str, kind: str) -> None:
    shorter = copy.copy(truth)
    items = list(listed(truth, name))
    del items[len(items) // 2]
    put(shorter, name, items)
    for live, reference in ((shorter, truth), (truth, shorter)):
        found = compare(live, reference)
        assert found.mismatches == 1
        assert found.first_difference is not None
        assert (found.first_difference["kind"], found.first_difference["field"]) == (kind, None)


def test_the_earliest_difference_is_told_whatever_its_kind(truth: RunRecords) -> None:
    live = copy.copy(truth)
    late_mark = len(truth.equity) - 2
    live.equity = [*truth.equity]
    live.equity[late_mark] = changed(live.equity[late_mark], "cash", Decimal(0))
    early = next(number for number, item in enumerate(truth.signals) if item.close_time_ms > START + 200 * MINUTE_MS)
    live.signals = [*truth.signals]
    live.signals[early] = changed(live.signals[early], "confidence", 2.0)
    found = compare(live, truth)
    assert found.mismatches == 2
    assert found.first_difference is not None
    assert (found.first_difference["kind"], found.first_difference["field"]) == ("signal", "confidence")
    assert found.first_difference["time"] == truth.signals[early].close_time_ms


def test_a_wide_candle_s_feature_counts_from_its_close(truth: RunRecords) -> None:
    place, wide = next((n, item) for n, item in enumerate(truth.features) if item.interval == "37m" and item.value)
    earlier = next(n for n, item in enumerate(truth.fills) if wide.open_time_ms < item.time_ms < wide.close_time_ms)
    live = copy.copy(truth)
    live.features = [*truth.features]
    live.features[place] = wide._replace(value=0.0)
    live.fills = [*truth.fills]
    live.fills[earlier] = changed(live.fills[earlier], "fee", Decimal(0))
    found = compare(live, truth)
    assert found.mismatches == 2
    assert found.first_difference is not None
    assert found.first_difference["kind"] == "fill"


def test_of_several_at_one_time_the_first_in_order_is_told(truth: RunRecords) -> None:
    extra = [replace(truth.fills[-1], order_id=f"extra-{number}") for number in range(40)]
    live = copy.copy(truth)
    live.fills = [*truth.fills, *extra]
    found = compare(live, truth)
    assert found.mismatches == 40
    assert found.first_difference is not None
    assert "extra-0" in found.first_difference["key"]


def test_the_parts_of_an_order_count_as_one_fill_and_a_part_too_many_as_a_difference(truth: RunRecords) -> None:
    whole = truth.fills[20]
    parts = [
        replace(
            whole,
            fill_id=f"{whole.order_id}:{number}",
            **{name: getattr(whole, name) * share for name in ("quantity", "fee", "slippage", "realized_pnl")},
        )
        for number, share in enumerate((Decimal("0.25"), Decimal("0.75")), 1)
    ]
    live = copy.copy(truth)
    live.fills = [*truth.fills[:20], *parts, *truth.fills[21:]]
    assert compare(live, truth).mismatches == 0
    live.fills = [*live.fills, replace(parts[0], fill_id=f"{whole.order_id}:3")]
    found = compare(live, truth)
    assert (found.mismatches, found.first_difference and found.first_difference["field"]) == (1, "quantity")


def test_a_suppressed_decision_is_explained_and_what_follows_is_still_compared(truth: RunRecords) -> None:
    acted = [item for item in truth.decisions if item.outcome == "acted"]
    chosen = acted[len(acted) // 2]
    live = run(suppressed={chosen.decision_id: ("late", "decided 500 s after the close")})
    assert live.suppressed() == {chosen.decision_id: ("late", "decided 500 s after the close")}
    told = compare(live, run(suppressed=live.suppressed()))
    assert (told.explained, told.mismatches) == (1, 0)
    untold = compare(live, truth)
    assert untold.explained == 1
    assert untold.mismatches > 0
    assert untold.first_difference is not None
    assert (untold.first_difference["kind"], untold.first_difference["time"]) == ("order", chosen.close_ms)
    # Only the live side can explain: a live decision that acted where the reference did not is a difference.
    assert compare(truth, live).explained == 0
    assert compare(truth, live).mismatches > 0
