"""A Discord stand-in on loopback, recorded answers of the real one, and a notifier on a real database."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from trading.config.model import Notify
from trading.config.secrets import write_secrets
from trading.notify.worker import Notifier
from trading.storage.database import Database
from trading.storage.outbox import OutboxMessage, OutboxRow, enqueue
from trading.storage.settings import DatabaseTarget

TOKEN = "t0kEn-that-nobody-may-read"
START_MS = 1_762_094_100_000

Reply = Callable[[dict[str, Any]], Awaitable[web.Response]]


@dataclass
class Webhook:
    """Answers the n-th call with the n-th of ``replies``, the last one for ever after, and keeps what was sent."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.times.append(asyncio.get_running_loop().time())
        body = await request.json()
        self.bodies.append(body)
        self.queries.append(dict(request.query))
        return await self.replies[min(len(self.bodies), len(self.replies)) - 1](body)

    def titles(self) -> list[str]:
        return [body["embeds"][0]["title"] for body in self.bodies]


def reply(status: int, raw: str = "", headers: dict[str, str] | None = None) -> Reply:
    async def answer(_body: dict[str, Any]) -> web.Response:
        kept = {name: value for name, value in (headers or {}).items() if name != "Content-Type"}
        kind = (headers or {}).get("Content-Type", "application/json")
        return web.Response(status=status, text=raw, headers=kept, content_type=kind)

    return answer


@pytest.fixture
async def webhook(saved: str) -> AsyncIterator[Webhook]:
    hook = Webhook(replies=[reply(200, saved)])
    app = web.Application()
    app.router.add_post(f"/api/webhooks/42/{TOKEN}", hook.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    hook.url = f"http://{host}:{port}/api/webhooks/42/{TOKEN}"
    yield hook
    await runner.cleanup()


@pytest.fixture
def recorded(shared_data: Path) -> list[dict[str, Any]]:
    """Bodies of the real service, from its documentation."""
    with (shared_data / "messages" / "discord" / "api_bodies.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def saved(request: pytest.FixtureRequest) -> str:
    """What Discord answers when it saved a message."""
    try:
        bodies = request.getfixturevalue("recorded")
    except pytest.skip.Exception:
        return '{"id": "334385199974967042"}'
    return json.dumps(next(item["body"] for item in bodies if "body" in item and "id" in item["body"]))


@pytest.fixture
def rate_limits(recorded: list[dict[str, Any]]) -> dict[str, Reply]:
    """The recorded 429 answers by their scope."""
    limits = [item for item in recorded if item.get("http_status") == 429]
    return {item["headers"]["X-RateLimit-Scope"]: reply(429, item["raw"], item["headers"]) for item in limits}


@pytest.fixture
def message() -> OutboxMessage:
    return OutboxMessage(1, "discord", "start:one", "start", envelope("start"), 1, False, START_MS)


@pytest.fixture
def secrets_path(tmp_path: Path, webhook: Webhook) -> Path:
    return write_secrets(tmp_path, {"DISCORD_WEBHOOK_URL": webhook.url})


@dataclass
class Post:
    """The outbox as a test sees it, over a connection of the test's own."""

    db: Database

    async def put(self, channel: str, *keys: str, kind: str = "start") -> None:
        rows = [OutboxRow(channel, key, kind, envelope(kind, key)) for key in keys]
        await self.db.run(lambda conn: enqueue(conn, rows))

    async def rows(self, channel: str) -> list[dict[str, Any]]:
        found = await self.db.run(
            lambda conn: conn.fetch("select * from outbox where channel = $1 order by id", channel)
        )
        return [dict(row) for row in found]

    async def states(self, channel: str) -> list[str]:
        return [row["state"] for row in await self.rows(channel)]

    async def until(self, channel: str, *states: str) -> None:
        """Wait until the messages of ``channel`` are in these states."""
        await eventually(lambda: self._are(channel, [*states]))

    async def _are(self, channel: str, states: list[str]) -> bool:
        return await self.states(channel) == states


@pytest.fixture
async def post(database: DatabaseTarget) -> AsyncIterator[Post]:
    async with Database(database, application_name="test") as db:
        yield Post(db)


@pytest.fixture
async def start(database: DatabaseTarget, secrets_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start notifiers as processes would, each with a connection of its own; they are gone after the test."""
    running: list[tuple[asyncio.Task[None], Database]] = []

    def begin(notify: Notify, **options: Any) -> tuple[Notifier, asyncio.Task[None]]:
        db = Database(options.pop("target", database), application_name="notifier under test")
        notifier = Notifier(db, options.pop("lease", None), notify, secrets_path, **options)
        task = asyncio.get_running_loop().create_task(notifier.run())
        running.append((task, db))
        return notifier, task

    yield begin
    for task, db in running:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await db.close()


@asynccontextmanager
async def cut_at_commit(target: DatabaseTarget, number: int, *, deliver: bool) -> AsyncIterator[DatabaseTarget]:
    """A relay to ``target`` that breaks the connection at the COMMIT of this number, after or before it arrived."""
    seen = 0

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, stop: asyncio.Event) -> None:
        while (data := await source.read(65536)) and not stop.is_set():
            sink.write(data)
        sink.close()

    async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        nonlocal seen
        server, to_server = await asyncio.open_unix_connection(f"{target.host}/.s.PGSQL.{target.port}")
        stop = asyncio.Event()
        returning = asyncio.create_task(copy(server, to_client, stop))
        while not stop.is_set() and (data := await client.read(65536)):
            seen += b"COMMIT" in data
            if seen == number and b"COMMIT" in data:
                stop.set()
            if deliver or not stop.is_set():
                to_server.write(data)
        if stop.is_set() and deliver:
            # The answer shows that the server has it; it goes no further.
            await returning
        to_client.close()
        to_server.close()
        await returning

    listener = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield replace(target, host="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    listener.close()


def channels(**discord: Any) -> Notify:
    """A log and a Discord channel without a pause between messages."""
    return Notify.model_validate(
        {"channels": {"log": {"kind": "log"}, "discord": {"kind": "discord", "min_interval_s": 0, **discord}}}
    )


def envelope(kind: str, reason: str = "", **payload: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "event_time_ms": START_MS,
        "stream": "system",
        "payload": {"reason": reason, **payload},
        "cause_id": "",
        "received_ns": 0,
        "v": 1,
        "seq": 0,
    }


async def eventually(condition: Callable[[], Awaitable[bool] | bool], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)
