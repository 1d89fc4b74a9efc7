"""``manta sweep``: run over a file, listed, shown, exported, and told what is wrong before anything starts."""

import csv
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from manta.backtests import BacktestArguments, single_request_of
from tests.backtest.sweep.world import START, market_file
from tests.manta.conftest import Place, read_until, wait_for
from tests.trading.series import MARKET
from trading.intervals import DAY_MS

RUN = ("sweep", "run", "--strategy", "ma44", "--market", MARKET, "--interval", "24m,48m", "--workers", "1")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return market_file(tmp_path_factory.mktemp("market") / "walk.csv", days=8)


def test_a_sweep_is_run_listed_shown_ranked_exported_and_deleted(stored: Place, file: Path, tmp_path: Path) -> None:
    place = stored
    made = place.run(*RUN, "--grid", "period=3:12:3", "--objective", "total_return", "--file", str(file), "--json")
    assert made.status == 0, made.err
    result, run_id = made.value, made.value["run_id"]
    assert (result["status"], result["tried"], result["engine"]) == ("done", 4, "reference")
    assert "reference engine" in made.err

    [row] = place.run("sweep", "list", "--json").value
    assert (row["run_id"], row["status"], row["tried"], row["combos"]) == (run_id, "done", 4, 4)
    assert row["value"] == result["best"]["value"]
    assert (row["intervals"], row["start"], row["end"]) == (["24m", "48m"], result["start"], result["end"])
    assert (row["start"], row["end"]) == (START, START + 8 * DAY_MS)
    head, listed = place.run("sweep", "list").out.splitlines()
    assert head.split()[3:8] == ["interval", "from", "to", "status", "tried"]
    value = f"{row['value']:+.2%}"
    assert listed.split() == (
        f"{run_id} ma44 {MARKET} 24m,48m 2025-06-02 2025-06-10 done 4 0 4 total_return {value}".split()
    )
    shown = place.run("sweep", "show", run_id, "--json").value
    assert (shown["best"], shown["words"]) == (result["best"], result["words"])
    words = place.run("sweep", "show", run_id).out
    assert f"best of 4: period {result['best']['params']['period']}" in words
    assert "4 combinations were tried" in words

    ranked = place.run("sweep", "best", run_id, "--top", "2", "--json").value["best"]
    assert ranked[0]["params"] == result["best"]["params"]
    assert len(ranked) == 2
    assert ranked[0]["metrics"]["total_return"] >= ranked[1]["metrics"]["total_return"]
    calm = place.run("sweep", "best", run_id, "--by", "max_drawdown", "--json").value["best"]
    drawdowns = [item["metrics"]["max_drawdown"] for item in calm]
    assert drawdowns == sorted(drawdowns)
    assert "max drawdown" in place.run("sweep", "best", run_id, "--by", "max_drawdown").out

    table, columns = tmp_path / "scores.csv", tmp_path / "scores.parquet"
    assert place.run("sweep", "export", run_id, str(table), "--json").value == {"path": str(table), "rows": 4}
    assert place.run("sweep", "export", run_id, str(columns), "--json").status == 0
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    assert {int(row["param_period"]) for row in rows} == {3, 6, 9, 12}
    best = max(rows, key=lambda row: float(row["total_return"]))
    assert float(best["total_return"]) == result["best"]["value"]
    assert pq.read_table(columns).num_rows == 4
    assert float(best["sharpe"]) in pq.read_table(columns).column("sharpe").to_pylist()
    _check_full_disk(place, run_id, tmp_path)
    _check_report(place, run_id, tmp_path)

    for verb, more in (("resume", ()), ("export", (str(tmp_path / "scores.xlsx"),)), ("best", ("--by", "sharp"))):
        answer = place.run("sweep", verb, run_id, *more, "--json")
        assert (answer.status, answer.value["error"], bool(answer.value["fix"])) == (2, "BadInput", True), verb
    assert place.run("sweep", "stop", run_id, "--json").value["status"] == "done"
    assert place.run("sweep", "delete", run_id, "--json").value == {"deleted": run_id}
    assert place.run("sweep", "list", "--json").value == []
    for verb, more in (
        ("show", ()),
        ("stop", ()),
        ("resume", ()),
        ("best", ()),
        ("report", ()),
        ("export", ("a.csv",)),
    ):
        for name in ("17", run_id):
            unknown = place.run("sweep", verb, name, *more, "--json")
            assert (unknown.status, unknown.value["field"]) == (2, "run_id"), verb


