"""The notifier on a real database: nothing is lost, nothing is repeated unmarked, no channel waits for another."""

import asyncio
import contextlib
import itertools
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.trading.notify.conftest import (
    START_MS,
    TOKEN,
    Post,
    Reply,
    Webhook,
    channels,
    cut_at_commit,
    eventually,
    reply,
)
from trading.config.model import DiscordChannel, Notify
from trading.config.secrets import Secret, write_secrets
from trading.errors import Halt
from trading.events import EventKind
from trading.notify.discord import DiscordSender
from trading.notify.outbox import Verdict
from trading.storage.database import Database, connect
from trading.storage.leases import Lease
from trading.storage.outbox import OutboxMessage
from trading.storage.settings import DatabaseTarget

Start = Callable[..., Any]

# A notifier in a process of its own, as an actor has one.
PROCESS = """
import asyncio, pickle, sys
from trading.notify.worker import Notifier
from trading.storage.database import Database

target, notify, secrets_path = pickle.load(sys.stdin.buffer)
asyncio.run(Notifier(Database(target, application_name="victim"), None, notify, secrets_path).run())
"""


def at_once(_low: float, _high: float) -> float:
    return 0.0


def held(until: asyncio.Event, then: Reply) -> Reply:
    async def answer(body: dict[str, Any]) -> web.Response:
        await until.wait()
        return await then(body)

    return answer


async def test_messages_go_out_once_and_in_order(post: Post, start: Start, webhook: Webhook) -> None:
    keys = [f"start:{number}" for number in range(5)]
    await post.put("discord", *keys)
    await post.put("discord", *keys)
    notifier, running = start(channels())
    await post.until("discord", *["sent"] * 5)
    assert [body["embeds"][0]["footer"]["text"] for body in webhook.bodies] == keys
    assert notifier.stats()["discord"].items() >= {"sent": 5, "retried": 0, "dead": 0, "disabled": None}.items()
    assert not running.done()


async def test_a_message_that_arrives_later_goes_out_within_a_second_or_when_woken(post: Post, start: Start) -> None:
    notifier, _ = start(channels())
    await post.put("discord", "start:first")
    await post.until("discord", "sent")
    await post.put("discord", "start:second")
    notifier.wake()
    await post.until("discord", "sent", "sent")


@pytest.mark.covers("W20")
async def test_a_hanging_channel_delays_no_other(post: Post, start: Start, webhook: Webhook) -> None:
    released = asyncio.Event()
    webhook.replies = [held(released, reply(200, "{}"))]
    await post.put("discord", "start:one")
    start(channels())
    await eventually(lambda: bool(webhook.bodies))
    with capture_logs() as lines:
        await post.put("log", "start:one", "start:two")
        await post.until("log", "sent", "sent")
    assert [line["key"] for line in lines if line.get("channel") == "log"] == ["start:one", "start:two"]
    assert await post.states("discord") == ["sending"]
    released.set()
    await post.until("discord", "sent")
    assert len(webhook.bodies) == 1


async def test_a_channel_that_answers_drop_by_drop_delays_no_other_and_is_tried_again(
    post: Post, start: Start, webhook: Webhook, saved: str
) -> None:
    """The answer begins and never ends: the message may have arrived, and goes out again marked."""
    dripping, gone = asyncio.Event(), asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n")
        dripping.set()
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"{")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.05)
        writer.close()
        gone.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    sender = DiscordSender(DiscordChannel(kind="discord"), Secret(address), timeout_s=2.0)
    await post.put("log", "start:1")
    hanging = asyncio.create_task(sender.send(OutboxMessage(1, "discord", "k", "start", {}, 1, False, START_MS)))
    await dripping.wait()
    start(Notify(channels={"log": channels().channels["log"]}))
    await post.until("log", "sent")
    answer = await hanging
    assert (answer.verdict, answer.may_have_arrived) == (Verdict.FAILED, True)
    await sender.close()
    await gone.wait()
    server.close()


async def test_what_waits_for_a_hanging_channel_is_counted(post: Post, start: Start, webhook: Webhook) -> None:
    released = asyncio.Event()
    webhook.replies = [held(released, reply(200, "{}"))]
    await post.put("discord", "start:1", "start:2", "start:3")
    notifier, _ = start(channels())
    await eventually(lambda: notifier.stats().get("discord", {}).get("waiting") == 3)
    assert notifier.stats()["discord"]["oldest_age_s"] is not None
    assert notifier.stats()["log"]["waiting"] == 0
    released.set()
    await post.until("discord", "sent", "sent", "sent")


async def test_each_channel_keeps_its_own_pace(post: Post, start: Start, webhook: Webhook) -> None:
    await post.put("discord", "start:1", "start:2", "start:3")
    start(channels(min_interval_s=0.3))
    await post.until("discord", "sent", "sent", "sent")
    assert all(later - earlier >= 0.29 for earlier, later in itertools.pairwise(webhook.times))


