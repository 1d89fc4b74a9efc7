"""A database in which a book has lived two days, made once a session and copied for each test that asks.

Fixture ``lived`` is a connection to the copy.
"""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.plugins.postgres import TEMPLATE, administer, fresh
from trading.storage.database import connect
from trading.storage.postgres import BundledPostgres

LIVED = "manta_lived"


@pytest.fixture(scope="session")
def lived_template(postgres: BundledPostgres) -> str:
    # Here: most sessions ask for none of it.
    from tests.backtest.lived import MINUTES, Life

    async def live() -> None:
        await administer(postgres.target, f"create database {LIVED} template {TEMPLATE}")
        connection = await connect(postgres.target.with_database(LIVED))
        await (await Life(connection).begin()).tell(MINUTES)
        await connection.close()

    asyncio.run(live())
    return LIVED


@pytest.fixture
async def lived(postgres: BundledPostgres, lived_template: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to two lived days and five minutes of one book, for this test to hurt."""
    async for target in fresh(postgres, f"template {lived_template}"):
        connection = await connect(target)
        yield connection
        await connection.close()
