"""A served application over a real Postgres, with a day of real-looking records in it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from math import sin
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest
import uvicorn
from playwright.async_api import Browser, async_playwright

from serve.app import build_app
from tests.serve.browser import CHROMIUM, FLAGS
from trading.config.model import Config, FeatureSpec, ServeSettings, StrategyInstance
from trading.intervals import MINUTE_MS, parse_interval
from trading.storage.database import connect
from trading.storage.parity import ParityDifference, ParityRun, store_run
from trading.storage.settings import DatabaseTarget

TOKEN = "correct-horse-battery-staple"
START_MS = 1_748_736_000_000  # 2025-06-01 00:00 UTC
MARKET = "binance:BTCUSDT"
CONFIG = Config(
    markets=(MARKET, "binance:ETHUSDT"),
    features=(
        FeatureSpec(name="ma44", kind="sma", params={"period": 44}, intervals=("1m", "37m")),
        FeatureSpec(name="ma125", kind="sma", params={"period": 125}, intervals=("1m", "37m")),
    ),
    strategies=(StrategyInstance(name="trend", strategy="ma44", intervals=("1m", "37m")),),
)


@dataclass(slots=True)
class Server:
    """A running application: its address, a client without and headers with the token."""

    url: str
    client: aiohttp.ClientSession
    launched: list[tuple[UUID, dict[str, Any]]] = field(default_factory=list)
    searched: list[tuple[UUID, dict[str, Any]]] = field(default_factory=list)
    swept: list[tuple[UUID, dict[str, Any]]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of a 200 answer."""
        async with self.client.get(self.url + path, params=query) as response:
            body = await response.json(content_type=None)
            assert response.status == 200, body
            return body

    async def refused(self, path: str, **query: Any) -> tuple[int, Any]:
        """(status, problem) of an answer that is no success."""
        async with self.client.get(self.url + path, params=query) as response:
            assert response.content_type == "application/problem+json"
            return response.status, await response.json()


