"""The WebSocket: order, resume, filters, forming candles, slow clients, and an outage of the database's connection."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from serve.database import Database
from serve.stream import CLOSE_TOO_SLOW, Hub, Wanted
from tests.serve.conftest import MARKET, Records, Server
from trading.storage.settings import DatabaseTarget
from trading.storage.sweeps import JOBS


async def take(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    return [await asyncio.wait_for(socket.receive_json(), 60) for _ in range(count)]


@pytest.mark.covers("S1-43")
async def test_events_arrive_in_order_as_they_happen(server: Server, records: Records) -> None:
    async with server.client.ws_connect(f"{server.url}/api/v1/stream") as socket:
        [hello] = await take(socket, 1)
        assert (hello["kind"], hello["seq"]) == ("hello", 0)
        written = [await records.event("candle", MARKET, {"market": MARKET, "n": n}) for n in range(5)]
        events = await take(socket, 5)
    assert [event["seq"] for event in events] == written
    assert events[0]["payload"] == {"market": MARKET, "n": 0}
    assert set(events[0]) == {"kind", "v", "event_time_ms", "received_ns", "cause_id", "stream", "seq", "payload"}


@pytest.mark.covers("S1-43")
async def test_a_client_that_returns_misses_nothing_and_sees_nothing_twice(server: Server, records: Records) -> None:
    for n in range(1_200):
        await records.event("candle", MARKET, {"n": n})
    seen: list[int] = []
    after = 0
    for part in (300, 1, 650, 249):
        async with server.client.ws_connect(f"{server.url}/api/v1/stream", params={"after": after}) as socket:
            await take(socket, 1)
            events = await take(socket, part)
            seen += [event["payload"]["n"] for event in events]
            after = events[-1]["seq"]
    assert seen == list(range(1_200))


async def test_a_sequence_from_another_database_starts_anew(server: Server, records: Records) -> None:
    async with server.client.ws_connect(f"{server.url}/api/v1/stream", params={"after": 99}) as socket:
        [hello] = await take(socket, 1)
    assert hello["reset"] is True


async def test_filters_by_kind_and_market(server: Server, records: Records) -> None:
    query = "kind=fill,feed_down&market=binance:ETHUSDT"
    async with server.client.ws_connect(f"{server.url}/api/v1/stream?{query}") as socket:
        await take(socket, 1)
        await records.event("candle", "binance:ETHUSDT", {})
        await records.event("fill", "paper", {"market": MARKET})
        await records.event("fill", "paper", {"market": "binance:ETHUSDT"})
        await records.event("feed_down", MARKET, {})
        await records.event("feed_down", "binance:ETHUSDT", {})
        events = await take(socket, 2)
    assert [event["kind"] for event in events] == ["fill", "feed_down"]
    assert events[1]["stream"] == "binance:ETHUSDT"


async def test_forming_candles_pass_through_and_garbage_does_not(server: Server, records: Records) -> None:
    async with server.client.ws_connect(f"{server.url}/api/v1/stream?kind=forming") as socket:
        await take(socket, 1)
        await records.connection.execute("select pg_notify('manta_forming', 'no json')")
        await records.forming(7, 104_000.5)
        [event] = await take(socket, 1)
    assert (event["kind"], event["stream"], event["payload"]["close"]) == ("forming", MARKET, 104_000.5)
    answer = await server.get("/api/v1/candles", symbol="BTC", forming=1)
    assert answer["forming"]["close"] == 104_000.5
    assert answer["forming"]["closed"] is False


async def test_how_far_a_search_is_passes_through_and_whoever_comes_later_hears_the_newest(
    server: Server, records: Records
) -> None:
    run_id = uuid4()
    async with server.client.ws_connect(f"{server.url}/api/v1/stream?kind=run") as socket:
        await take(socket, 1)
        await records.connection.execute("select pg_notify('manta_runs', 'no json')")
        events = []
        for done in (3, 9):
            await JOBS.tell(records.connection, run_id, {"status": "running", "done": done, "best": {"period": 5}})
            events += await take(socket, 1)
    assert [(event["kind"], event["seq"], event["payload"]["done"]) for event in events] == [
        ("run", None, 3),
        ("run", None, 9),
    ]
    assert (events[1]["payload"]["run_id"], events[1]["payload"]["kind"]) == (str(run_id), "sweep")
    async with server.client.ws_connect(f"{server.url}/api/v1/stream") as socket:
        [_, latest] = await take(socket, 2)
    assert latest["payload"] == events[1]["payload"]


async def test_the_stream_outlives_its_listener_connection(server: Server, records: Records) -> None:
    async with server.client.ws_connect(f"{server.url}/api/v1/stream") as socket:
        await take(socket, 1)
        await records.connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'manta serve'"
            " and datname = current_database()"
        )
        await records.event("start", "system", {})
        [event] = await take(socket, 1)
    assert event["kind"] == "start"
    assert (await server.get("/api/v1/backtests"))["items"] == []


async def test_a_client_that_does_not_read_is_closed_with_its_own_code(
    database: DatabaseTarget, records: Records
) -> None:
    class Stuck:
        """The narrowest stand-in for a peer whose TCP window is shut: sending never ends."""

        def __init__(self) -> None:
            self.scope = {"subprotocols": []}
            self.closed: list[tuple[int, str]] = []
            from starlette.websockets import WebSocketState

            self.application_state = WebSocketState.CONNECTED

        async def accept(self, subprotocol: str | None) -> None:
            assert subprotocol is None

        async def send_text(self, text: str) -> None:
            if json.loads(text)["kind"] != "hello":
                await asyncio.Event().wait()

        async def receive(self) -> dict[str, str]:
            return await asyncio.Event().wait()  # type: ignore[return-value]

        async def close(self, code: int, reason: str) -> None:
            self.closed.append((code, reason))

    await records.event("start", "system", {})
    reads = Database(database)
    hub = Hub(reads, send_timeout_s=0.3)
    hub.start()
    stuck = Stuck()
    await asyncio.wait_for(hub.serve(stuck, 0, Wanted()), 60)  # type: ignore[arg-type]
    await hub.stop()
    await reads.close()
    assert stuck.closed[0][0] == CLOSE_TOO_SLOW
    assert "after=SEQ" in stuck.closed[0][1]
