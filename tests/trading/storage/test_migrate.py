"""Migrations: once each, by one process at a time, never on a database of another history."""

import asyncio
import dataclasses

import pytest

from trading.errors import ConfigError
from trading.storage.database import connect
from trading.storage.migrate import applied_migrations, known_migrations, migrate
from trading.storage.settings import DatabaseTarget


async def test_applies_all_once_and_then_nothing(empty_database: DatabaseTarget) -> None:
    names = tuple(f"{m.number:04}_{m.name}" for m in known_migrations())
    assert names[:2] == ("0001_core", "0002_timescale")
    assert await migrate(empty_database, "venue") == names
    assert await migrate(empty_database, "venue") == ()


@pytest.mark.covers("S2-7")
async def test_the_first_start_makes_every_table(empty_database: DatabaseTarget) -> None:
    """Candles, indicators (features), data quality, and what each collector has done (cursors)."""
    await migrate(empty_database, "venue")
    connection = await connect(empty_database)
    try:
        rows = await connection.fetch(
            "select table_name, table_type from information_schema.tables where table_schema = 'public'"
        )
        resolved = await connection.fetchval(
            "select data_type from information_schema.columns"
            " where table_name = 'data_quality' and column_name = 'resolved'"
        )
    finally:
        await connection.close()
    made = {row["table_name"]: row["table_type"] for row in rows}
    assert {"candles", "features", "data_quality", "cursors"} <= made.keys()
    assert made["data_health"] == "VIEW"
    assert resolved == "boolean"


async def test_many_processes_at_once_apply_each_migration_once(empty_database: DatabaseTarget) -> None:
    results = await asyncio.gather(*(migrate(empty_database, "venue") for _ in range(5)))
    assert sorted(map(len, results)) == [0, 0, 0, 0, len(known_migrations())]


async def test_refuses_a_database_newer_than_the_code(empty_database: DatabaseTarget) -> None:
    await migrate(empty_database, "venue")
    with pytest.raises(ConfigError, match="newer than this version of Manta"):
        await migrate(empty_database, "venue", migrations=known_migrations()[:1])


async def test_refuses_a_changed_migration_and_changes_nothing(empty_database: DatabaseTarget) -> None:
    first, *rest = known_migrations()
    await migrate(empty_database, "venue", migrations=(first,))
    changed = dataclasses.replace(first, sql=first.sql + "\n-- edited")
    with pytest.raises(ConfigError, match="0001_core is not the one"):
        await migrate(empty_database, "venue", migrations=(changed, *rest))
    connection = await connect(empty_database)
    assert list(await applied_migrations(connection)) == [1]
    await connection.close()


async def test_line_ends_do_not_change_a_checksum() -> None:
    first = known_migrations()[0]
    assert dataclasses.replace(first, sql=first.sql.replace("\n", "\r\n")).checksum == first.checksum


async def test_a_failing_migration_leaves_no_trace(empty_database: DatabaseTarget) -> None:
    first = known_migrations()[0]
    broken = dataclasses.replace(first, number=2, name="broken", sql="create table half (id int); select 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        await migrate(empty_database, "venue", migrations=(first, broken))
    connection = await connect(empty_database)
    assert await connection.fetchval("select to_regclass('half')") is None
    assert list(await applied_migrations(connection)) == [1]
    await connection.close()


async def test_real_and_simulated_candles_never_share_a_database(database: DatabaseTarget) -> None:
    with pytest.raises(ConfigError, match="holds simulator data") as caught:
        await migrate(database, "venue")
    assert "MANTA_DATA_DIR" in str(caught.value)


async def test_without_timescaledb_the_tables_stay_plain(database: DatabaseTarget) -> None:
    connection = await connect(database)
    assert await connection.fetchval("select count(*) from pg_extension where extname = 'timescaledb'") == 0
    kinds = await connection.fetch(
        "select relkind::text from pg_class where relname in ('candles', 'features', 'equity')"
    )
    assert [row["relkind"] for row in kinds] == ["r", "r", "r"]
    await connection.close()
