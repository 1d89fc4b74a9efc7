"""Backups: whole or not there, kept for as long as asked, and restored in one transaction."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.trading.series import at, random_minutes
from tests.trading.storage.conftest import BTC
from trading.errors import BadInput, ConfigError, Halt, MantaError
from trading.storage.backups import back_up, list_backups, require_backup, restore
from trading.storage.binaries import find_binaries
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection, Database, connect
from trading.storage.markets import upsert_market
from trading.storage.settings import DatabaseTarget

NOW = datetime(2025, 7, 16, 3, 30, tzinfo=UTC)
COUNT = "select count(*) from candles"


@pytest.fixture(scope="module")
def programs() -> Path:
    return find_binaries(Path("nowhere")).folder


async def store(target: DatabaseTarget, minutes: int = 500) -> None:
    candles = random_minutes(at("2025-01-01 00:00"), minutes)

    async def write(connection: Connection) -> None:
        await upsert_market(connection, BTC)
        await upsert_candles(connection, candles)

    async with Database(target, application_name="manta test") as database:
        await database.run(write)


async def ask(target: DatabaseTarget, statement: str) -> Any:
    connection = await connect(target, application_name="manta test")
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def contents(target: DatabaseTarget) -> dict[str, Any]:
    """Every row of every table, as text."""
    connection = await connect(target, application_name="manta test")
    try:
        names = [
            row[0] for row in await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        ]
        return {
            name: sorted(str(row[0]) for row in await connection.fetch(f'select t::text from "{name}" t'))
            for name in names
        }
    finally:
        await connection.close()


@pytest.mark.covers("S2-8", "S1-44")
async def test_what_is_backed_up_comes_back_to_the_last_row(
    database: DatabaseTarget, programs: Path, tmp_path: Path
) -> None:
    await store(database)
    before = await contents(database)
    made = await back_up(database, programs, tmp_path, now=NOW)
    assert made == list_backups(tmp_path)[0]
    assert made.path.name == "manta-20250716T033000Z.dump"
    assert made.path.stat().st_mode & 0o077 == 0
    await ask(database, "delete from candles where open_time < at_ms(1735700000000)")
    await ask(database, "create table later (n int)")
    await restore(database, programs, made.path)
    assert await contents(database) == before
    # And again, now that the schema is one that a restore has made.
    again = await back_up(database, programs, tmp_path, now=NOW + timedelta(hours=1))
    await restore(database, programs, again.path)
    assert await contents(database) == before


async def test_it_is_restored_into_an_empty_database(
    database: DatabaseTarget, empty_database: DatabaseTarget, programs: Path, tmp_path: Path
) -> None:
    await store(database)
    made = await back_up(database, programs, tmp_path, now=NOW)
    await restore(empty_database, programs, made.path)
    assert await contents(empty_database) == await contents(database)


@pytest.mark.covers("S2-8")
async def test_the_newest_are_kept_and_nothing_else_is_touched(
    database: DatabaseTarget, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.dump").write_text("not ours")
    (tmp_path / "manta-mine.dump").write_text("not ours")
    (tmp_path / "manta-20250101T000000Z.part").write_text("left by a killed one")
    for day in range(4):
        await back_up(database, programs, tmp_path, now=NOW + timedelta(days=day), keep=2)
    assert [backup.path.name for backup in list_backups(tmp_path)] == [
        "manta-20250719T033000Z.dump",
        "manta-20250718T033000Z.dump",
    ]
    left = {path.name for path in tmp_path.iterdir()} - {backup.path.name for backup in list_backups(tmp_path)}
    assert left == {"mine.dump", "manta-mine.dump", "backup.lock"}


async def test_a_backup_that_fails_leaves_the_others(database: DatabaseTarget, programs: Path, tmp_path: Path) -> None:
    kept = await back_up(database, programs, tmp_path, now=NOW, keep=1)
    gone = database.with_database("not_there")
    with pytest.raises(MantaError, match="not_there"):
        await back_up(gone, programs, tmp_path, now=NOW + timedelta(days=1), keep=1)
    assert list_backups(tmp_path) == [kept]
    assert not list(tmp_path.glob("*.part"))


async def test_two_at_once_are_refused(database: DatabaseTarget, programs: Path, tmp_path: Path) -> None:
    connection = await connect(database, application_name="manta test")
    try:
        async with connection.transaction():
            # pg_dump waits for this.
            await connection.execute("lock table candles in access exclusive mode")
            first = asyncio.ensure_future(back_up(database, programs, tmp_path, now=NOW))
            while not list(tmp_path.glob("*.part")):
                await asyncio.sleep(0.01)
            with pytest.raises(Halt, match="under way"):
                await back_up(database, programs, tmp_path, now=NOW + timedelta(days=1))
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
    finally:
        await connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["backup.lock"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
async def test_a_damaged_backup_changes_nothing(
    database: DatabaseTarget, programs: Path, tmp_path: Path, share: float
) -> None:
    await store(database, 5_000)
    made = await back_up(database, programs, tmp_path, now=NOW)
    os.truncate(made.path, int(made.bytes * share))
    await ask(database, "delete from candles where open_time < at_ms(1735700000000)")
    before = await contents(database)
    with pytest.raises(BadInput, match="no backup that can be read"):
        await require_backup(database, programs, made.path)
    with pytest.raises(MantaError, match="restore failed"):
        await restore(database, programs, made.path)
    assert await contents(database) == before


async def test_a_server_that_refuses_midway_changes_nothing(
    database: DatabaseTarget, programs: Path, tmp_path: Path
) -> None:
    await store(database, 20_000)
    made = await back_up(database, programs, tmp_path, now=NOW)
    before = await contents(database)
    await ask(database, f"alter database {database.database} set default_transaction_read_only = on")
    with pytest.raises(MantaError, match="read-only transaction"):
        await restore(database, programs, made.path)
    assert await contents(database) == before


async def test_what_is_no_backup_is_refused(database: DatabaseTarget, programs: Path, tmp_path: Path) -> None:
    await store(database)
    (tmp_path / "text.dump").write_text("drop schema public cascade;")
    for name in ("text.dump", "absent.dump"):
        with pytest.raises(BadInput) as refused:
            await require_backup(database, programs, tmp_path / name)
        assert (refused.value.field, "manta db backup" in (refused.value.fix or "")) == ("file", True)
    assert await ask(database, COUNT) == 500
    with pytest.raises(ConfigError, match="no pg_dump"):
        await back_up(database, tmp_path, tmp_path, now=NOW)


@pytest.mark.covers("S2-18d", "S2-17")
async def test_a_year_of_minutes_takes_less_than_a_gigabyte(database: DatabaseTarget) -> None:
    await store(database, 20_000)
    await ask(database, "analyze candles")
    size = await ask(database, "select pg_total_relation_size('candles')")
    assert size / 20_000 * 525_600 < 1e9
