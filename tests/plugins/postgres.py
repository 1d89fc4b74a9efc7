"""A real Postgres for tests: one bundled server a session, and a fresh migrated database for each test that asks.

Fixtures: ``postgres`` (BundledPostgres, session), ``empty_database`` (DatabaseTarget without tables), ``database``
(DatabaseTarget, migrated, origin simulator). Databases are made before and dropped after each test.
``MANTA_TEST_POSTGRES`` names a folder with the programs of another Postgres to run them on.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from trading.storage.database import connect
from trading.storage.migrate import migrate
from trading.storage.postgres import BundledPostgres
from trading.storage.settings import DatabaseTarget

TEMPLATE = "manta_template"
BINARIES = "MANTA_TEST_POSTGRES"
# Databases come and go by the hundred; what a power cut would do to them is of no interest.
UNSAFE = {"fsync": "off", "full_page_writes": "off"}
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundledPostgres]:
    """A server on a socket only, with a migrated template database."""
    binaries = os.environ.get(BINARIES)
    server = BundledPostgres(tmp_path_factory.mktemp("postgres") / "data", binaries=binaries, settings=UNSAFE)

    async def begin() -> None:
        target = await server.start()
        await administer(target, f"create database {TEMPLATE}")
        await migrate(target.with_database(TEMPLATE), "simulator")

    asyncio.run(begin())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def database(postgres: BundledPostgres) -> AsyncIterator[DatabaseTarget]:
    """A migrated database of this test's own."""
    async for target in fresh(postgres, f"template {TEMPLATE}"):
        yield target


@pytest.fixture
async def empty_database(postgres: BundledPostgres) -> AsyncIterator[DatabaseTarget]:
    """A database of this test's own without any table."""
    async for target in fresh(postgres, "template template0"):
        yield target


async def fresh(server: BundledPostgres, how: str) -> AsyncIterator[DatabaseTarget]:
    name = f"test_{next(_numbers)}"
    await administer(server.target, f"create database {name} {how}")
    yield server.target.with_database(name)
    await administer(server.target, f"drop database {name} with (force)")


async def administer(target: DatabaseTarget, statement: str) -> None:
    connection = await connect(target, application_name="manta test")
    await connection.execute(statement)
    await connection.close()
