"""Messages of a command: sent at once without a database, or left to whoever drains the outbox."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from manta.gap_messages import flush_outbox
from trading.config.model import Config, Notify
from trading.config.secrets import Secret
from trading.events import Event, EventKind
from trading.notify.direct import send_now
from trading.notify.routing import tell
from trading.storage.database import Database
from trading.storage.leases import Lease
from trading.storage.settings import DatabaseTarget

NOTIFY = Notify.model_validate(
    {
        "channels": {
            "phone": {"kind": "discord", "min_interval_s": 0},
            "deaf": {"kind": "discord", "events": ["fill"]},
            "log": {"kind": "log"},
        }
    }
)


def gap(number: int) -> Event:
    return Event(EventKind.GAP, 0, "binance:BTCUSDT", {"what": "found", "text": f"Gap {number}"}, f"gap:{number}:found")


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[int], list[str]]]:
    """A webhook: its address, the statuses it answers with before it accepts, and the titles it accepted."""
    statuses: list[int] = []
    titles: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = statuses.pop(0) if statuses else 200
            if status == 200:
                titles.append(body["embeds"][0]["title"])
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/webhooks/1/x", statuses, titles
    server.shutdown()
    server.server_close()
    thread.join()


async def test_each_message_is_sent_in_order_and_again_after_a_failure(
    webhook: tuple[str, list[int], list[str]],
) -> None:
    url, statuses, titles = webhook
    statuses += [503, 200, 500]
    secrets = {"DISCORD_WEBHOOK_URL": Secret(url)}
    assert await send_now([gap(1), gap(2)], NOTIFY, secrets, jitter=lambda _low, _high: 0.0) == []
    # A try that failed may have arrived after all, which the next one says.
    assert titles == ["Gap 1 (possible repeat)", "Gap 2 (possible repeat)"]


async def test_what_cannot_be_sent_is_named_and_the_address_is_not(webhook: tuple[str, list[int], list[str]]) -> None:
    url, statuses, titles = webhook
    statuses += [404]
    (text,) = await send_now([gap(1)], NOTIFY, {"DISCORD_WEBHOOK_URL": Secret(url)})
    assert text.startswith("phone: gap:1:found: HTTP 404")
    assert url not in text
    assert titles == []
    (text,) = await send_now([gap(1)], NOTIFY, {})
    assert "DISCORD_WEBHOOK_URL is not set" in text


async def test_a_command_drains_the_outbox_only_when_nobody_else_does(
    database: DatabaseTarget, webhook: tuple[str, list[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _, titles = webhook
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", url)
    config = Config(notify=NOTIFY)
    async with Database(database) as ours, Database(database) as theirs:
        await ours.run(lambda conn: tell(conn, [gap(1)], config.notify))
        lease = Lease(theirs, "notifier", "a running Manta")
        await lease.acquire()
        assert await flush_outbox(config, ours) == {}
        assert titles == []
        await lease.release()
        assert await flush_outbox(config, ours) == {}
        assert titles == ["Gap 1"]
        assert await flush_outbox(config, ours) == {}
    assert titles == ["Gap 1"]
