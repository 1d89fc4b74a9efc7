"""Minutes that cannot be had for a while: told as missing, held back from strategies, and repaired when they come."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from actors.crash import CrashPoint
from manta.crash import stretches
from manta.crash.stretches import scripted_stretch
from manta.host_process import HostProcess
from manta.parity import parity_config
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.config.model import Config
from trading.fold import fold
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.storage import candles, quality, rebuilds, records
from trading.storage.database import Connection, Database
from trading.storage.follow import follow_minutes
from trading.storage.postgres import BundledPostgres
from trading.storage.revisions import read_revisions, revise_all
from trading.venues.simulator.server import Simulator

pytestmark = pytest.mark.long(2)

MARKET = "binance:BTCUSDT"
OTHER = "binance_usdm:BTCUSDT"
BINANCE = "candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
START_MS = 1_747_699_200_000 + DAY_MS
HOLE_MS = START_MS + 2 * HOUR_MS + 2 * MINUTE_MS
END_MS = START_MS + 12 * HOUR_MS


async def test_a_hole_is_told_held_back_and_repaired(shared_data: Path, tmp_path: Path) -> None:
    """Ten minutes are lost while REST refuses for longer than a timeframe waits; the timeframe dies on the way too."""
    config = parity_config("ma44", ["5m"], "spot")
    marker = tmp_path / "timeframe"
    options = ReplayOptions(
        config=config,
        symbol="BTCUSDT",
        file=shared_data / BINANCE,
        start_ms=START_MS,
        until_ms=END_MS,
        lead=30,
        faults=(
            {"kind": "lose_minutes", "minutes": 10, "at_ms": HOLE_MS},
            {"kind": "rest_status", "status": 503, "times": 12, "path": "klines", "at_ms": HOLE_MS},
        ),
        crash_points=(CrashPoint(f"timeframe:{MARKET}", "before_commit", HOLE_MS + HOUR_MS, "self", str(marker)),),
    )
    async with Replay(options) as replay:
        await replay.run_to(END_MS)
        assert await _healed(replay)
        book, derived, unaccounted, rows = await replay.query(_read)
    assert marker.exists()
    held = [item for item in book.decisions if item.outcome == "hole"]
    assert held
    assert all(not item.actions for item in held)
    assert held[0].close_ms >= HOLE_MS
    # Some time after the repair the instance decides again.
    assert any(item.outcome in ("acted", "hold") for item in book.decisions if item.close_ms > held[-1].close_ms)
    assert unaccounted == []
    assert rows
    assert all(row["resolved"] for row in rows)
    # What storage holds in the end is what an undisturbed run would have folded, with the repair's revision.
    minutes = load_candles(options.file, MARKET, start_ms=START_MS - DAY_MS, end_ms=END_MS)
    expected = {item.open_time_ms: item for item in fold(minutes, "5m")}
    assert {item.open_time_ms: item[4:9] for item in derived} == {
        opened: expected[opened][4:9] for opened in (item.open_time_ms for item in derived)
    }
    assert all(item.complete for item in derived)
    # The candles at both ends were told incomplete first; the one between had no minute at all.
    spoiled = [
        item for item in derived if item.open_time_ms < HOLE_MS + 10 * MINUTE_MS and item.close_time_ms > HOLE_MS
    ]
    assert len(spoiled) == 3
    assert [item.revision for item in spoiled] == [1, 0, 1]


@pytest.mark.covers("S1-12")
async def test_minutes_changed_by_hand_reach_those_at_work(shared_data: Path) -> None:
    """A closed minute of a candle that is still open is replaced: the candle, and what is decided later, follow it."""
    options = ReplayOptions(
        config=parity_config("ma44", ["5m"], "spot"),
        symbol="BTCUSDT",
        file=shared_data / BINANCE,
        start_ms=START_MS,
        until_ms=END_MS,
        lead=30,
        hurt=True,
    )
    middle_ms = START_MS + 6 * HOUR_MS + 3 * MINUTE_MS

    async def change(conn: Connection) -> Candle:
        old = (await candles.read_candles(conn, MARKET, "1m", from_ms=middle_ms - 2 * MINUTE_MS, limit=1))[0]
        new = old._replace(high=old.high * 2, close=old.close // 2, low=old.low // 2)
        closed = (await candles.read_candles(conn, MARKET, "1m", from_ms=middle_ms - 4 * MINUTE_MS, limit=1))[0]
        await revise_all(conn, [new, closed._replace(close=closed.close // 2, low=closed.low // 2)], "by hand")
        await follow_minutes(conn, MARKET, closed.open_time_ms, new.close_time_ms, "by hand")
        return new

    async with Replay(options) as replay:
        await replay.run_to(middle_ms, exactly=True)
        changed = await replay.query(change)
        for _ in range(1800):
            if not await replay.query(lambda conn: rebuilds.pending_rebuilds(conn, MARKET)):
                break
            await asyncio.sleep(0.1)
        assert await replay.query(lambda conn: rebuilds.pending_rebuilds(conn, MARKET)) == []
        await replay.run_to(END_MS)
        book, derived, _, _ = await replay.query(_read)
        minutes = await replay.query(lambda conn: candles.read_candles(conn, MARKET, "1m"))
        whole = await replay.query(lambda conn: candles.read_candles(conn, MARKET, "5m"))
    assert [item[:9] for item in whole] == [item[:9] for item in fold(minutes, "5m")]
    held = next(item for item in derived if item.open_time_ms <= changed.open_time_ms < item.close_time_ms)
    assert (held.high, held.close_time_ms > middle_ms) == (changed.high, True)
    before = next(item for item in derived if item.close_time_ms == held.open_time_ms)
    assert before.revision == 1
    closes = {item.close_time_ms: item.close / 1e8 for item in whole}
    later = [item for item in book.signals if item.close_time_ms > middle_ms and item.status == "ready"]
    assert len(later) > 60
    for signal in later:
        last = [closes[signal.close_time_ms - n * 5 * MINUTE_MS] for n in range(44)]
        assert signal.features["ma"] == pytest.approx(sum(last) / 44, rel=1e-12)


@pytest.mark.slow
@pytest.mark.covers("W15")
async def test_minutes_that_storage_lacks_without_a_word_are_found_at_the_start_and_fetched(tmp_path: Path) -> None:
    """Five minutes are gone from the middle of the series, and nothing says so: no look but that at the start is due
    before the test ends.
    """
    stretch = scripted_stretch(tmp_path, seed=3, minutes=200)
    gone_ms = stretch.start_ms + 31 * MINUTE_MS
    end_ms = stretch.checkpoint(stretch.start_ms + 60 * MINUTE_MS)
    market = stretches.MARKET
    options = ReplayOptions(
        config=stretch.config,
        symbol=stretches.SYMBOL,
        file=stretch.file,
        start_ms=stretch.start_ms,
        lead=10,
        data_dir=tmp_path / "data",
        apart=True,
    )

    async def lose(conn: Connection) -> None:
        begin, end = gone_ms, gone_ms + 5 * MINUTE_MS
        lost = "interval = '1m' and open_time >= at_ms($1) and open_time < at_ms($2)"
        assert await conn.execute(f"delete from candles where {lost}", begin, end) == "DELETE 5"

    async def holes(conn: Connection) -> list[tuple[int, int, bool, str]]:
        rows = await conn.fetch(
            "select ms(from_time), ms(to_time), resolved, detail->>'text' from data_quality where kind = 'hole'"
        )
        return [tuple(row) for row in rows]

    async with Replay(options) as replay:
        await replay.run_to(end_ms, exactly=True)
        before = await replay.query(lambda conn: candles.read_candles(conn, market, "1m"))
        assert isinstance(replay.host, HostProcess)
        assert await replay.query(holes) == []
        await replay.host.stop()
        server = BundledPostgres(tmp_path / "data" / "postgres")
        async with Database(await server.start(), application_name="manta test") as database:
            await database.run(lose)
        await server.stop()
        assert await replay.revive()
        for _ in range(1200):
            found = await replay.query(holes)
            if found and all(hole[2] for hole in found):
                break
            await asyncio.sleep(0.1)
        after = await replay.query(lambda conn: candles.read_candles(conn, market, "1m"))
    assert found == [(gone_ms, gone_ms + 5 * MINUTE_MS, True, "found by the supervisor")]
    assert [each[:9] for each in after] == [each[:9] for each in before]


@pytest.mark.slow
@pytest.mark.covers("W15")
async def test_minutes_that_the_venue_cannot_give_are_lent_and_given_back(shared_data: Path) -> None:
    """REST refuses for hours and shows little of the past: a second venue lends both, until the own minutes come."""
    config = parity_config("ma44", ["5m"], "spot")
    tape_ms = START_MS - HOUR_MS
    minutes = load_candles(shared_data / BINANCE, MARKET, start_ms=START_MS - DAY_MS, end_ms=END_MS + HOUR_MS)
    lending = [item._replace(volume=item.volume + 100_000_000) for item in minutes]
    lost_ms = range(HOLE_MS, HOLE_MS + 10 * MINUTE_MS, MINUTE_MS)
    async with Simulator(lending, "BTCUSDT", venue="binance_usdm", start_ms=END_MS + HOUR_MS - MINUTE_MS) as other:
        data = config.model_dump()
        data["venues"]["binance_usdm"] |= {"rest_url": other.rest_url, "stream_url": other.stream_url}
        data["history"] |= {"second": [f"{MARKET}={OTHER}"], "min_days": 0.5}
        options = ReplayOptions(
            config=Config.model_validate(data),
            symbol="BTCUSDT",
            file=shared_data / BINANCE,
            start_ms=START_MS,
            from_ms=tape_ms,
            until_ms=END_MS,
            lead=30,
            faults=(
                {"kind": "lose_minutes", "minutes": 10, "at_ms": HOLE_MS},
                {"kind": "rest_status", "status": 503, "times": 2000, "path": "klines", "at_ms": HOLE_MS},
            ),
        )
        async with Replay(options) as replay:
            await replay.run_to(END_MS)
            assert await _healed(replay)
            lent = await _minutes(replay)
            assert [each.origin for opened, each in lent.items() if opened in lost_ms] == [OTHER] * 10
            assert {each.origin for opened, each in lent.items() if opened < tape_ms} == {OTHER}
            assert min(lent) <= START_MS - 8 * HOUR_MS
            assert {each.origin for opened, each in lent.items() if opened >= tape_ms and opened not in lost_ms} == {
                None
            }
            why = await replay.query(lambda conn: conn.fetch("select distinct detail->>'why' from data_quality"))
            assert "outage" in {row[0] for row in why}
            whole = await replay.query(lambda conn: candles.read_candles(conn, MARKET, "5m"))
            assert [each[:9] for each in whole] == [each[:9] for each in fold(list(lent.values()), "5m")]
            assert {each.origin for each in whole if HOLE_MS <= each.open_time_ms < max(lost_ms)} == {OTHER}
            await _burn_out(replay.facts["rest_url"])
            for _ in range(1800):
                back = await _minutes(replay)
                if all(back[opened].origin is None for opened in lost_ms):
                    break
                await asyncio.sleep(0.1)
            assert [(back[opened].origin, back[opened].revision) for opened in lost_ms] == [(None, 1)] * 10
            logged = await replay.query(lambda conn: read_revisions(conn, MARKET, interval="1m", from_ms=HOLE_MS))
            assert {(each.old["origin"], each.new["origin"]) for each in logged} == {(OTHER, None)}
            expected = fold(list(back.values()), "5m")
            for _ in range(1800):
                whole = await replay.query(lambda conn: candles.read_candles(conn, MARKET, "5m"))
                if [each[:9] for each in whole] == [each[:9] for each in expected]:
                    break
                await asyncio.sleep(0.1)
            assert [(*each[:9], each.origin) for each in whole] == [(*each[:9], each.origin) for each in expected]


async def _minutes(replay: Replay) -> dict[int, Candle]:
    found = await replay.query(lambda conn: candles.read_candles(conn, MARKET, "1m"))
    return {item.open_time_ms: item for item in found}


async def _burn_out(rest_url: str) -> None:
    """Take the refusals that are left, so that the venue answers again."""
    query = {"symbol": "BTCUSDT", "interval": "1m", "limit": "1"}
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{rest_url}/api/v3/klines", params=query) as answer:
                if answer.status == 200:
                    return


async def _healed(replay: Replay) -> bool:
    """Wait until no hole is open; the feed asks again with growing pauses."""
    for _ in range(1800):
        open_holes = await replay.query(lambda conn: quality.open_holes(conn, MARKET))
        incomplete = await replay.query(lambda conn: candles.incomplete_spans(conn, MARKET))
        if not open_holes and not incomplete:
            return True
        await asyncio.sleep(0.1)
    return False


async def _read(conn: Any) -> tuple[Any, Any, Any, Any]:
    return (
        await records.read_run(conn, "paper"),
        await candles.read_candles(conn, MARKET, "5m", from_ms=START_MS, to_ms=END_MS),
        await quality.unaccounted(conn, MARKET),
        await conn.fetch("select reason, resolved from data_quality where kind = 'hole'"),
    )
