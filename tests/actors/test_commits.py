"""A writer's commits happen exactly once, whatever becomes of the connection while they do."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from actors.crash import CrashBox, CrashPoint
from actors.runtime import Writer
from actors.session import Session
from trading.config.model import Config
from trading.config.secrets import write_secrets
from trading.events import Event, EventKind
from trading.logs import shutdown_logging
from trading.storage import cursors, events
from trading.storage.database import Connection
from trading.storage.settings import DatabaseTarget


class Teller(Writer):
    role = "teller"

    async def bootstrap(self) -> None:
        await self.acquire()

    async def handle(self, message: Any) -> None:
        raise NotImplementedError


@pytest.fixture
def teller(database: DatabaseTarget, tmp_path: Path) -> Iterator[Teller]:
    level = logging.getLogger().level
    session = Session(
        session_id="s",
        namespace="n",
        origin="simulator",
        time_rate=0.0,
        start_ms=0,
        config=Config(),
        target=database,
        secrets_path=str(write_secrets(tmp_path, {})),
        log_dir=str(tmp_path),
        crash_dir=str(tmp_path / "crashes"),
    )
    yield Teller(session)
    shutdown_logging()
    structlog.reset_defaults()
    logging.getLogger().setLevel(level)


async def tell(conn: Connection) -> None:
    await events.append_events(conn, [Event(EventKind.START, 1, "system")])


async def told(writer: Writer) -> int:
    found: int = await writer.read(lambda conn: conn.fetchval("select count(*) from events"))
    return found


@pytest.mark.parametrize("boundary", ["before_commit", "before_cursor", "in_commit", "after_commit"])
@pytest.mark.parametrize("moves", [{}, {"teller": 7}], ids=["counted", "with a cursor"])
async def test_a_connection_cut_around_a_commit_neither_loses_nor_doubles_it(
    teller: Teller, tmp_path: Path, boundary: str, moves: dict[str, int]
) -> None:
    await teller.acquire()
    marker = tmp_path / "cut"
    CrashBox(tmp_path / "crashes").arm(CrashPoint("teller", boundary, 0, "connection", str(marker)))
    await teller.commit(moves, tell)
    assert marker.exists()
    assert await told(teller) == 1
    await teller.commit({}, tell)
    assert await told(teller) == 2
    if moves:
        assert await teller.read(lambda conn: cursors.get_cursor(conn, "teller")) == 7
    await teller.close(1.0)


async def test_a_lease_is_taken_again_after_a_cut_while_it_was_taken(teller: Teller, database: DatabaseTarget) -> None:
    cuts = iter([True])
    take = teller.lease._lock

    async def cut(conn: Connection, timeout_s: float) -> None:
        await take(conn, timeout_s)
        if next(cuts, False):
            teller.db.cut()

    teller.lease._lock = cut  # type: ignore[method-assign]
    await teller.acquire()
    await teller.commit({}, tell)
    assert await told(teller) == 1
    await teller.close(1.0)
