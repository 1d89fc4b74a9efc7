"""The watch for price gaps at work on a real database: what is stored, what is told, and what only once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.gaps import GapMonitor
from actors.session import Session
from tests.trading.gaps.reference import HOUR_MS, MARKET, bar
from tests.trading.storage.conftest import BTC
from trading.candles import Candle, Hole
from trading.config.model import Config, Gaps
from trading.events import Event, EventKind, Heal
from trading.gaps.gaps_file import read_gaps_file
from trading.notify.routing import tell
from trading.storage import cursors
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection, Database
from trading.storage.markets import upsert_market
from trading.storage.price_gaps import StoredGap, read_gaps
from trading.storage.quality import record_hole, resolve_hole
from trading.storage.revisions import revise
from trading.storage.settings import DatabaseTarget

UNIT = 10**8
UP = [(5, 6, 4, 5), (5, 9, 5, 9), (9, 10, 8, 10)]  # a gap from 6 to 8
QUIET = (9, 10, 9, 9)
FILLING = (9, 9, 6, 9)


def hour(n: int, prices: tuple[int, int, int, int], **changes: Any) -> Candle:
    return bar(n, *(price * UNIT for price in prices))._replace(source="derived", **changes)


class Stand:
    """Runs the monitor as the supervisor does, with the candles, starts and stops that a test wants."""

    def __init__(self, db: Database, folder: Path, settings: Gaps) -> None:
        self.db = db
        self.folder = folder
        self.settings = settings
        self.session: Session
        self.monitor: GapMonitor
        self.crash = False

    def start(self, at_hour: int) -> None:
        config = Config(markets=(MARKET,), gaps=self.settings)
        self.session = Session(
            f"s{at_hour}",
            "test",
            "venue",
            1.0,
            at_hour * HOUR_MS,
            config,
            self.db.target,
            "",
            str(self.folder / "logs"),
        )
        self.monitor = GapMonitor(lambda: self.session, self.db.run, self.commit)

    async def commit(self, moves: Mapping[str, int], write: Callable[[Connection], Awaitable[None]]) -> None:
        async with self.db.transaction() as conn:
            await write(conn)
            await cursors.set_cursors(conn, moves)
            if self.crash:
                raise ConnectionAbortedError

    async def closes(self, *candles: Candle) -> None:
        async with self.db.transaction() as conn:
            await upsert_candles(conn, candles)
        await self.monitor.work()

    async def gaps(self) -> list[StoredGap]:
        return await self.db.run(read_gaps)

    async def messages(self) -> list[str]:
        query = "select body -> 'payload' ->> 'text' from outbox order by id"
        return [row[0] for row in await self.db.run(lambda conn: conn.fetch(query))]


@pytest.fixture
async def stand(database: DatabaseTarget, tmp_path: Path) -> AsyncIterator[Stand]:
    async with Database(database) as db:
        await db.run(lambda conn: upsert_market(conn, BTC))
        yield Stand(db, tmp_path, Gaps(intervals=("1h",), timezone="UTC"))


FOUND = "Gap found G00001 1h up 6.00 - 8.00 @01JAN70 - 02:00:00 UTC"
CLOSED = "Gap closed G00001 1h up gap filled at 6.00"


@pytest.mark.covers("S0-12", "S0-14", "W13")
async def test_a_gap_is_told_when_it_is_found_and_when_it_closes_each_once(stand: Stand) -> None:
    stand.start(0)
    for n, prices in enumerate(UP):
        await stand.closes(hour(n, prices))
    assert await stand.messages() == [FOUND]
    await stand.closes(hour(3, QUIET), hour(4, FILLING))
    await stand.monitor.work()
    stand.start(1)
    await stand.monitor.work()
    assert await stand.messages() == [FOUND, CLOSED]
    (gap,) = await stand.gaps()
    assert (gap.status, gap.closed_ms, gap.close_price, gap.source_interval) == ("filled", 4 * HOUR_MS, 6 * UNIT, "1m")
    (row,) = read_gaps_file(stand.folder / "gaps/gaps.csv")
    assert (row.id, row.closed, row.close_price) == ("G00001", True, 6 * UNIT)


@pytest.mark.covers("W12", "W24")
async def test_closures_while_manta_was_down_are_stored_in_order_and_not_sent(stand: Stand) -> None:
    stand.start(0)
    for n, prices in enumerate([*UP, QUIET]):
        await stand.closes(hour(n, prices))
    stand.start(8)
    # The price came back above the zone: the newest candle alone would show nothing.
    await stand.closes(hour(4, FILLING), *(hour(n, QUIET) for n in range(5, 8)))
    (gap,) = await stand.gaps()
    assert (gap.status, gap.closed_ms) == ("filled", 4 * HOUR_MS)
    # What the last candles left is listed once, and "no gaps" is no message.
    assert await stand.messages() == [FOUND, "1 gap in the last 15 bars for 1h:"]
    stand.start(8)
    await stand.monitor.work()
    assert len(await stand.messages()) == 2


async def test_the_first_look_at_a_long_past_sends_its_list_and_no_more(stand: Stand) -> None:
    stand.start(100)
    await stand.closes(*(hour(n, [*UP, FILLING][n % 4]) for n in range(100)))
    gaps = await stand.gaps()
    recent = [gap for gap in gaps if gap.start_ms >= 85 * HOUR_MS]
    assert len(gaps) > len(recent) > 1
    (message,) = await stand.messages()
    assert message == f"{len(recent)} gaps in the last 15 bars for 1h:"


async def test_what_closed_after_the_start_is_told_however_late_the_first_look_is(stand: Stand) -> None:
    stand.start(0)
    await stand.closes(*(hour(n, prices) for n, prices in enumerate([*UP, QUIET, FILLING])))
    assert await stand.messages() == [FOUND, CLOSED]


async def test_what_a_reload_began_to_watch_is_told_from_then_on(stand: Stand) -> None:
    stand.settings = Gaps(enabled=False, intervals=("1h",), timezone="UTC")
    stand.start(0)
    await stand.closes(*(hour(n, prices) for n, prices in enumerate(UP)))
    on = Config(markets=(MARKET,), gaps=Gaps(intervals=("1h",), timezone="UTC"))
    stand.session = replace(stand.session, config=on)
    await stand.monitor.work()
    assert await stand.messages() == []
    await stand.closes(hour(3, QUIET), hour(4, FILLING))
    assert await stand.messages() == [CLOSED]


async def test_a_gap_that_a_short_stop_hid_is_told(stand: Stand) -> None:
    stand.start(0)
    await stand.closes(hour(0, UP[0]))
    stand.start(3)
    await stand.closes(hour(1, UP[1]), hour(2, UP[2]))
    assert await stand.messages() == [FOUND, "1 gap in the last 15 bars for 1h:"]


async def test_a_crash_before_the_commit_is_as_if_nothing_happened(stand: Stand) -> None:
    stand.start(0)
    await stand.closes(hour(0, UP[0]), hour(1, UP[1]))
    stand.crash = True
    with pytest.raises(ConnectionAbortedError):
        await stand.closes(hour(2, UP[2]))
    assert (await stand.gaps(), await stand.messages()) == ([], [])
    stand.crash = False
    stand.start(0)
    await stand.monitor.work()
    assert await stand.messages() == [FOUND]


@pytest.mark.covers("W11")
async def test_an_incomplete_candle_makes_no_gap_until_it_is_healed(stand: Stand) -> None:
    stand.start(0)
    broken = hour(1, UP[1], complete=False)
    for candle in (hour(0, UP[0]), broken, hour(2, UP[2]), hour(3, QUIET)):
        await stand.closes(candle)
    assert await stand.gaps() == []
    async with stand.db.transaction() as conn:
        await revise(conn, broken._replace(complete=True), "healed")
    stand.monitor._repairs_at = 0.0
    await stand.monitor.work()
    (gap,) = await stand.gaps()
    assert gap.start_ms == 2 * HOUR_MS
    assert await stand.messages() == [FOUND]


@pytest.mark.parametrize("healed", [False, True])
async def test_a_hole_at_a_seam_is_no_gap(stand: Stand, healed: bool) -> None:
    stand.start(0)
    hole = Hole(MARKET, HOUR_MS + 50 * 60_000, 2 * HOUR_MS, "absent")
    async with stand.db.transaction() as conn:
        await record_hole(conn, hole)
        if healed:
            minutes = tuple(bar(n, *(9 * UNIT,) * 4, interval="1m") for n in range(110, 120))
            await upsert_candles(conn, minutes)
            await resolve_hole(conn, Heal(MARKET, hole.from_ms, hole.to_ms, minutes, ()))
    await stand.closes(*(hour(n, prices) for n, prices in enumerate(UP)))
    assert len(await stand.gaps()) == int(healed)


async def test_what_only_the_first_monitors_file_knows_is_taken_over_and_watched(stand: Stand) -> None:
    file = stand.folder / "gaps/gaps.csv"
    file.parent.mkdir()
    file.write_text(
        "id,timeframe,start_time,gap_type,gap_low,gap_high,status,found_time,closed_time,close_price,symbol,venue,mode\n"
        "G00007,60M,1970-01-01 02:00:00,up,6,8,open,1970-01-09 00:00:00,,,BTCUSDT,binance,b2dir\n"
        "G00009,60M,1970-01-01 02:00:00,up,6,8,open,1970-01-09 00:00:00,,,BTC_USDT,pionex,b2dir\n"
    )
    stand.start(6)
    await stand.closes(*(hour(n, prices) for n, prices in enumerate([*UP, QUIET, FILLING, QUIET])))
    await stand.closes(*(hour(n + 6, tuple(p + 20 for p in prices)) for n, prices in enumerate(UP)))
    gaps = await stand.gaps()
    assert (gaps[0].id, gaps[0].status, gaps[0].closed_ms) == ("G00007", "filled", 4 * HOUR_MS)
    assert all(int(gap.id[1:]) > 9 for gap in gaps[1:])
    ids = [row.id for row in read_gaps_file(file)]
    assert ids[:2] == ["G00007", "G00009"]
    assert len(ids) == len(gaps) + 1


@pytest.mark.covers("S0-22")
async def test_the_watch_is_announced_beside_start_and_stop(stand: Stand) -> None:
    stand.start(0)
    for kind in (EventKind.START, EventKind.STOP):
        event = Event(kind, 0, "system", {}, f"{kind}:s0")
        async with stand.db.transaction() as conn:
            await tell(conn, [event, *stand.monitor.beside(event)], stand.session.config.notify)
    told = [text for text in await stand.messages() if text]
    assert told == ["Bitcoin gap monitor started", "Bitcoin gap monitor stopped"]


async def test_only_wanted_gaps_are_kept(stand: Stand) -> None:
    stand.settings = Gaps(intervals=("1h",), type="down", timezone="UTC")
    stand.start(0)
    await stand.closes(*(hour(n, prices) for n, prices in enumerate(UP)))
    assert await stand.gaps() == []
    stand.settings = Gaps(intervals=("1h",), min_size="2.00000001", timezone="UTC")
    stand.start(0)
    await stand.closes(*(hour(n + 3, prices) for n, prices in enumerate(UP)))
    assert await stand.gaps() == []
