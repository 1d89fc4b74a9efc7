"""``manta walkforward``: run over a file, listed, shown, and told what is wrong before anything starts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.manta.conftest import Place
from trading.candle_files import load_candles
from trading.intervals import DAY_MS
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

RUN = ("walkforward", "run", "--strategy", "ma44", "--market", SAMPLE_MARKET)
# Two intervals, so that nothing is compiled.
INTERVALS = ("--intervals", "37m,74m")
SMALL = ("--grid", "period=5,44", "--train", "2", "--test", "1", "--purge", "0", "--workers", "1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Four days of the sample."""
    first = load_candles(SAMPLE_FILE, SAMPLE_MARKET)[0].open_time_ms
    path = tmp_path / "four-days.csv"
    rows = [
        ",".join([str(c.open_time_ms), *(f"{units / 1e8:.8f}" for units in (c.open, c.high, c.low, c.close, c.volume))])
        for c in load_candles(SAMPLE_FILE, SAMPLE_MARKET, end_ms=first + 4 * DAY_MS)
    ]
    path.write_text("\n".join(["open_time,open,high,low,close,volume", *rows]), encoding="utf-8")
    return path


def test_a_search_is_run_stored_listed_shown_reported_and_deleted(place: Place, file: Path, tmp_path: Path) -> None:
    made = place.run(*RUN, *INTERVALS, *SMALL, "--file", str(file), "--json")
    assert made.status == 0, made.err
    result = made.value
    assert (result["out_of_sample"]["days"], len(result["folds"]), result["search"]["trials"]) == (2, 2, 2)

    [row] = place.run("walkforward", "list", "--json").value
    assert (row["run_id"], row["status"]) == (result["run_id"], "done")
    assert row["total_return"] == pytest.approx(result["out_of_sample"]["total_return"])
    assert (row["intervals"], row["start"], row["end"]) == (["37m", "74m"], result["start"], result["end"])
    listed = place.run("walkforward", "list").out.splitlines()[1].split()
    first, last = (datetime.fromtimestamp(result[name] / 1000, UTC).strftime("%Y-%m-%d") for name in ("start", "end"))
    assert listed[1:7] == ["ma44", SAMPLE_MARKET, "37m,74m", first, last, "done"]
    assert place.run("walkforward", "show", result["run_id"], "--json").value == result

    words = place.run("walkforward", "show", result["run_id"]).out
    assert "out of sample" in words
    assert words.index("out of sample") < words.index("best of search")
    assert f"{result['out_of_sample']['total_return']:+.2%}" in words
    assert "period 44" in words or "period 5" in words

    page = tmp_path / "search.html"
    written = place.run("walkforward", "report", result["run_id"], "--out", str(page), "--json")
    assert (written.status, written.value) == (0, {"path": str(page)})
    text = page.read_text("utf-8")
    assert f"{result['out_of_sample']['total_return']:+.2%}" in text
    assert "<td>candles</td>" in text
    nowhere = place.run("walkforward", "report", result["run_id"], "--out", str(tmp_path / "no" / "w.html"), "--json")
    assert (nowhere.status, nowhere.value["field"]) == (2, "out")

    assert place.run("walkforward", "stop", result["run_id"], "--json").value["status"] == "done"
    again = place.run("walkforward", "resume", result["run_id"], "--json")
    assert (again.status, again.value["field"]) == (2, "run_id")
    assert place.run("walkforward", "delete", result["run_id"], "--json").value == {"deleted": result["run_id"]}
    assert place.run("walkforward", "list", "--json").value == []
    for verb in ("show", "report", "resume", "stop", "delete"):
        for run_id in ("17", result["run_id"]):
            unknown = place.run("walkforward", verb, run_id, "--json")
            assert (unknown.status, unknown.value["field"]) == (2, "run_id")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--grid", "period"), "grid"),
        (("--grid", "period=5"), "grid"),
        (("--grid", "perod=5,6"), "perod"),
        (("--grid", "period=5,6", "--mode", "sideways"), "mode"),
        (("--grid", "period=5,6", "--random", "2", "--optuna", "2"), "optuna"),
        (("--grid", "period=5,6", "--min-trades", "3", "--embargo", "2"), "embargo"),
        (("--grid", "period=5,6", "--train", "1"), "train"),
        (("--grid", "period=5,6", "--test", "0"), "test"),
        (("--grid", "period=5,6", "--capital", "0"), "capital"),
        (("--grid", "period=5,6", "--file", "gone.csv.gz"), "file"),
        (("--grid", "period=5,6", "--start", "2025-07-02", "--end", "2025-07-01"), "start"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_argument_is_named_before_anything_starts(place: Place, arguments: tuple[str, ...], field: str) -> None:
    answer = place.run(*RUN, *INTERVALS, *arguments, "--json")
    assert answer.status == 2
    assert answer.value["error"] == "BadInput"
    assert answer.value["field"] == field
    assert not place.data_dir.exists()
