"""A reloaded configuration comes back as it was given, for every actor that starts after it."""

import asyncpg

from trading.config.loading import default_config
from trading.config.model import Config
from trading.storage.reloads import read_reload, store_reload


async def test_the_newest_configuration_of_a_session_comes_back_exactly(connection: asyncpg.Connection) -> None:
    assert await read_reload(connection, "one") is None
    first = default_config()
    second = Config.model_validate(first.model_dump() | {"strategies": []})
    await store_reload(connection, "one", first)
    await store_reload(connection, "two", second)
    assert await read_reload(connection, "one") == first
    await store_reload(connection, "one", second)
    assert await read_reload(connection, "one") == second
