"""A notifier process that is killed at every boundary of every kind of message, and started again each time.

Nothing is lost; what is told twice says so, and only where nobody could know whether it had arrived.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.trading.notify.conftest import START_MS, Post, Webhook, channels, envelope, eventually
from trading.config.model import NotifyEvent
from trading.notify.routing import alert_event
from trading.storage.outbox import OutboxRow, enqueue
from trading.storage.settings import DatabaseTarget

KINDS = (*get_args(NotifyEvent), "alert")

# As Ray does with an actor: whoever dies is followed by another process, until one ends by itself.
PROCESS = """
import asyncio, json, os, pickle, signal, sys
from pathlib import Path
from trading.notify.worker import Notifier
from trading.storage.database import Database

target, notify, secrets_path, where, folder = pickle.load(sys.stdin.buffer)

def pass_by(name, position):
    if name == where:
        try:
            os.close(os.open(Path(folder) / str(position), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

async def live():
    async with Database(target, application_name="victim") as db:
        notifier = Notifier(db, None, notify, secrets_path, on_boundary=pass_by)
        running = asyncio.ensure_future(notifier.run())
        if not await notifier.drain(60):
            raise SystemExit("it did not drain")
        await running

deaths = 0
while True:
    if not (child := os.fork()):
        asyncio.run(live())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        print(json.dumps({"deaths": deaths, "status": os.WEXITSTATUS(status)}))
        break
    deaths += 1
"""


def body(kind: str, place: int) -> dict[str, Any]:
    at_ms = START_MS + place
    if kind == "alert":
        return asdict(alert_event("data:1", "Data are missing", "since noon", at_ms, "binance:BTCUSDT"))
    return envelope(kind, "because") | {"event_time_ms": at_ms}


async def lived(target: DatabaseTarget, secrets_path: Path, where: str, folder: Path) -> dict[str, int]:
    only = channels().model_copy(update={"channels": {"discord": channels().channels["discord"]}})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROCESS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    told, _ = await process.communicate(pickle.dumps((target, only, secrets_path, where, str(folder))))
    found: dict[str, int] = json.loads(told.splitlines()[-1])
    return found


@pytest.mark.covers("W20")
@pytest.mark.parametrize(
    ("where", "deliveries"),
    [
        # Claimed and not sent: it arrives once, and cannot know that it does.
        ("before_send", ["possible repeat · {}"]),
        # Sent and not stored: the one case in which something arrives twice.
        ("after_send", ["{}", "possible repeat · {}"]),
        ("after_ack", ["{}"]),
    ],
)
async def test_every_kind_of_message_survives_a_kill(
    post: Post, webhook: Webhook, database: DatabaseTarget, secrets_path: Path, tmp_path: Path,
    where: str, deliveries: list[str],
) -> None:  # fmt: skip
    folder = tmp_path / "killed"
    folder.mkdir()
    keys = {kind: f"{kind}:{place}" for place, kind in enumerate(KINDS)}
    rows = [OutboxRow("discord", keys[kind], kind, body(kind, place)) for place, kind in enumerate(KINDS)]
    await post.db.run(lambda conn: enqueue(conn, rows))
    assert await lived(database, secrets_path, where, folder) == {"deaths": len(KINDS), "status": 0}
    assert await post.states("discord") == ["sent"] * len(KINDS)
    told = [each["embeds"][0]["footer"]["text"].replace("\\", "") for each in webhook.bodies]
    # In order, and each exactly as often as nobody could help.
    assert told == [form.format(keys[kind]) for kind in KINDS for form in deliveries]
    repeats = [each["embeds"][0]["title"].endswith("(possible repeat)") for each in webhook.bodies]
    assert repeats == [text.startswith("possible repeat") for text in told]


async def test_a_message_that_was_enqueued_twice_after_a_crash_goes_out_once(
    post: Post, start: Any, webhook: Webhook
) -> None:
    """Whoever tells of an effect again, since it does not know that it did, adds nothing."""
    rows = [OutboxRow("discord", f"fill:{n}", "fill", body("fill", n)) for n in range(3)]
    for upto in (2, 3, 3):
        await post.db.run(lambda conn, upto=upto: enqueue(conn, rows[:upto]))
    start(channels())
    await post.until("discord", *["sent"] * 3)
    await eventually(lambda: len(webhook.bodies) == 3)
