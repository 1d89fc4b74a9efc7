"""``kill -9`` of whatever a sweep stands on: what was committed stays, nothing is done twice, nothing is left over."""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from backtest.background import NICENESS
from tests.backtest.sweep.world import market_file
from tests.manta.conftest import Place, finish, living, wait_for
from tests.trading.series import MARKET
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

pytestmark = [pytest.mark.slow, pytest.mark.long(2)]

# Two intervals, so that the reference engine does it, slowly enough to be killed amid the work.
SETS = 150
# Two batches of four for each of two workers.
IN_FLIGHT = 16
GRID = ("--grid", f"period=3:{SETS + 2}:1")
RUN = ("sweep", "run", "--strategy", "ma44", "--market", MARKET, "--interval", "24m,48m", *GRID)


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Those of its Ray that are at a batch."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ray::_score" in " ".join(child.cmdline()):
                    found.append(child)
    return found


class Table:
    """The one search of a database, read past the command."""

    def __init__(self, target: DatabaseTarget, name: str = "sweeps") -> None:
        self._target, self._name = target, name

    def row(self) -> dict[str, Any]:
        text = f"select run_id::text, tried, status, error from {self._name}"
        found = asyncio.run(self._fetch(text))
        return dict(found[0]) if found else {"tried": 0, "status": "", "error": ""}

    def more_than(self, count: int) -> None:
        """Wait until more sets are tried, while the sweep runs."""

        def reached() -> bool:
            row = self.row()
            assert row["status"] in ("", "queued", "running"), row
            return bool(row["tried"] > count)

        wait_for(reached, f"more than {count} scores", 120)

    def crash(self) -> None:
        """Kill one backend: the server drops every connection and recovers from its log."""
        [row] = asyncio.run(
            self._fetch(
                "select pid from pg_stat_activity where application_name = 'manta sweep'"
                " and datname = current_database()"
            )
        )
        os.kill(row["pid"], signal.SIGKILL)

    async def _fetch(self, text: str) -> list[Any]:
        async with Database(self._target, application_name="test watcher") as database:
            return await database.run(lambda connection: connection.fetch(text))


def test_whatever_is_killed_costs_only_what_was_in_flight(
    stored: Place, empty_database: DatabaseTarget, tmp_path: Path
) -> None:
    place, table, file = stored, Table(empty_database), market_file(tmp_path / "walk.csv")
    assert place.run("sweep", "list", "--json").value == []
    sweep = place.popen(*RUN, "--file", str(file), "--workers", "2", "--json")
    try:
        table.more_than(0)
        [worker, *_] = wait_for(lambda: workers_of(sweep), "a worker at its batch", 60)
        assert worker.nice() == NICENESS
        before = table.row()["tried"]
        worker.kill()
        table.more_than(before + IN_FLIGHT)

        before = table.row()["tried"]
        table.crash()
        table.more_than(before + IN_FLIGHT)

        started = [child.pid for child in psutil.Process(sweep.pid).children(recursive=True)]
        sweep.kill()
        finish(sweep)
    finally:
        if sweep.poll() is None:
            sweep.terminate()
            finish(sweep)
    wait_for(lambda: not living(started), "the end of the killed sweep's Ray", 60)
    kept = table.row()
    assert 2 * IN_FLIGHT < kept["tried"] < SETS
    [left] = (place.data_dir / "sweeps").iterdir()

    answer = place.call("sweep", "resume", kept["run_id"], "--force", "--workers", "2", "--json", timeout_s=240)
    assert answer.status == 0, answer.err
    result = answer.value
    assert (result["status"], result["scored"], result["scored_before"]) == ("done", SETS, kept["tried"])
    assert table.row()["tried"] == SETS
    numbers = place.run("sweep", "best", kept["run_id"], "--top", "1000", "--json").value["best"]
    assert sorted(item["number"] for item in numbers) == list(range(SETS))
    assert not left.exists()


def test_a_killed_walkforward_goes_on_where_it_was(
    stored: Place, empty_database: DatabaseTarget, tmp_path: Path
) -> None:
    place, table = stored, Table(empty_database, "walkforwards")
    file = market_file(tmp_path / "walk.csv", days=12)
    assert place.run("walkforward", "list", "--json").value == []
    windows = ("--train", "6", "--test", "3", "--purge", "0", "--workers", "1", "--json")
    command = ("walkforward", "run", *RUN[2:-1], "period=3:42:1", *windows)
    search = place.popen(*command, "--file", str(file))
    try:
        table.more_than(8)
        search.kill()
        finish(search)
    finally:
        if search.poll() is None:
            search.terminate()
            finish(search)
    kept = table.row()
    assert 8 < kept["tried"] < 40

    # On Ray this time: scores and tests are the same wherever they are made.
    again = ("walkforward", "resume", kept["run_id"], "--force", "--workers", "2", "--json")
    answer = place.call(*again, timeout_s=240)
    assert answer.status == 0, answer.err
    assert (answer.value["status"], answer.value["search"]["trials"], answer.value["search"]["runs"]) == (
        "done",
        40,
        40,
    )
    assert table.row()["tried"] == 40
