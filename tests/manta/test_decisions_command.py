"""``manta decisions explain``: by id and by time, in words and as JSON; and what is asked in vain is named."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.manta.conftest import Place
from trading.candle_files import load_candles
from trading.intervals import DAY_MS
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M")


def test_a_decision_is_explained_by_id_and_by_time(place: Place, tmp_path: Path) -> None:
    first = load_candles(SAMPLE_FILE, SAMPLE_MARKET)[0].open_time_ms
    rows = [
        ",".join([str(c.open_time_ms), *(f"{units / 1e8:.8f}" for units in (c.open, c.high, c.low, c.close, c.volume))])
        for c in load_candles(SAMPLE_FILE, SAMPLE_MARKET, end_ms=first + 2 * DAY_MS)
    ]
    file = tmp_path / "two-days.csv"
    file.write_text("\n".join(["open_time,open,high,low,close,volume", *rows]), encoding="utf-8")
    run = ("backtest", "run", "--strategy", "ma44", "--market", SAMPLE_MARKET, "--intervals", "7m", "--file", str(file))
    book = f"backtest-{place.run(*run, '--json').value['run_id']}"

    # A backtest's decisions are explained only for those who name its book.
    explain = ("decisions", "explain")
    at = ("--at", iso(first + DAY_MS))
    for more, field in (
        ((), "at"),
        (("--book", "none-such"), "book"),
        (("--market", "binance:NONE"), "market"),
        (("--book", book, "--interval", "7x"), "interval"),
        (("--book", book, "--interval", "1h"), "at"),
    ):
        refused = place.run(*explain, *at, *more, "--json")
        assert (refused.status, refused.value["field"], bool(refused.value["fix"])) == (2, field, True)
    early = place.run(*explain, "--at", iso(first - DAY_MS), "--book", book, "--json")
    assert (early.status, early.value["field"]) == (2, "at")
    assert early.value["fix"].startswith("The first was made at 20")

    found = place.run(*explain, *at, "--book", book, "--json").value
    [item] = found["decisions"]
    assert found["at"] == first + DAY_MS >= item["close_time"]
    assert item["asked"]["strategy"] == "ma44"
    by_id = place.run(*explain, item["decision_id"], "--json").value
    assert by_id == {"decisions": [item]}

    words = place.run(*explain, item["decision_id"]).out
    close, average = float(item["price"]), item["features"]["ma"]
    assert (close > average) is (item["target"] == "LONG")
    order = item["orders"][0]
    for part in (
        f"ma {average:.10g}",
        f"so it answered {item['target']}",
        f"confidence  {item['confidence']:.2f}",
        "Let through: " + ", ".join(item["actions"]),
        f"{order['action']} ",
        f"{order['fills'][0]['side']} {order['fills'][0]['quantity']} at {order['fills'][0]['price']}",
    ):
        assert part in words
    unknown = place.run(*explain, "17", "--json")
    assert (unknown.status, unknown.value["field"]) == (2, "decision_id")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((), "decision_id"),
        (("17", "--at", "2025-07-16"), "decision_id"),
        (("17", "--market", "binance:BTCUSDT"), "market"),
        (("--at", "noon"), "at"),
    ],
)
def test_what_cannot_be_meant_is_named_before_anything_starts(
    place: Place, arguments: tuple[str, ...], field: str
) -> None:
    answer = place.run("decisions", "explain", *arguments, "--json")
    assert (answer.status, answer.value["field"]) == (2, field)
    assert not place.data_dir.exists()
