"""Feeds and a recorder's part against a simulated venue that does wrong: one cell is one venue with its faults.

All cells of a run share one event loop and one database: each plays a market of its own. The feed is the real one over
loopback sockets, what it tells goes through the recorder's own state and SQL, and through the live fold.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from functools import cache, partial
from typing import Any, NamedTuple

from tests.trading.venues.conformance.suite import VENUES, plenty, sample
from tests.trading.venues.rig import gateway
from tests.trading.venues.simulator.rig import Rig, running
from trading.candle_columns import CandleColumns, columns_of
from trading.candles import Candle, Hole
from trading.clock import TimeSample
from trading.confirmations import CONFIRM_AFTER_MS
from trading.events import Batch, StreamItem, end_ms, start_ms
from trading.feed_events import Anomaly
from trading.fold_columns import fold_columns
from trading.intervals import MINUTE, MINUTE_MS
from trading.markets import Market
from trading.recording import Offered, Recording
from trading.storage.candles import read_candles
from trading.storage.database import Connection, Database
from trading.storage.fold import fold_minutes
from trading.storage.markets import upsert_market
from trading.storage.quality import holes_between, open_holes, record_anomaly, unaccounted
from trading.storage.recorded import store_told
from trading.storage.settings import DatabaseTarget
from trading.timeframe import Refold, TimeframeState
from trading.venues.session import MarketFeed, Outlets
from trading.venues.simulator.dialect import VenueLimits

__all__ = ["FAULTS", "GARBAGE", "Cell", "garbage", "pairs", "play", "singles"]

MINUTES = 45
SPEED = 900
INTERVALS = ("3m", "5m", "15m")
AT_ONCE = 48
"""Cells that are played at the same time."""
CONNECTIONS = 12
_WAIT_S = 240.0
# Faults after which only silence tells that something is wrong.
_SILENT = frozenset({"freeze", "freeze new", "lose_subscription"})
# Nobody traded in these minutes: the file has no row.
_ABSENT = (4, 17, 18, 33)
# History that REST has from the beginning, and the minute of the first fault.
_KNOWN = 3
_FIRST = 10
# The newest minutes wait for REST's word on them.
_UNCONFIRMED = CONFIRM_AFTER_MS // MINUTE_MS
_HOWS = ("json", "value", "nan", "negative", "jump", "future", "symbol", "interval")

FAULTS: dict[str, tuple[dict[str, Any], ...]] = {
    "drop": ({"kind": "drop"},),
    "retire": ({"kind": "retire", "seconds": 0.2},),
    "refuse": ({"kind": "refuse", "times": 2}, {"kind": "drop"}),
    "freeze": ({"kind": "freeze"},),
    "freeze new": ({"kind": "freeze", "new": True}, {"kind": "unfreeze", "after": 15}),
    "no_ack": ({"kind": "no_ack"}, {"kind": "drop"}),
    "lose_subscription": ({"kind": "lose_subscription"}, {"kind": "drop"}),
    "error": ({"kind": "error"},),
    "duplicate": ({"kind": "duplicate", "times": 3},),
    "skip_closing": ({"kind": "skip_closing", "times": 2},),
    "reorder": ({"kind": "reorder", "times": 2},),
    **{f"corrupt {how}": ({"kind": "corrupt", "how": how, "times": 2},) for how in _HOWS},
    "revise": ({"kind": "revise", "times": 2},),
    "lose_minutes": ({"kind": "lose_minutes", "minutes": 3},),
    "rest_status 503": ({"kind": "rest_status", "status": 503, "times": 2}, {"kind": "drop"}),
    "rest_status 429": ({"kind": "rest_status", "status": 429, "retry_after": 1}, {"kind": "drop"}),
    **{
        f"corrupt_rows {how}": (
            {"kind": "corrupt_rows", "how": how, "times": 2},
            {"kind": "lose_minutes", "minutes": 2},
        )
        for how in _HOWS
    },
    "slow": ({"kind": "slow", "seconds": 0.5, "times": 2}, {"kind": "drop"}),
    "clock ahead": ({"kind": "clock", "offset_ms": 400}, {"kind": "clock", "offset_ms": 0, "after": 20}),
    "clock behind": ({"kind": "clock", "offset_ms": -90_000}, {"kind": "clock", "offset_ms": 0, "after": 20}),
}
"""What the simulator is ordered to do, by a name of ours. ``after``: minutes after the first order of the fault."""


# After a 429 the venue wants to be left alone for a minute, which outlasts the replay: its own tests show that.
_TOO_LONG = frozenset({("pionex", "rest_status 429")})

_READ = {
    "corrupt json": "malformed",
    "corrupt value": "insane",
    "corrupt nan": "malformed",
    "corrupt negative": "insane",
    "corrupt jump": "jump",
    "corrupt future": "future",
    "corrupt symbol": "wrong_symbol",
    "corrupt interval": "wrong_interval",
}
GARBAGE = {
    "binance": _READ,
    "binance_usdm": _READ,
    # Its frames name their market once, so that one of another market goes to nobody: what REST tells counts.
    "hyperliquid": {name: reason for name, reason in _READ.items() if name != "corrupt symbol"},
    # Its stream has trades, not candles: no high and low, no interval, no time but the trade's.
    "pionex": {name: _READ[name] for name in ("corrupt json", "corrupt nan", "corrupt negative")},
}
"""The reason with which two spoiled frames are kept, by venue and fault."""


class Cell(NamedTuple):
    """One replay: a venue and the faults that befall it together."""

    venue: str
    faults: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.venue}: {' + '.join(self.faults)}"


CORRECTED = frozenset({"freeze", "freeze new", "reorder", "skip_closing", "corrupt symbol", "revise"})
"""Faults after which Hyperliquid's stream, which does not mark a closed candle, told another minute than REST does five
minutes later: a repair, with a revision.
"""


def singles() -> list[Cell]:
    """Every fault on every venue."""
    return [Cell(venue, (name,)) for venue in VENUES for name in FAULTS if (venue, name) not in _TOO_LONG]


def garbage() -> list[Cell]:
    """Every way of spoiling a frame, alone, on every venue."""
    return [cell for cell in singles() if cell.faults[0].startswith("corrupt ")]


def pairs() -> list[Cell]:
    """Every fault with every other, one way of spoiling for each kind of message, on every venue."""
    source = random.Random(4)
    found = []
    for venue in VENUES:
        kinds: dict[str, list[str]] = {}
        for name in FAULTS:
            if (venue, name) not in _TOO_LONG:
                kinds.setdefault(name.split()[0], []).append(name)
        for one, other in itertools.combinations_with_replacement(kinds, 2):
            found.append(Cell(venue, (source.choice(kinds[one]), source.choice(kinds[other]))))
    return found


async def play(cells: Sequence[Cell], target: DatabaseTarget) -> dict[str, list[str]]:
    """Play ``cells``; what does not hold at the end, by cell. Empty when all is well."""
    wrong: dict[str, list[str]] = {}
    room = asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(Database(target)) for _ in range(CONNECTIONS)]

        async def one(number: int, cell: Cell) -> None:
            async with room:
                try:
                    found = await _Replay(number, cell, stores[number % CONNECTIONS]).run()
                except Exception as error:
                    found = [f"{type(error).__name__}: {error}"]
            if found:
                wrong[cell.name] = found

        async with asyncio.TaskGroup() as group:
            for number, cell in enumerate(cells):
                group.create_task(one(number, cell))
    return wrong


@cache
def _minutes() -> list[Candle]:
    """Real minutes, some of them taken out."""
    return [each for number, each in enumerate(sample("binance", MINUTES).candles()) if number not in _ABSENT]


class _Replay:
    """One cell from its first minute to what is stored at the end."""

    def __init__(self, number: int, cell: Cell, store: Database) -> None:
        base, quote = f"C{number}", "USDC" if cell.venue == "hyperliquid" else "USDT"
        symbols = {"hyperliquid": base, "pionex": f"{base}_{quote}"}
        self._cell = cell
        self._symbol = symbols.get(cell.venue, base + quote)
        self._key = f"{cell.venue}:{self._symbol}"
        self._store = store
        self._file = columns_of([row._replace(market=self._key) for row in _minutes()])
        self._market = Market(
            cell.venue, self._symbol, "spot", base, quote, 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5)
        )
        # What lies at the end of the file is never told: nothing later proves it.
        self._to_ms = self._file.end_ms - 3 * MINUTE_MS
        self._recording = Recording({self._key: 0}, 1000)
        self._fold = TimeframeState(self._key, INTERVALS, heal_wait_minutes=10 * MINUTES)
        self._live: dict[tuple[str, int], Candle] = {}
        self._notes: list[Anomaly] = []
        self._told_ms = 0
        self._storing = False
        self._changed = asyncio.Event()

    async def run(self) -> list[str]:
        await self._store.run(lambda conn: upsert_market(conn, self._market))
        start = self._file.start_ms
        limits = VenueLimits(weight=10_000_000)
        silence_s = 30.0 if _SILENT.isdisjoint(self._cell.faults) else 1.0
        async with running(
            self._file,
            self._symbol,
            venue=self._cell.venue,
            start_ms=start + _KNOWN * MINUTE_MS,
            speed=SPEED,
            limits=limits,
        ) as rig:
            rig.simulator.session.pause()
            for order in self._orders():
                await rig.control.fault(**order)
            async with gateway(rig, silence_timeout_s=silence_s, **plenty(self._cell.venue)) as opened:
                feed = MarketFeed(
                    self._key,
                    opened,
                    Outlets(self._deliver, quality=self._quality),
                    time_rate=SPEED,
                    jitter=lambda: 0.0,
                )
                running_feed = asyncio.create_task(feed.run(warmup_from_ms=start))
                try:
                    await _until(lambda: rig.simulator.state()["listening"])
                    await rig.control.resume()
                    await self._until_told(feed, running_feed)
                finally:
                    await feed.stop()
                    await asyncio.wait_for(running_feed, _WAIT_S)
            return await self._store.run(lambda conn: self._checked(conn, rig))

    def _orders(self) -> Iterable[dict[str, Any]]:
        """The faults of the cell; the second comes with the first, or shortly after, by the cell's own chance."""
        source = random.Random(self._cell.name)
        at_ms = self._file.start_ms + _FIRST * MINUTE_MS + 1_000
        for name in self._cell.faults:
            for order in FAULTS[name]:
                known = {key: value for key, value in order.items() if key != "after"}
                yield {**known, "at_ms": at_ms + order.get("after", 0) * MINUTE_MS}
            at_ms += source.choice((0, 0, 20_000, 61_000, 4 * MINUTE_MS))

    async def _deliver(self, items: list[StreamItem], clock: TimeSample | None) -> None:
        self._storing = True
        minutes = [item for item in items if isinstance(item, Candle | Hole)]
        prev_ms = start_ms(minutes[0]) if minutes and self._told_ms else self._told_ms
        upto_ms = max([prev_ms, *map(end_ms, minutes)])
        offered = self._recording.offer(Batch(self._key, prev_ms, upto_ms, tuple(items), clock), away=False)
        assert offered is Offered.TAKEN, offered
        for portion in self._recording.take():
            await self._store.run(partial(store_told, items=portion.items, intervals=INTERVALS))
            self._recording.done()
            for item in portion.items:
                for told in self._fold.handle(item):
                    await self._take(told)
        self._recording.validate()
        self._told_ms, self._storing = upto_ms, False
        self._changed.set()

    async def _take(self, told: StreamItem | Refold) -> None:
        if isinstance(told, Refold):
            minutes = await self._store.run(
                lambda conn: read_candles(conn, self._key, "1m", from_ms=told.from_ms, to_ms=told.to_ms)
            )
            holes = await self._store.run(lambda conn: holes_between(conn, self._key, told.from_ms, told.to_ms))
            for again in self._fold.refolded(minutes, holes, list(self._live.values())):
                await self._take(again)
        elif isinstance(told, Candle) and told.interval != "1m":
            self._live[told.interval, told.open_time_ms] = told

    async def _quality(self, anomaly: Anomaly) -> None:
        self._notes.append(anomaly)
        await self._store.run(lambda conn: record_anomaly(conn, anomaly))

    async def _until_told(self, feed: MarketFeed, running_feed: asyncio.Task[None]) -> None:
        async with asyncio.timeout(_WAIT_S):
            # What the feed has done with may not be stored yet: a correction, after which no minute waits any more.
            while (
                self._told_ms < self._to_ms
                or self._storing
                or feed.state.missing
                or feed.state.unconfirmed > _UNCONFIRMED
            ):
                if running_feed.done():
                    await running_feed
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), 0.1)
                except TimeoutError:
                    continue

    # What must hold

    async def _checked(self, conn: Connection, rig: Rig) -> list[str]:
        to_ms = self._told_ms
        stored = await read_candles(conn, self._key, "1m", to_ms=to_ms)
        return [
            *await self._i1(conn, stored, to_ms),
            *await self._i2(conn, stored, rig),
            *await self._i3(conn, stored, to_ms),
            *await self._counted(conn),
        ]

    async def _i1(self, conn: Connection, stored: list[Candle], to_ms: int) -> list[str]:
        """Every present minute is stored, every absent one is a hole with its reason, none is missing."""
        told = self._file.slice(self._file.start_ms, to_ms).candles()
        wrong = []
        expected, found = [each.open_time_ms for each in told], [each.open_time_ms for each in stored]
        if found != expected:
            wrong.append(f"I1: minutes {self._minutes(set(found) ^ set(expected))} are stored or not, wrongly")
        if lost := await unaccounted(conn, self._key):
            wrong.append(f"I1: neither candle nor hole: {lost}")
        if missing := await open_holes(conn, self._key):
            wrong.append(f"I1: still missing: {missing}")
        holes = await holes_between(conn, self._key, self._file.start_ms, self._to_ms)
        absent = [minute for hole in holes for minute in self._minutes(range(hole.from_ms, hole.to_ms, MINUTE_MS))]
        if absent != [minute for minute in _ABSENT if minute < MINUTES] or {hole.reason for hole in holes} != {
            "absent"
        }:
            wrong.append(f"I1: holes are {holes}")
        return wrong

    async def _i2(self, conn: Connection, stored: list[Candle], rig: Rig) -> list[str]:
        """What is stored is what the file says, or what the venue corrected it to before it was told; never both."""
        file = {each.open_time_ms: each[4:9] for each in self._file.candles()}
        tape = rig.simulator.session.tapes[self._symbol]
        now = {row.open_ms: (row.open, row.high, row.low, row.close, row.volume) for row in _rows(tape, rig)}
        wrong = [
            f"I2: minute {self._minutes([each.open_time_ms])} is {each[4:9]}, not {file.get(each.open_time_ms)}"
            for each in stored
            if each[4:9] not in (file.get(each.open_time_ms), now.get(each.open_time_ms))
        ]
        revised = sum(file[opened] != values for opened, values in now.items())
        if "revise" not in self._cell.faults and revised:
            wrong.append("the simulator revised what it was not told to")
        row = await conn.fetchrow(
            """
            select (select count(*) from candles where market_id = m.id and interval = '1m' and revision > 0),
                (select count(*) from candle_revisions where market_id = m.id and interval = '1m'),
                (select count(*) from data_quality where market_id = m.id and reason = 'revised')
            from markets m where symbol = $1
            """,
            self._symbol,
        )
        assert row is not None
        repaired, logged, contradicted = row
        is_corrected = self._cell.venue == "hyperliquid" and not CORRECTED.isdisjoint(self._cell.faults)
        if repaired and not is_corrected:
            wrong.append(f"I2: {repaired} minutes have a revision, though nobody repaired one")
        if repaired != logged:
            wrong.append(f"I2: of {repaired} revisions {logged} are kept with their old values")
        if contradicted and not (revised or is_corrected):
            wrong.append(f"I2: a candle was told with two values: {self._notes}")
        return wrong

    async def _i3(self, conn: Connection, stored: list[Candle], to_ms: int) -> list[str]:
        """The live fold, the fold in SQL and the fold of a file are the same bits."""
        columns: CandleColumns = columns_of(stored)
        wrong = []
        for interval in INTERVALS:
            start = self._file.start_ms
            live = [_bits(each) for key, each in sorted(self._live.items()) if key[0] == interval]
            sql = [_bits(each) for each in await fold_minutes(conn, self._key, interval, start, to_ms)]
            batch = [_bits(each) for each in fold_columns(columns, interval, start_ms=start, end_ms=to_ms).candles()]
            if not live == sql == batch:
                wrong.append(f"I3: {interval}: {len(live)} live, {len(sql)} in SQL, {len(batch)} in the batch differ")
        return wrong

    async def _counted(self, conn: Connection) -> list[str]:
        """Garbage that befell the stream alone is kept with its reason, each time."""
        expected = GARBAGE[self._cell.venue].get(self._cell.faults[0]) if len(self._cell.faults) == 1 else None
        rows = await conn.fetch(
            "select q.reason, count(*) from data_quality q join markets m on m.id = q.market_id"
            " where m.symbol = $1 and q.kind = 'anomaly' group by q.reason",
            self._symbol,
        )
        found = {row[0]: row[1] for row in rows}
        return [f"garbage: kept is {found}"] if expected is not None and found != {expected: 2} else []

    def _minutes(self, times: Iterable[int]) -> list[int]:
        return sorted((time - self._file.start_ms) // MINUTE_MS for time in times)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


def _bits(candle: Candle) -> tuple[Any, ...]:
    return candle[2:9]


def _rows(tape: Any, rig: Rig) -> Any:
    return tape.klines(MINUTE, rig.simulator.session.end_ms + MINUTE_MS, 1000)
