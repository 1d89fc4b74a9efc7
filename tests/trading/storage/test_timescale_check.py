"""`manta db check --timescale`, on servers without the extension and on one with a stand-in of its SQL interface.

The stand-in shows that the check asks in valid SQL, notices what is wrong and cleans up; what TimescaleDB answers only
a real one can show.
"""

import asyncio
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.plugins.postgres import UNSAFE
from trading.errors import ConfigError
from trading.storage.database import connect
from trading.storage.migrate import Migration, known_migrations, migrate
from trading.storage.postgres import BundledPostgres
from trading.storage.settings import DatabaseTarget
from trading.storage.timescale import HYPERTABLES
from trading.storage.timescale_check import check_timescale

STAND_IN = Path(__file__).with_name("timescale_stand_in")
SETTING = re.compile(r"alter table (\w+) set \(\s*timescaledb\.compress,.*?segmentby = '([^']*)'.*?\);", re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundledPostgres]:
    """A bundled server that finds the stand-in among its extensions."""
    folder = tmp_path_factory.mktemp("timescale")
    shutil.copytree(STAND_IN, folder / "extension")
    for path in (*folder.parents[:2], folder, folder / "extension"):
        path.chmod(path.stat().st_mode | 0o055)
    server = BundledPostgres(folder / "data", settings={**UNSAFE, "extension_control_path": f"$system:{folder}"})
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


def understood() -> tuple[Migration, ...]:
    """The migrations with their compression settings as rows: plain Postgres has no such words."""

    def row(match: re.Match[str]) -> str:
        columns = [name.strip() for name in match[2].split(",")]
        return "insert into timescaledb_information.compression_settings (hypertable_name, attname,\
 segmentby_column_index) values " + ", ".join(
            f"('{match[1]}', '{name}', {number})" for number, name in enumerate(columns, 1)
        ) + ";"  # fmt: skip

    return tuple(replace(each, sql=SETTING.sub(row, each.sql)) for each in known_migrations())


async def databases(target: DatabaseTarget) -> set[str]:
    connection = await connect(target)
    try:
        return {row[0] for row in await connection.fetch("select datname from pg_database")}
    finally:
        await connection.close()


@pytest.mark.covers("S1-30")
async def test_everything_is_tried_in_a_database_that_is_gone_afterwards(server: BundledPostgres) -> None:
    before = await databases(server.target)
    found = await check_timescale(server.target, migrations=understood())
    assert [check for check in found.checks if not check.ok] == []
    assert len(found.checks) == 14
    assert (found.timescaledb, found.migrations) == ("2.11.2", len(known_migrations()))
    assert found.plain_bytes_a_row is not None
    assert found.compressed_bytes_a_row == pytest.approx(found.plain_bytes_a_row / 4)
    assert await databases(server.target) == before


async def test_what_is_not_as_asked_fails_its_check_alone(server: BundledPostgres) -> None:
    """Chunks of one table are of another length, and another has a job that drops old rows."""
    last = understood()[-1]
    meddling = """
    update timescaledb_information.dimensions set time_interval = '1 day' where hypertable_name = 'equity';
    insert into timescaledb_information.jobs (proc_name, config, hypertable_name)
    values ('policy_retention', '{}', 'candles');
    """
    migrations = (*understood()[:-1], replace(last, sql=last.sql + meddling))
    found = await check_timescale(server.target, migrations=migrations)
    failed = {check.name: check.detail for check in found.checks if not check.ok}
    assert set(failed) == {"hypertables with chunks of 7 days", "compressed after 7 days, nothing ever dropped"}
    assert "policy_retention" in failed["compressed after 7 days, nothing ever dropped"]
    assert not found.ok


async def test_a_failure_halfway_leaves_no_database_behind(server: BundledPostgres) -> None:
    before = await databases(server.target)
    broken = (*understood(), Migration(9999, "broken", "select no_such_function()"))
    with pytest.raises(Exception, match="no_such_function"):
        await check_timescale(server.target, migrations=broken)
    assert await databases(server.target) == before


async def test_a_server_without_the_extension_is_a_clear_error(postgres: BundledPostgres) -> None:
    before = await databases(postgres.target)
    with pytest.raises(ConfigError, match=r"has no TimescaleDB.*same tables are plain"):
        await check_timescale(postgres.target)
    assert await databases(postgres.target) == before


async def test_a_user_who_may_make_no_database_is_told_how_to(server: BundledPostgres) -> None:
    connection = await connect(server.target)
    await connection.execute("create role guest login password 'guest'")  # pragma: allowlist secret
    await connection.close()
    password = Path(server.data_dir.parent / "guest")
    password.write_text("guest")
    guest = replace(server.target, user="guest", password_file=str(password))
    with pytest.raises(ConfigError, match="createdb"):
        await check_timescale(guest)


async def test_an_extension_that_is_installed_and_not_loaded_is_a_clear_error(empty_database: DatabaseTarget) -> None:
    """What the server says then, as an error; the real one ends the session with it."""
    says = """do $$ begin raise exception 'extension "timescaledb" must be preloaded'; end $$"""
    with pytest.raises(ConfigError, match="shared_preload_libraries"):
        await migrate(empty_database, "simulator", migrations=(Migration(1, "timescale", says),))


def test_later_migrations_change_hypertables_only_as_compression_allows() -> None:
    """2.11 refuses other changes of a compressed table than a column without constraint or computed default."""
    tables = "|".join(each.table for each in HYPERTABLES)
    allowed = re.compile(r"add column \w+ [\w\[\]]+( not null default ('[^']*'|-?\d+|true|false)| default null)?\s*")
    for migration in known_migrations():
        for change in re.findall(rf"alter table (?:{tables})\s+([^;]*);", migration.sql):
            if "timescaledb.compress" not in change:
                assert migration.number > 2
                assert allowed.fullmatch(change), (migration.name, change)
