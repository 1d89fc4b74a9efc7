"""Table reloads: the configuration that a running session goes by, once it is no longer the one of its start."""

from __future__ import annotations

from trading.config.model import Config
from trading.storage.database import Connection

__all__ = ["read_reload", "store_reload"]


async def store_reload(connection: Connection, session: str, config: Config) -> None:
    """From this transaction on, every actor of ``session`` that starts goes by ``config``."""
    await connection.execute(
        "insert into reloads (session, config) values ($1, $2)", session, config.model_dump(mode="json")
    )


async def read_reload(connection: Connection, session: str) -> Config | None:
    """What ``session`` was last reloaded with; None when it never was."""
    found = await connection.fetchval("select config from reloads where session = $1 order by id desc limit 1", session)
    return None if found is None else Config.model_validate(found)
