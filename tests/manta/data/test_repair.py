"""``manta data verify`` and ``manta data repair``: found by rule, shown first, saved before it goes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.manta.conftest import Place
from tests.manta.data.test_import import MINUTE, START, holes, imported, row, write
from tests.trading.test_sanitize import HEADER, line
from trading.candles import Candle
from trading.storage.candles import first_open, last_close, read_candles, upsert_candles
from trading.storage.cursors import get_cursor, set_cursors
from trading.storage.database import connect
from trading.storage.fold import fold_minutes
from trading.storage.folded import folded_from, note_folded
from trading.storage.rebuilds import pending_rebuilds
from trading.storage.settings import DatabaseTarget

MARKET = "bitfinex:BTCUSD"
KEPT = ["5m", "37m", "1h"]


async def executed(target: DatabaseTarget, statement: str) -> None:
    connection = await connect(target)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def repaired(place: Place, *more: str) -> Any:
    return place.run("data", "repair", "--market", MARKET, "--json", *more).value


def test_a_file_is_shown_first_and_then_repaired_with_what_went_saved(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "btc_usdt_60m_pionex.csv"
    lines = [line(n, 100_000) for n in range(60)]
    lines[7], lines[8] = line(8, 100_000), line(7, 400)
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    before = path.read_bytes()

    told = place.run("data", "repair", "--file", str(path), "--json").value
    assert (told["applied"], len(told["dropped"]), path.read_bytes()) == (False, 1, before)
    assert "line 10" in place.run("data", "repair", "--file", str(path)).out

    told = place.run("data", "repair", "--file", str(path), "--apply", "--json").value
    assert told["applied"]
    assert Path(told["backup"]).read_text().splitlines() == [HEADER, line(7, 400)]
    kept = path.read_text().splitlines()
    assert kept == [HEADER, *lines[:7], lines[7], *lines[9:]]
    assert place.run("data", "repair", "--file", str(path), "--json").value["dropped"] == []


def test_a_stored_series_is_repaired_and_the_minutes_are_missing(stored: Place, tmp_path: Path) -> None:
    rows = [row(n, price=10_000 + n) for n in range(200)]
    rows[50] = row(50, price=2)
    rows[60] = row(60, price=900_000)
    imported(stored, write(tmp_path / "a.csv", *rows))

    told = repaired(stored)
    assert (told["applied"], [r["rule"].split(",")[0] for r in told["dropped"]]) == (
        False,
        ["price 1 is below 1000", "price 900001 is above 1.5 times the range"],
    )
    assert holes(stored) == []
    assert [len(repaired(stored, "--min-price", "0")["dropped"])] == [2]

    told = repaired(stored, "--apply")
    saved = Path(told["backup"]).read_text().splitlines()
    assert [text.split(",")[0] for text in saved[1:]] == [str(START + n * MINUTE) for n in (50, 60)]
    assert [(h["from"], h["reason"]) for h in holes(stored)] == [(START + n * MINUTE, "missing") for n in (50, 60)]
    assert repaired(stored, "--apply")["dropped"] == []
    assert imported(stored, Path(told["backup"])).value["stored"] == 2
    assert holes(stored) == []


@pytest.mark.covers("S1-34", "S1-13c")
def test_verify_finds_what_is_wrong_in_the_store(stored: Place, empty_database: DatabaseTarget, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", *(row(n) for n in range(100) if n != 30))
    imported(stored, path)
    answer = stored.run("data", "verify", "--json")
    assert (answer.status, answer.value[0]["ok"]) == (0, True)
    same = stored.run("data", "verify", "--market", MARKET, "--interval", "1m", "--file", str(path), "--json")
    assert (same.status, same.value[0]["file"]["same"]) == (0, 99)

    for statement in (
        f"update candles set high = 'NaN' where open_time = at_ms({START + 10 * MINUTE})",
        f"update candles set low = high + 1 where open_time = at_ms({START + 11 * MINUTE})",
        f"update candles set close_time = close_time + interval '1 second' where open_time = at_ms({START + 12 * MINUTE})",  # noqa: E501
        "delete from data_quality",
    ):
        asyncio.run(executed(empty_database, statement))
    answer = stored.run("data", "verify", "--market", MARKET, "--interval", "1m", "--file", str(path), "--json")
    (told,) = answer.value
    assert (answer.status, told["ok"]) == (1, False)
    assert [s["open_time_ms"] for s in told["suspects"]] == [START + n * MINUTE for n in (10, 11, 12)]
    assert told["unaccounted"] == [[START + 30 * MINUTE, START + 31 * MINUTE]]
    assert (told["file"]["different"], told["file"]["same"]) == (2, 97)
    assert "NOT ok" in stored.run("data", "verify").out


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("repair",), "file"),
        (("repair", "--file", "gone.csv"), "file"),
        (("repair", "--file", "a", "--market", "a:B"), "file"),
        (("repair", "--market", "none:BTC"), "market"),
        (("verify", "--file", "a.csv"), "market"),
        (("verify", "--market", "none:BTC"), "market"),
    ],
)
def test_wrong_orders_are_named(stored: Place, arguments: tuple[str, ...], field: str) -> None:
    answer = stored.run("data", *arguments, "--json")
    assert (answer.status, answer.value["field"]) == (2, field)
    assert answer.value["fix"]


async def _live(target: DatabaseTarget) -> None:
    """As if a timeframe and a brain had handled what is stored so far."""
    connection = await connect(target)
    try:
        last = await last_close(connection, MARKET)
        await set_cursors(connection, {f"timeframe:{MARKET}": last or 0, f"brain:{MARKET}": last or 0})
        await note_folded(connection, MARKET, KEPT, await first_open(connection, MARKET))
        for interval in KEPT:
            begin = await first_open(connection, MARKET) or 0
            await upsert_candles(connection, await fold_minutes(connection, MARKET, interval, begin, last or 0))
    finally:
        await connection.close()


async def _kept(target: DatabaseTarget) -> tuple[list[Candle], list[Candle], list[tuple[int, int]]]:
    """What is stored of the kept intervals, what it should be, and what features are to be made anew over."""
    connection = await connect(target)
    try:
        reached = await get_cursor(connection, f"timeframe:{MARKET}") or 0
        begin = await first_open(connection, MARKET) or 0
        stored, wanted = [], []
        for interval in KEPT:
            stored += await read_candles(connection, MARKET, interval)
            wanted += await fold_minutes(connection, MARKET, interval, begin, reached)
        pending = await pending_rebuilds(connection, MARKET)
        await connection.execute("truncate rebuilds")
        return [candle._replace(revision=0) for candle in stored], wanted, pending
    finally:
        await connection.close()


@pytest.mark.covers("S1-12")
def test_whatever_changes_minutes_by_hand_changes_what_was_made_of_them(
    stored: Place, empty_database: DatabaseTarget, tmp_path: Path
) -> None:
    imported(stored, write(tmp_path / "a.csv", *(row(n, price=10_000 + n) for n in range(300, 600))))
    asyncio.run(_live(empty_database))

    def holds() -> list[tuple[int, int]]:
        candles, wanted, pending = asyncio.run(_kept(empty_database))
        assert candles == wanted
        return pending

    assert holds() == []
    # Other values of a minute.
    imported(stored, write(tmp_path / "b.csv", row(400, price=10_500)), "--replace")
    assert holds() == [(START + 400 * MINUTE, START + 401 * MINUTE)]
    # Minutes that nobody believes: all of a five-minute candle, and one of another.
    gone = [*range(443, 452), 500]
    imported(stored, write(tmp_path / "c.csv", *(row(n, price=2) for n in gone)), "--replace")
    holds()
    repaired(stored, "--apply")
    assert holds() == [(START + 443 * MINUTE, START + 452 * MINUTE), (START + 500 * MINUTE, START + 501 * MINUTE)]
    # They come back, and earlier ones with a hole to what is known.
    imported(stored, write(tmp_path / "d.csv", *(row(n, price=10_000 + n) for n in gone)))
    assert holds() == [(START + 443 * MINUTE, START + 501 * MINUTE)]
    imported(stored, write(tmp_path / "e.csv", *(row(n, price=10_000 + n) for n in range(100, 250))))
    holds()
    assert asyncio.run(_first(empty_database)) == START + 100 * MINUTE


async def _first(target: DatabaseTarget) -> int | None:
    connection = await connect(target)
    try:
        return await folded_from(connection, MARKET)
    finally:
        await connection.close()
