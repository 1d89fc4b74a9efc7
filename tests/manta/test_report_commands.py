"""``manta backtest list | report | reproduce | compare`` over stored runs."""

import csv
import json
from pathlib import Path

from tests.manta.conftest import Place
from trading.candle_files import load_candles
from trading.intervals import DAY_MS
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET


def test_a_run_is_reported_made_again_and_compared(place: Place, tmp_path: Path) -> None:
    first = load_candles(SAMPLE_FILE, SAMPLE_MARKET)[0].open_time_ms
    lines = ["open_time,open,high,low,close,volume"] + [
        ",".join([str(c.open_time_ms), *(f"{units / 1e8:.8f}" for units in (c.open, c.high, c.low, c.close, c.volume))])
        for c in load_candles(SAMPLE_FILE, SAMPLE_MARKET, end_ms=first + 3 * DAY_MS)
    ]
    file = tmp_path / "candles.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    run = ("backtest", "run", "--market", SAMPLE_MARKET, "--intervals", "37m", "--file", str(file), "--json")
    one = place.run(*run, "--strategy", "ma44").value["run_id"]
    two = place.run(*run, "--strategy", "ma125").value["run_id"]
    assert {row["run_id"] for row in place.run("backtest", "list", "--json").value} == {one, two}

    for form in ("html", "csv", "json"):
        assert place.run("backtest", "report", one, "--format", form).status == 0
    made = {form: (place.folder / f"backtest-{one}.{form}").read_text("utf-8") for form in ("html", "csv", "json")}
    document = json.loads(made["json"])
    assert made["html"].startswith("<!doctype html>")
    assert len(list(csv.DictReader(made["csv"].splitlines()))) == len(document["trades"]) > 0
    assert document["provenance"]["file"] == str(file)
    wrong = place.run("backtest", "report", one, "--format", "pdf", "--json")
    assert (wrong.status, wrong.value["field"]) == (2, "format")
    nowhere = place.run("backtest", "report", one, "--out", str(tmp_path / "no" / "where.html"), "--json")
    assert (nowhere.status, nowhere.value["field"]) == (2, "out")

    again = place.run("backtest", "reproduce", one, "--json")
    assert again.status == 0
    assert (again.value["same"], again.value["changed"], again.value["figures"]) == (True, [], {})

    figures = place.run("backtest", "compare", one, two, "--json").value
    assert figures["request"] == {"strategy": ["ma44", "ma125"]}
    assert figures["figures"]["trades"][0] != figures["figures"]["trades"][1]
    assert not figures["same"]

    # One price of the file is other than it was, and the candles are named.
    cells = lines[2000].split(",")
    cells[4] = cells[2] if cells[4] != cells[2] else cells[3]
    file.write_text("\n".join([*lines[:2000], ",".join(cells), *lines[2001:]]), encoding="utf-8")
    moved = place.run("backtest", "reproduce", one, "--json")
    assert moved.status == (0 if moved.value["same"] else 1)
    [changed] = moved.value["changed"]
    assert changed.startswith("the candles, their holes or the market's rules")
    for unknown in ("17", "00000000-0000-0000-0000-000000000000"):
        answer = place.run("backtest", "reproduce", unknown, "--json")
        assert (answer.status, answer.value["field"]) == (2, "run_id")