async def test_a_killed_process_repeats_only_what_it_was_sending_and_marks_it(
    post: Post, start: Start, webhook: Webhook, database: DatabaseTarget, secrets_path: Path, saved: str
) -> None:
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, stdin=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )

    async def kill_it(_body: dict[str, Any]) -> web.Response:
        os.kill(victim.pid, signal.SIGKILL)
        return web.Response(text=saved)

    # The first message is answered, the second one arrives and kills its sender, the third one never left.
    webhook.replies = [reply(200, saved), kill_it, reply(200, saved)]
    await post.put("discord", "start:1", "start:2", "start:3")
    await victim.communicate(pickle.dumps((database, channels(), secrets_path)))
    assert victim.returncode == -signal.SIGKILL
    assert await post.states("discord") == ["sent", "sending", "pending"]

    start(channels())
    await post.until("discord", "sent", "sent", "sent")
    told = [body["embeds"][0]["footer"]["text"] for body in webhook.bodies]
    assert told == ["start:1", "start:2", "possible repeat · start:2", "start:3"]


async def test_a_lost_database_connection_repeats_nothing(
    post: Post, start: Start, webhook: Webhook, database: DatabaseTarget
) -> None:
    released = asyncio.Event()
    webhook.replies = [held(released, reply(200, "{}"))]
    await post.put("discord", "start:1", "start:2")
    start(channels())
    await eventually(lambda: bool(webhook.bodies))
    admin = await connect(database)
    ended = await admin.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where application_name = 'notifier under test' and datname = current_database()"
    )
    await admin.close()
    assert ended == 1
    released.set()
    await post.until("discord", "sent", "sent")
    assert [body["embeds"][0]["footer"]["text"] for body in webhook.bodies] == ["start:1", "start:2"]


@pytest.mark.parametrize("delivered", [True, False])
@pytest.mark.parametrize("commit", [1, 2, 3], ids=["at the start", "of the claim", "of the outcome"])
async def test_a_commit_of_unknown_outcome_neither_loses_nor_repeats_a_message(
    post: Post, start: Start, webhook: Webhook, database: DatabaseTarget, commit: int, delivered: bool
) -> None:
    await post.put("discord", "start:1")
    only = Notify(channels={"discord": channels().channels["discord"]})
    async with cut_at_commit(database, commit, deliver=delivered) as fragile:
        start(only, target=fragile)
        await post.until("discord", "sent")
    assert [body["embeds"][0]["footer"]["text"] for body in webhook.bodies] == ["start:1"]
    assert [row["attempts"] for row in await post.rows("discord")] == [1]


async def test_a_failed_message_is_tried_again_before_later_ones(
    post: Post, start: Start, webhook: Webhook, saved: str
) -> None:
    webhook.replies = [reply(500), reply(429, '{"retry_after": 0.2, "global": false}'), reply(200, saved)]
    await post.put("discord", "start:1", "start:2")
    notifier, _ = start(channels(), jitter=at_once)
    await post.until("discord", "sent", "sent")
    told = [body["embeds"][0]["footer"]["text"] for body in webhook.bodies]
    # Only the 500 may have been taken; the 429 was not. Once in doubt, a message stays in doubt.
    assert told == ["start:1", "possible repeat · start:1", "possible repeat · start:1", "start:2"]
    assert webhook.times[2] - webhook.times[1] >= 0.2
    assert notifier.stats()["discord"]["retried"] == 2


@pytest.mark.covers("W20")
async def test_what_never_goes_out_is_a_dead_letter_and_another_channel_tells_it(
    post: Post, start: Start, webhook: Webhook
) -> None:
    webhook.replies = [reply(500)]
    await post.put("discord", "start:1")
    start(channels(max_attempts=3), jitter=at_once)
    await post.until("discord", "dead")
    await post.until("log", "sent")
    assert len(webhook.bodies) == 3
    (alert,) = await post.rows("log")
    assert alert["kind"] == EventKind.ALERT
    assert alert["body"]["payload"]["title"] == "Notification channel discord gave up a message after 3 tries: HTTP 500"


async def test_a_deleted_webhook_is_told_elsewhere_and_its_messages_wait_for_a_new_one(
    post: Post, start: Start, webhook: Webhook, saved: str
) -> None:
    webhook.replies = [reply(404, '{"message": "Unknown Webhook", "code": 10015}'), reply(200, saved)]
    await post.put("discord", "start:1", "start:2")
    notifier, running = start(channels())
    await post.until("log", "sent")
    assert "disabled" in (await post.rows("log"))[0]["body"]["payload"]["title"]
    assert "404" in notifier.stats()["discord"]["disabled"]
    assert await notifier.drain(10)
    await running
    assert len(webhook.bodies) == 1
    assert await post.states("discord") == ["pending", "pending"]

    start(channels())
    await post.until("discord", "sent", "sent")
    assert await post.states("log") == ["sent"]