@asynccontextmanager
async def running(target: DatabaseTarget, config: Config = CONFIG, token: str | None = TOKEN) -> AsyncIterator[Server]:
    """Serve on a free port of loopback until the block ends."""
    launched: list[tuple[UUID, dict[str, Any]]] = []
    searched: list[tuple[UUID, dict[str, Any]]] = []
    swept: list[tuple[UUID, dict[str, Any]]] = []
    app = build_app(
        config,
        target,
        token=token,
        launch=lambda *run: launched.append(run),
        launch_walkforward=lambda *run: searched.append(run),
        launch_sweep=lambda *run: swept.append(run),
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="on"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with aiohttp.ClientSession() as client:
            yield Server(f"http://127.0.0.1:{port}", client, launched, searched, swept)
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def records(database: DatabaseTarget) -> AsyncIterator["Records"]:
    """A way to write records, with both markets and the paper book there."""
    connection = await connect(database, application_name="manta test writer")
    records = Records(connection)
    await records.begin()
    yield records
    await connection.close()


@pytest.fixture
async def server(database: DatabaseTarget, records: "Records") -> AsyncIterator[Server]:
    async with running(database) as running_server:
        yield running_server


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        await started.close()


@pytest.fixture
async def day(records: "Records") -> "Records":
    """A working day: candles, averages, trades, a position, and one hole."""
    await records.origin("simulator")
    await records.candles(720)
    await records.candles(720, market="binance:ETHUSDT")
    await records.candles(19, first=0, interval="37m")
    await records.averages()
    await records.averages("37m")
    await records.equity(720)
    for trade, (entry, leave, pnl) in enumerate([(560, 590, "41.25"), (604, 633, "-18.4"), (650, 681, "63.02")], 1):
        await records.decision(entry - 1, ["OPEN_LONG"])
        await records.fill(entry, "BUY", "entry", trade)
        await records.decision(leave - 1, ["CLOSE_LONG"], target="FLAT")
        await records.fill(leave, "SELL", "exit", trade, pnl=pnl)
    await records.decision(699, ["OPEN_LONG"])
    await records.fill(700, "BUY", "entry", 4)
    for n in range(710, 719):
        await records.decision(n, ["HOLD"], outcome="hold")
    await records.decision(706, ["CLOSE_LONG"], outcome="late", target="FLAT")
    await records.position(719)
    await records.position(719, "0", "37m")
    await records.signal(719, "1m")
    await records.signal(18, "37m", status="warming", have=19, need=44)
    await records.hole(100, 10, resolved=True)
    await records.event("feed_up", MARKET, {"market": MARKET})
    await records.event("feed_up", "binance:ETHUSDT", {"market": "binance:ETHUSDT"})
    return records


@pytest.fixture
def serve_at() -> Callable[..., Any]:
    """``running`` for tests that need their own configuration."""
    return running


@pytest.fixture
def settings() -> type[ServeSettings]:
    return ServeSettings


@dataclass(slots=True)
class Records:
    """Writes rows as the pipeline does, with the same notifications."""

    connection: asyncpg.Connection
    ids: dict[str, int] = field(default_factory=dict)

    async def begin(self) -> None:
        for market, base in ((MARKET, "BTC"), ("binance:ETHUSDT", "ETH")):
            self.ids[market] = await self.connection.fetchval(
                "insert into markets (venue, symbol, kind, base, quote, price_decimals, size_decimals, tick_size,"
                " lot_size,"
                " min_notional) values ('binance', $1, 'spot', $2, 'USDT', 2, 5, 0.01, 0.00001, 5) returning id",
                market.partition(":")[2],
                base,
            )
        await self.connection.execute(
            "insert into books (book, mode, capital, currency) values ('paper', 'paper', 10000, 'USDT')"
        )
        await self.connection.execute(
            "insert into instances (instance_id, name, strategy, params, profile, book, markets, intervals, live_from)"
            " values ('trend-1', 'trend', 'ma44', '{}', 'spot', 'paper', array[$1], '{1m,37m}', at_ms($2))",
            MARKET,
            START_MS,
        )

    async def candles(self, count: int, *, first: int = 0, interval: str = "1m", market: str = MARKET) -> None:
        """``count`` candles from the ``first``-th after START_MS on, on a wave that any chart shows well."""
        width = parse_interval(interval)
        opened = width.open_of(START_MS)
        step = width.typical_ms
        rows = []
        for n in range(first, first + count):
            start = price((opened + n * step - START_MS) / MINUTE_MS)
            end = price((opened + (n + 1) * step - START_MS) / MINUTE_MS)
            spread = 12 + 9 * abs(sin(n * 2.3))
            rows.append(
                (self.ids[market], interval, opened + n * step, opened + (n + 1) * step, start,
                 round(max(start, end) + spread, 2), round(min(start, end) - spread, 2), end, round(3 + 2 * sin(n),
                 5), "live"),
            )  # fmt: skip
        await self.connection.executemany(
            "insert into candles (market_id, interval, open_time, close_time, open, high, low, close, volume, source)"
            " values ($1, $2, at_ms($3), at_ms($4), $5, $6, $7, $8, $9, $10)",
            rows,
        )

    async def averages(self, interval: str = "1m", market: str = MARKET) -> None:
        """ma44 and ma125 of all candles of an interval."""
        for period in (44, 125):
            await self.connection.execute(
                """insert into features (market_id, interval, name, open_time, value, params)
                select market_id, interval, $3, open_time, value, $4 from (
                    select *, avg(close) over w as value, count(*) over w as have from candles
                    where market_id = $1 and interval = $2
                    window w as (order by open_time rows between $5 preceding and current row)) c
                where have >= $5 + 1 on conflict do nothing""",
                self.ids[market], interval, f"ma{period}", {"period": period}, period - 1,
            )  # fmt: skip

    async def event(self, kind: str, stream: str, payload: dict[str, Any], at_ms: int = START_MS) -> int:
        """Write one event and wake the listeners, as the pipeline does in one transaction."""
        async with self.connection.transaction():
            seq = await self.connection.fetchval(
                "insert into events (kind, event_time, stream, payload) values ($1, at_ms($2), $3, $4) returning seq",
                kind,
                at_ms,
                stream,
                payload,
            )
            await self.connection.execute("select pg_notify('manta_events', $1)", str(seq))
        return int(seq)

    async def live_candle(self, n: int, market: str = MARKET) -> None:
        """Record the ``n``-th minute and tell it."""
        await self.candles(1, first=n, market=market)
        close_ms = START_MS + (n + 1) * MINUTE_MS
        await self.event("candle", market, {"market": market, "interval": "1m", "close_time_ms": close_ms}, close_ms)

    async def forming(self, n: int, close: float, market: str = MARKET) -> None:
        opened = price(n)
        candle = {
            "market": market, "interval": "1m", "open_time": START_MS + n * MINUTE_MS,
            "close_time": START_MS + (n + 1) * MINUTE_MS,
            "open": opened, "high": max(opened, close), "low": min(opened, close), "close": close, "volume": 1.5,
        }  # fmt: skip
        await self.connection.execute("select pg_notify('manta_forming', $1)", json.dumps(candle))

    async def decision(
        self,
        n: int,
        actions: list[str],
        *,
        outcome: str = "acted",
        interval: str = "1m",
        book: str = "paper",
        target: str = "LONG",
    ) -> str:
        decision_id = f"{book}-{interval}-{n:08d}"
        width = parse_interval(interval).typical_ms
        await self.connection.execute(
            "insert into decisions (decision_id, book, instance_id, market_id, interval, open_time, close_time,"
            " actions, target,"
            " confidence, outcome, price, position_before, features) values ($1, $2, 'trend-1', $3, $4,"
            " at_ms($5), at_ms($6), $7,"
            " $8, 0.62, $9, $10, 0, $11)",
            decision_id, book, self.ids[MARKET], interval, START_MS + n * width, START_MS + (n + 1) * width, actions,
            target, outcome,
            Decimal(str(price(n))), {"ma44": price(n - 20)},
        )  # fmt: skip
        return decision_id

    async def fill(
        self,
        n: int,
        side: str,
        role: str,
        trade_no: int,
        *,
        pnl: str = "0",
        book: str = "paper",
        quantity: str = "0.05",
    ) -> None:
        """One filled order of the 1m sleeve at the open of minute ``n``."""
        order_id = f"{book}-order-{n}-{role}"
        action = {("BUY", "entry"): "OPEN_LONG", ("SELL", "exit"): "CLOSE_LONG"}.get((side, role), "OPEN_SHORT")
        await self.connection.execute(
            "insert into orders (order_id, leg, book, instance_id, market_id, interval, action, side, status,"
            " created_time,"
            " updated_time) values ($1, 0, $2, 'trend-1', $3, '1m', $4, $5, 'filled', at_ms($6), at_ms($6))",
            order_id, book, self.ids[MARKET], action, side, START_MS + n * MINUTE_MS,
        )  # fmt: skip
        await self.connection.execute(
            "insert into fills (fill_id, order_id, book, instance_id, market_id, interval, trade_no, role, side,"
            " price, quantity,"
            " fee, fee_asset, slippage, realized_pnl, reason, time) values ($1, $2, $3, 'trend-1', $4, '1m', $5,"
            " $6, $7, $8, $9,"
            " 0.5, 'USDT', 0.2, $10, 'signal', at_ms($11))",
            f"{order_id}:1", order_id, book, self.ids[MARKET], trade_no, role, side, Decimal(str(price(n))),
            Decimal(quantity),
            Decimal(pnl), START_MS + n * MINUTE_MS,
        )  # fmt: skip

    async def equity(self, count: int, *, every: int = 1) -> None:
        rows = [
            (
                "paper",
                self.ids[MARKET],
                START_MS + n * MINUTE_MS,
                Decimal(5000),
                Decimal(str(round(5000 + n / 3 + 60 * sin(n / 90), 2))),
            )
            for n in range(every, count + 1, every)
        ]
        await self.connection.executemany(
            "insert into equity (book, market_id, time, cash, position_value, equity) values ($1, $2, at_ms($3),"
            " $4, $5, $4::numeric + $5)",
            rows,
        )

    async def position(self, n: int, quantity: str = "0.05", interval: str = "1m") -> None:
        entry = Decimal(str(price(n - 60))) if Decimal(quantity) else None
        await self.connection.execute(
            "insert into positions (book, instance_id, market_id, interval, quantity, entry_price, entry_time,"
            " cash, mark, equity,"
            " as_of) values ('paper', 'trend-1', $1, $2, $3, $4, at_ms($5), 5000, $6, 10120.55, at_ms($7))",
            self.ids[MARKET], interval, Decimal(quantity), entry, START_MS + (n - 60) * MINUTE_MS if entry else None,
            Decimal(str(price(n))), START_MS + n * MINUTE_MS,
        )  # fmt: skip

    async def signal(self, n: int, interval: str, *, status: str = "ready", have: int = 44, need: int = 44) -> None:
        width = parse_interval(interval).typical_ms
        await self.connection.execute(
            "insert into signals (instance_id, market_id, interval, open_time, close_time, target, confidence,"
            " status, warm_have,"
            " warm_need, price, features) values ('trend-1', $1, $2, at_ms($3), at_ms($4), $5, 0.4, $6, $7, $8,"
            " $9, '{}')",
            self.ids[MARKET], interval, START_MS + n * width, START_MS + (n + 1) * width,
            "LONG" if status == "ready" else "HOLD",
            status, have, need, price(n),
        )  # fmt: skip

    async def hole(self, n: int, minutes: int, reason: str = "missing", *, resolved: bool = False) -> None:
        await self.connection.execute(
            "insert into data_quality (market_id, kind, reason, from_time, to_time, resolved) values ($1, 'hole',"
            " $2, at_ms($3),"
            " at_ms($4), $5)",
            self.ids[MARKET], reason, START_MS + n * MINUTE_MS, START_MS + (n + minutes) * MINUTE_MS, resolved,
        )  # fmt: skip

    async def parity(
        self, day: str, *, book: str = "paper", status: str = "identical", explained: int = 0, unexplained: int = 0
    ) -> None:
        """A nightly result with one difference of each kind there is of."""
        midnight = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
        noon = midnight + 720 * MINUTE_MS
        odd = ParityDifference(
            noon, "fill", "order-1 1", "price", "100.5", "100.4", "value", "trend-1: price differs by +0.1", False
        )
        late = ParityDifference(
            noon - MINUTE_MS, "decision", "decision-1", "outcome", "late", "acted", "late",
            "decided 500 s after the close", True,
        )  # fmt: skip
        run = ParityRun(
            book, midnight, noon, status, True, midnight + 1440 * MINUTE_MS, {"candles": 1440, "decisions": 7},
            explained, unexplained, "0.1.0",
        )  # fmt: skip
        await store_run(self.connection, run, [late] * bool(explained) + [odd] * bool(unexplained))
        await self.event("parity", book, {"status": status})

    async def origin(self, value: str) -> None:
        await self.connection.execute("update database_info set value = $1 where key = 'origin'", value)


def price(minute: float) -> float:
    """A slow wave with a quick one on it, two decimals."""
    return round(104_000 + 900 * sin(minute / 160) + 220 * sin(minute / 23) + 60 * sin(minute / 5.1), 2)
