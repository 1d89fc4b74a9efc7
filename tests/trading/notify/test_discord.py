"""The Discord sender against a server that answers as the real one does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.trading.notify.conftest import TOKEN, Reply, Webhook, reply
from trading.config.model import DiscordChannel
from trading.config.secrets import Secret
from trading.notify.discord import DiscordSender
from trading.notify.outbox import Answer, Verdict
from trading.storage.outbox import OutboxMessage

CHANNEL = DiscordChannel(kind="discord", username="Desk")


@pytest.fixture
async def sender(webhook: Webhook) -> AsyncIterator[DiscordSender]:
    made = DiscordSender(CHANNEL, Secret(webhook.url))
    yield made
    await made.close()


@pytest.fixture
def answered(webhook: Webhook, sender: DiscordSender, message: OutboxMessage) -> Callable[..., Any]:
    async def send(given: Reply) -> Answer:
        webhook.replies = [given]
        return await sender.send(message)

    return send


async def test_a_saved_message_is_accepted(webhook: Webhook, sender: DiscordSender, message: OutboxMessage) -> None:
    assert await sender.send(message) == Answer(Verdict.ACCEPTED)
    assert webhook.queries == [{"wait": "true"}]
    (body,) = webhook.bodies
    assert body["username"] == "Desk"
    assert body["allowed_mentions"] == {"parse": []}
    assert body["embeds"][0]["footer"]["text"] == "start:one"


async def test_204_is_accepted_too(answered: Callable[..., Any]) -> None:
    assert (await answered(reply(204))).verdict is Verdict.ACCEPTED


async def test_a_used_up_bucket_pauses_the_channel_before_it_is_refused(answered: Callable[..., Any]) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.75"}
    assert (await answered(reply(200, "{}", headers))).wait_s == 1.75
    assert (await answered(reply(200, "{}", {**headers, "X-RateLimit-Remaining": "3"}))).wait_s == 0


@pytest.mark.parametrize(("scope", "wait_s"), [("user", 64.57), ("shared", 1336.57), ("global", 64.57)])
async def test_the_recorded_rate_limits_are_waited_for_to_the_hundredth(
    answered: Callable[..., Any], rate_limits: dict[str, Reply], scope: str, wait_s: float
) -> None:
    assert await answered(rate_limits[scope]) == Answer(Verdict.FAILED, f"HTTP 429 {scope}", wait_s=wait_s)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({}, 60),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60),
        ({"Retry-After": "-5"}, 60),
    ],
)
async def test_a_429_from_a_proxy_is_html(answered: Callable[..., Any], headers: dict[str, str], wait_s: float) -> None:
    answer = await answered(reply(429, "<html>error 1015</html>", {"Content-Type": "text/html", **headers}))
    assert (answer.verdict, answer.wait_s) == (Verdict.FAILED, wait_s)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_deleted_webhook_ends_the_channel(answered: Callable[..., Any], status: int) -> None:
    answer = await answered(reply(status, '{"message": "Unknown Webhook", "code": 10015}'))
    assert answer.verdict is Verdict.BAD_CHANNEL
    assert str(status) in answer.reason


async def test_a_proxy_that_bars_this_address_is_waited_for(answered: Callable[..., Any]) -> None:
    answer = await answered(reply(403, "<html>blocked</html>", {"Content-Type": "text/html"}))
    assert (answer.verdict, answer.wait_s) == (Verdict.FAILED, 300)


async def test_a_message_that_discord_cannot_take_is_refused_alone(answered: Callable[..., Any]) -> None:
    answer = await answered(reply(400, '{"message": "Invalid Form Body", "code": 50035}'))
    assert answer == Answer(Verdict.BAD_MESSAGE, "HTTP 400 code 50035")


async def test_a_redirect_is_not_followed(answered: Callable[..., Any], webhook: Webhook) -> None:
    answer = await answered(reply(307, "", {"Location": webhook.url}))
    assert answer.verdict is Verdict.BAD_MESSAGE
    assert len(webhook.bodies) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_server_in_trouble_may_have_taken_the_message(answered: Callable[..., Any], status: int) -> None:
    answer = await answered(reply(status, "oops"))
    assert (answer.verdict, answer.may_have_arrived) == (Verdict.FAILED, True)


async def test_no_answer_in_time_may_mean_that_it_arrived(webhook: Webhook, message: OutboxMessage) -> None:
    released = asyncio.Event()

    async def hang(_body: dict[str, Any]) -> web.Response:
        await released.wait()
        return web.Response()

    webhook.replies = [hang]
    sender = DiscordSender(CHANNEL, Secret(webhook.url), timeout_s=0.3)
    answer = await sender.send(message)
    released.set()
    await sender.close()
    assert (answer.verdict, answer.may_have_arrived) == (Verdict.FAILED, True)


async def test_no_connection_means_that_nothing_arrived(unused_tcp_port: int, message: OutboxMessage) -> None:
    sender = DiscordSender(CHANNEL, Secret(f"http://127.0.0.1:{unused_tcp_port}/api/webhooks/42/{TOKEN}"))
    answer = await sender.send(message)
    await sender.close()
    assert (answer.verdict, answer.may_have_arrived) == (Verdict.FAILED, False)
    assert TOKEN not in answer.reason


@pytest.mark.parametrize("url", ["", "no address", "http://"])
async def test_without_an_address_the_channel_is_refused(url: str, message: OutboxMessage) -> None:
    sender = DiscordSender(CHANNEL, Secret(url))
    answer = await sender.send(message)
    await sender.close()
    assert answer.verdict is Verdict.BAD_CHANNEL
    assert "DISCORD_WEBHOOK_URL" in answer.reason


async def test_nothing_that_can_be_printed_holds_the_address(sender: DiscordSender) -> None:
    assert TOKEN not in f"{sender!r} {vars(sender)!r}"
