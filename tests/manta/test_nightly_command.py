"""``manta verify parity --day``: by hand, while Manta runs and when it does not."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.manta.conftest import Place, Running, nothing_left, start_replay
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

MINUTES = 40


@pytest.fixture(scope="module")
def running(module_place: Place) -> Iterator[Running]:
    found = start_replay(module_place, minutes=MINUTES)
    yield found
    found.stop()


def lived_day(running: Running) -> str:
    return datetime.fromtimestamp(running.facts["reached_ms"] / 1000, UTC).date().isoformat()


def execute(running: Running, statement: str) -> str:
    async def work() -> str:
        async with Database(DatabaseTarget(**running.facts["database"])) as database:
            return await database.run(lambda conn: conn.execute(statement))

    return asyncio.run(work())


def test_a_lived_day_is_checked_running_and_stopped(running: Running) -> None:
    place, day = running.place, lived_day(running)
    answer = place.run("verify", "parity", "--day", day, "--json")
    assert answer.status == 0, answer.err
    assert (answer.value["day"], answer.value["unexplained"]) == (day, 0)
    [run] = answer.value["books"]
    assert (run["book"], run["status"], run["complete"], run["unexplained"]) == ("paper", "explained", False, 0)
    assert run["counts"]["marks"] >= MINUTES
    # The day is still under way, which is no secret and no difference.
    assert [(item["kind"], item["cause"]) for item in run["differences"]] == [("span", "downtime")]

    changed = "update equity set equity = equity + 1 where time = (select max(time) - interval '5 minutes' from equity)"
    assert execute(running, changed) == "UPDATE 1"
    answer = place.run("verify", "parity", "--day", day, "--book", "paper")
    assert answer.status == 1
    assert f"Live differs from the backtest: paper, {day}" in answer.out
    assert "UNEXPLAINED" in answer.out
    assert "equity value: " in answer.out
    assert "differs by +1" in answer.out

    with nothing_left(place):
        running.stop()
        again = place.run("verify", "parity", "--day", day, "--json")
    assert (again.status, again.value["unexplained"]) == (1, 1)
    first = again.value["books"][0]["differences"][0]
    assert (first["kind"], first["field"], first["explained"]) == ("equity", "equity", False)
    assert first["time"] % MINUTE_MS == 0
    assert first["time"] // DAY_MS == running.facts["reached_ms"] // DAY_MS


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((), "file"),
        (("--day", "2026-11-25", "--file", "x.csv"), "day"),
        (("--day", "tomorrow"), "day"),
        (("--day", "2026-02-30"), "day"),
        (("--day", "2026-11-25", "--strategy", "ma44"), "strategy"),
        (("--file", "x.csv", "--book", "paper"), "book"),
        (("--day", "2026-11-25", "--book", "nobody"), "book"),
        (("--day", "2026-11-25"), "day"),
    ],
)
def test_what_cannot_be_checked_is_named(place: Place, arguments: tuple[str, ...], field: str) -> None:
    answer = place.run("verify", "parity", *arguments, "--json")
    assert answer.status != 0
    assert (answer.value["field"], bool(answer.value["fix"])) == (field, True)