async def test_trouble_is_never_told_in_a_circle(post: Post, start: Start, webhook: Webhook) -> None:
    webhook.replies = [reply(400, "{}")]
    await post.put("discord", "alert:elsewhere", kind=EventKind.ALERT)
    with capture_logs() as lines:
        start(channels())
        await post.until("discord", "dead")
        await eventually(lambda: any(line["log_level"] == "error" for line in lines))
    assert await post.rows("log") == []


async def test_draining_sends_what_is_due_and_ends_the_run(post: Post, start: Start, webhook: Webhook) -> None:
    notifier, running = start(channels(min_interval_s=0.2))
    await post.put("discord", "stop:1", "stop:2")
    await post.put("log", "stop:1")
    assert await notifier.drain(10)
    await running
    assert (await post.states("discord"), await post.states("log")) == (["sent", "sent"], ["sent"])
    assert len(webhook.bodies) == 2


async def test_draining_leaves_what_the_channel_will_not_take_in_time(
    post: Post, start: Start, webhook: Webhook
) -> None:
    webhook.replies = [reply(429, '{"retry_after": 64.57, "global": false}')]
    await post.put("discord", "stop:1")
    notifier, running = start(channels())
    await eventually(lambda: bool(webhook.bodies))
    began = asyncio.get_running_loop().time()
    assert await notifier.drain(10)
    assert asyncio.get_running_loop().time() - began < 5
    await running
    assert await post.states("discord") == ["pending"]


async def test_draining_gives_up_on_a_channel_that_hangs(post: Post, start: Start, webhook: Webhook) -> None:
    released = asyncio.Event()
    webhook.replies = [held(released, reply(200, "{}"))]
    await post.put("discord", "stop:1")
    notifier, _ = start(channels())
    await eventually(lambda: bool(webhook.bodies))
    assert not await notifier.drain(0.2)
    released.set()
    await post.until("discord", "sent")


async def test_without_channels_there_is_nothing_to_drain(start: Start) -> None:
    notifier, running = start(Notify(channels={}))
    assert await notifier.drain(10)
    await running


async def test_only_the_owner_of_the_lease_sends(post: Post, start: Start, database: DatabaseTarget) -> None:
    await post.put("log", "start:1")
    async with Database(database) as db:
        _, running = start(channels(), lease=Lease(db, "notifier", "nobody"))
        with pytest.raises(Halt):
            await running
    assert await post.states("log") == ["pending"]


@pytest.mark.covers("W23")
async def test_the_webhook_s_address_stays_secret_when_everything_fails(
    post: Post, start: Start, webhook: Webhook, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def cut(_body: dict[str, Any]) -> web.Response:
        raise asyncio.CancelledError

    webhook.replies = [reply(500, f"at {webhook.url}"), cut, reply(400, f'{{"message": "{TOKEN}"}}')]
    await post.put("discord", "start:1")
    with capture_logs() as lines:
        notifier, _ = start(channels(), jitter=at_once)
        await post.until("discord", "dead")
        await post.until("log", "sent")
    written = [*await post.rows("discord"), *await post.rows("log"), *lines, notifier.stats(), *capfd.readouterr()]
    assert len(webhook.bodies) == 3
    assert TOKEN not in repr(written)


async def test_without_the_secret_the_channel_is_off_and_the_log_says_why(
    post: Post, start: Start, secrets_path: Path
) -> None:
    write_secrets(secrets_path.parent, {})
    await post.put("discord", "start:1")
    start(channels())
    await post.until("log", "sent")
    assert "DISCORD_WEBHOOK_URL is not set" in (await post.rows("log"))[0]["body"]["payload"]["title"]


async def test_each_boundary_of_a_message_is_passed_once_and_in_order(post: Post, start: Start) -> None:
    passed: list[tuple[str, int]] = []
    await post.put("discord", "start:1")
    start(channels(), on_boundary=lambda name, position: passed.append((name, position)))
    await post.until("discord", "sent")
    await eventually(lambda: len(passed) == 8)
    sending = ["in_claim", "after_read", "before_send", "after_send"]
    storing = ["before_commit", "before_cursor", "in_commit", "after_ack"]
    assert passed == [(name, START_MS) for name in (*sending, *storing)]


async def test_a_channel_that_an_alert_could_not_use_is_told_elsewhere(
    post: Post, start: Start, webhook: Webhook
) -> None:
    webhook.replies = [reply(404, '{"code": 10015}')]
    await post.put("discord", "alert:elsewhere", kind=EventKind.ALERT)
    start(channels())
    await post.until("log", "sent")
    assert "disabled" in (await post.rows("log"))[0]["body"]["payload"]["title"]