def test_the_goal_of_a_file_is_kept_with_the_sweep_and_what_is_held_out_is_told(
    stored: Place, file: Path, tmp_path: Path
) -> None:
    own = tmp_path / "calm.py"
    own.write_text(
        "print('loaded')\ndef objective(metrics):\n    print('asked')\n    return -metrics['max_drawdown']\n",
        encoding="utf-8",
    )
    wanted = ("--grid", "period=3:12:3", "--objective", str(own), "--holdout", "40%", "--file", str(file))
    made = stored.run(*RUN, *wanted, "--json")
    assert made.status == 0, made.err
    result = made.value
    own.unlink()
    shown = stored.run("sweep", "show", result["run_id"], "--json").value
    assert (shown["objective"], shown["request"]["objective_source"].splitlines()[0]) == (
        "objective",
        "print('loaded')",
    )
    # What the file prints does not stand beside the JSON.
    assert ("loaded" in made.err, made.out.count("\n")) == (True, 1)
    best = stored.run("sweep", "best", result["run_id"], "--json").value["best"]
    drawdowns = [item["metrics"]["max_drawdown"] for item in best]
    assert drawdowns == sorted(drawdowns)
    assert [item["number"] for item in result["holdout"]["sets"]] == [item["number"] for item in best]
    assert (shown["tried"], shown["combos"], result["combos"]) == (4, 4, 4)
    assert "Held out were the last" in stored.run("sweep", "show", result["run_id"]).out


def _check_report(place: Place, run_id: str, tmp_path: Path) -> None:
    page = tmp_path / "sweep.html"
    assert place.run("sweep", "report", run_id, "--out", str(page), "--json").value == {"path": str(page)}
    text = page.read_text("utf-8")
    assert "<h2>total return over period" in text
    assert run_id in text
    nowhere = place.run("sweep", "report", run_id, "--out", str(tmp_path / "no" / "s.html"), "--json")
    assert (nowhere.status, nowhere.value["field"]) == (2, "out")


def _check_full_disk(place: Place, run_id: str, tmp_path: Path) -> None:
    """An export that finds no room says so and leaves what was there."""
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "scores.csv").write_bytes(b"old")
    answer = subprocess.run(
        [sys.executable, "-m", "manta", "sweep", "export", run_id, str(folder / "scores.csv"), "--json"],
        cwd=place.folder,
        env=place.variables() | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)),
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "no room" in answer.stdout
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("scores.csv", b"old")]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--grid", "period"), "grid"),
        (("--grid", "period=5:1:1"), "grid"),
        (("--grid", "period=5,6", "--grid", "period=7"), "grid"),
        (("--grid", "perod=5,6"), "perod"),
        (("--grid", "period=0:10:5"), "period"),
        (("--grid", "period=5,6", "--objective", "sharp"), "objective"),
        (("--grid", "period=5,6", "--objective", "nowhere.py"), "objective"),
        (("--grid", "period=5,6", "--holdout", "95%"), "holdout"),
        (("--grid", "period=5,6", "--constraint", "sharpe"), "constraint"),
        (("--grid", "period=5,6", "--random", "2", "--optuna", "2"), "optuna"),
        (("--grid", "period=5,6", "--optuna", "2", "--halving"), "halving"),
        (("--grid", "period=5,6", "--capital", "0"), "capital"),
        (("--grid", "period=5,6", "--file", "gone.csv.gz"), "file"),
        (("--grid", "period=5,6", "--start", "2025-07-02", "--end", "2025-07-01"), "start"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_argument_is_named_before_anything_starts(place: Place, arguments: tuple[str, ...], field: str) -> None:
    answer = place.run(*RUN, *arguments, "--json")
    assert answer.status == 2
    assert (answer.value["error"], answer.value["field"]) == ("BadInput", field)
    assert not place.data_dir.exists()


def test_what_a_user_wrote_is_said_as_it_was_written(place: Place) -> None:
    answer = place.run(*RUN, "--grid", "period=0:100:0.000001")
    assert answer.status == 2
    assert "'period=0:100:0.000001'" in answer.err


@pytest.mark.parametrize(("last", "combos"), [("2:1000:1", 999**3), ("2:102:1", 101 * 999)])
def test_a_large_grid_needs_a_yes(place: Place, last: str, combos: int) -> None:
    slow = "2:1000:1" if combos > 10**6 else "50"
    axes = ("--grid", "fast=2:1000:1", "--grid", f"slow={slow}", "--grid", f"signal={last}")
    answer = place.run("sweep", "run", "--strategy", "macd", "--market", MARKET, *axes, "--json")
    assert (answer.status, answer.value["field"], answer.value["value"]) == (2, "grid", str(combos))
    assert "--yes" in answer.value["fix"]
    assert not place.data_dir.exists()


@pytest.mark.parametrize(("said", "begins"), [(b"y\n", True), (b"n\n", False), (b"\x04", False)], ids=["y", "n", "EOF"])
def test_on_a_terminal_a_large_grid_is_asked_about_with_how_long_it_takes(
    stored: Place, file: Path, said: bytes, begins: bool
) -> None:
    run = [*(part.replace("ma44", "sma_cross") for part in RUN), "--grid", "fast=2:60:1", "--grid", "slow=61:100:1"]
    master, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "manta", *run, "--file", str(file)],
        cwd=stored.folder,
        env=stored.variables() | {"COLUMNS": "200"},
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    reader = threading.Thread(target=read_until, args=(master, "never told", 300))
    try:
        asked = read_until(master, "[y/N]")
        told = r"2,360 combinations take about [\d,]+ (s|min|h|days) on 1 worker \(an estimate, from 3 sets\)\."
        assert re.search(told, asked), asked
        # Nothing is begun while the question stands.
        assert stored.run("sweep", "list", "--json").value == []
        os.write(master, said)
        # Somebody has to read the progress: a terminal holds a few thousand letters, and then its writer waits.
        reader.start()
        if begins:
            wait_for(lambda: any(row["tried"] for row in stored.run("sweep", "list", "--json").value), "scores", 120)
            child.send_signal(signal.SIGINT)
        assert child.wait(60) == (130 if begins else 1)
    finally:
        child.kill()
        child.wait()
        if reader.ident is not None:
            reader.join()
        os.close(master)
    rows = stored.run("sweep", "list", "--json").value
    assert [(row["status"], row["combos"]) for row in rows] == ([("stopped", 2360)] if begins else [])


