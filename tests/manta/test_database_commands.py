"""``manta db``: migrations by hand, and a reset that asks first."""

import asyncio
import os
import pty
import subprocess
import sys

import pytest

from tests.manta.conftest import Place, nothing_left, read_until
from trading.storage.postgres import BundledPostgres
from trading.storage.settings import DatabaseTarget


def test_migrate_says_what_it_applied_and_the_second_time_nothing(place: Place) -> None:
    with nothing_left(place):
        first = place.run("db", "migrate", "--json").value
        assert "0001_core" in first["applied"]
        assert place.run("db", "migrate", "--json").value["applied"] == []
        assert place.run("db", "migrate").out == "nothing to do\n"


def test_reset_empties_the_database_when_told_so(place: Place) -> None:
    with nothing_left(place):
        place.run("db", "migrate")
        answer = place.run("db", "reset", "--yes", "--json")
        assert answer.status == 0
        assert "0001_core" in answer.value["applied"]


def test_reset_where_nobody_can_be_asked_is_refused(place: Place) -> None:
    answer = place.call("db", "reset", "--json")
    assert (answer.status, "--yes" in answer.value["fix"]) == (2, True)
    assert not place.data_dir.exists()


@pytest.mark.parametrize(("said", "status"), [("n\n", 1), ("y\n", 0)])
def test_reset_asks_on_a_terminal(place: Place, said: str, status: int) -> None:
    master, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "manta", "db", "reset", "--json"],
        cwd=place.folder,
        env=place.variables(),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    asked = read_until(master, "[y/N]")
    assert "for ever" in asked
    os.write(master, said.encode())
    out, _ = child.communicate(timeout=60)
    os.close(master)
    assert child.returncode == status
    assert out.count(b"\n") == 1


@pytest.mark.parametrize(
    ("environ", "field", "said"),
    [
        ({"DB_HOST": "127.0.0.1", "DB_PORT": "nine"}, "DB_PORT", "nine"),
        ({"DB_HOST": "127.0.0.1", "DB_PORT": "1"}, None, "127.0.0.1"),
        ({"MANTA__STORAGE__BINARIES": "/nowhere"}, "storage.binaries", "/nowhere"),
    ],
)
def test_a_database_that_cannot_be_had_is_named_with_the_fix(
    place: Place, environ: dict[str, str], field: str | None, said: str
) -> None:
    place.environ |= environ
    answer = place.run("db", "migrate", "--json")
    assert answer.status in (2, 8)
    assert field is None or answer.value["field"] == field
    assert said in answer.value["message"]
    assert answer.value["fix"]


async def test_a_server_of_ones_own_is_used_and_left_running(
    place: Place, postgres: BundledPostgres, empty_database: DatabaseTarget
) -> None:
    target = empty_database
    place.environ |= {"DB_HOST": target.host, "DB_NAME": target.database, "DB_USER": target.user}
    place.environ["DB_PASSWORD"] = target.password() or ""
    answer = await asyncio.to_thread(place.call, "db", "migrate", "--json")
    assert "0001_core" in answer.value["applied"]
    assert postgres.pid is not None
    assert (target.password() or "?") not in answer.out + answer.err


async def test_check_reads_a_server_by_its_dsn_and_says_what_is_to_come(
    place: Place, empty_database: DatabaseTarget
) -> None:
    target = empty_database
    place.environ["DB_PASSWORD"] = target.password() or ""
    dsn = f"postgresql://{target.user}@/{target.database}?host={target.host}"
    before = await asyncio.to_thread(place.call, "db", "check", "--dsn", dsn, "--json")
    assert (before.status, before.value["migrations"], before.value["timescaledb"]) == (0, 0, None)
    assert "0002_timescale" in before.value["pending"]
    tried = await asyncio.to_thread(place.call, "db", "check", "--timescale", "--dsn", dsn, "--json")
    assert (tried.status, tried.value["error"]) == (2, "ConfigError")
    assert "no TimescaleDB" in tried.value["message"]
    assert (target.password() or "?") not in before.out + before.err + tried.out + tried.err
    again = await asyncio.to_thread(place.call, "db", "check", "--dsn", dsn)
    assert "to come" in again.out
    assert "without TimescaleDB" in again.out