CONFIGURED = f"""
markets: [{MARKET}]
books:
  paper: {{costs: {{slippage: 0.0005}}}}
strategies:
  - {{name: calm, strategy: ma44, params: {{period: 9}}, intervals: [24m, 48m], profile: perp,
     exits: {{stop_loss_percent: 0.2}}}}
  - {{name: plain, strategy: macd, intervals: [37m], profile: perp}}
"""


def test_an_instance_is_swept_as_it_is_configured_and_a_strategy_alone_says_what_it_leaves_out(
    stored: Place, file: Path
) -> None:
    stored.config(CONFIGURED)
    rest = ("--workers", "1", "--grid", "period=3,6", "--file", str(file), "--json")
    alone = stored.run("sweep", "run", "--strategy", "ma44", "--intervals", "24m,48m", *rest)
    assert alone.status == 0, alone.err
    assert "Not as configured: exits, costs of the configured instance calm are not used" in " ".join(alone.err.split())
    assert "--instance calm" in alone.err
    whole = stored.run("sweep", "run", "--instance", "calm", *rest)
    assert whole.status == 0, whole.err
    assert "Not as configured" not in whole.err
    # Whoever is stopped out waits for the next decision, and costs have no part in that.
    assert whole.value["best"]["metrics"]["exposure"] < alone.value["best"]["metrics"]["exposure"]
    assert "slippage 0.0500%" in " ".join(whole.value["assumptions"])


def test_an_instance_is_asked_for_with_all_that_it_has(place: Place) -> None:
    path = place.config(CONFIGURED)
    told: dict[str, Any] = {"strategies": (), "markets": (), "symbol": None, "start": None, "end": None, "files": ()}
    told |= {"capital": None, "profile": None, "leverage": None, "instance": "calm"}
    request = single_request_of(BacktestArguments.parse(**told, intervals=None), path)
    assert (request.strategy, request.market, request.params) == ("ma44", MARKET, {"period": 9})
    assert (request.intervals, request.profile, request.costs.slippage) == (("24m", "48m"), "perp", Decimal("0.0005"))
    assert request.exits.stop_loss_percent == Decimal("0.2")
    assert single_request_of(BacktestArguments.parse(**told, intervals="1h"), path).intervals == ("1h",)


@pytest.mark.parametrize("command", ["sweep", "walkforward"])
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((), "strategy"),
        (("--instance", "wild"), "instance"),
        (("--instance", "calm", "--strategy", "ma44"), "strategy"),
        (("--instance", "calm", "--profile", "spot"), "profile"),
        (("--instance", "calm", "--leverage", "2"), "leverage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_instance_that_cannot_be_searched_is_named(
    place: Place, command: str, arguments: tuple[str, ...], field: str
) -> None:
    place.config(CONFIGURED)
    answer = place.run(command, "run", *arguments, "--grid", "period=3,6", "--json")
    assert (answer.status, answer.value["error"], answer.value["field"]) == (2, "BadInput", field)
    assert answer.value["fix"]
    assert not place.data_dir.exists()


@pytest.mark.parametrize("command", ["sweep", "walkforward"])
def test_a_search_that_ended_before_its_candles_were_read_is_resumed_with_its_file(
    stored: Place, file: Path, command: str
) -> None:
    broken, whole = stored.folder / "walk.csv", file.read_text("utf-8")
    broken.write_text("open_time,open\n", encoding="utf-8")
    run = (command, *RUN[1:], "--grid", "period=3,6", "--file", "walk.csv", "--json")
    windows = ("--train", "3", "--test", "1") if command == "walkforward" else ()
    assert stored.run(*run, *windows).status != 0
    [row] = stored.run(command, "list", "--json").value
    # Nothing of its range is known before its candles were read.
    assert (row["status"], row["start"], row["end"]) == ("failed", None, None)
    broken.write_text(whole, encoding="utf-8")
    resumed = stored.run(command, "resume", row["run_id"], "--workers", "1", "--json")
    assert resumed.status == 0, resumed.out + resumed.err
    assert resumed.value["status"] == "done"
