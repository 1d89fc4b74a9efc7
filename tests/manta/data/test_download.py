"""``manta data download``: a venue's past into the store, resumable, every minute of it accounted for."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.manta.conftest import Answer, Place
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.errors import BadInput
from trading.storage.candles import read_candles
from trading.storage.database import connect
from trading.storage.holes import scan_holes
from trading.storage.markets import market_ids
from trading.storage.quality import unaccounted
from trading.storage.settings import DatabaseTarget, server_from_environment
from trading.venues.simulator.control import SimulatorControl
from trading.venues.simulator.sample import SAMPLE_FILE
from trading.venues.simulator.server import Simulator, VenueLimits

MINUTE = 60_000
SYMBOLS = {"binance": "BTCUSDT", "pionex": "BTC_USDT", "hyperliquid": "BTC", "binance_usdm": "BTCUSDT"}


def sample(*absent: range) -> CandleColumns:
    """The sample without the minutes ``absent``, counted from its first."""
    whole = load_columns(SAMPLE_FILE, "binance:any", interval="1m")
    gone = np.isin(np.arange(len(whole)), [number for run in absent for number in run])
    return whole.at(~gone)


def at(place: Place, simulator: Simulator, venue: str) -> None:
    place.environ[f"MANTA__VENUES__{venue.upper()}__REST_URL"] = simulator.rest_url


async def downloaded(place: Place, venue: str, *more: str) -> Answer:
    market = f"{venue}:{SYMBOLS[venue]}"
    return await asyncio.to_thread(place.call, "data", "download", "--market", market, "--json", *more)


async def stored_minutes(target: DatabaseTarget, market: str) -> list[int]:
    connection = await connect(target)
    try:
        assert await unaccounted(connection, market) == []
        return [candle.open_time_ms for candle in await read_candles(connection, market, "1m")]
    finally:
        await connection.close()


def span(start_ms: int, first: int, last: int) -> tuple[str, ...]:
    return ("--from", str(start_ms + first * MINUTE), "--to", str(start_ms + last * MINUTE))


@pytest.mark.covers("S2-28b", "S2-19d", "W15")
@pytest.mark.parametrize("venue", ["binance", "pionex", "binance_usdm", "hyperliquid"])
async def test_what_a_venue_has_is_stored_once_and_what_it_lacks_is_absent(
    stored: Place, empty_database: DatabaseTarget, venue: str
) -> None:
    candles = sample(range(1500, 1507), range(1600, 1601))
    start_ms, market = candles.start_ms, f"{venue}:{SYMBOLS[venue]}"
    limits = VenueLimits(weight=10_000)
    async with Simulator(
        candles, SYMBOLS[venue], venue=venue, start_ms=start_ms + 3000 * MINUTE, limits=limits
    ) as simulator:
        at(stored, simulator, venue)
        (told,) = (await downloaded(stored, venue, *span(start_ms, 1000, 2500))).value
        assert (told["stored"], told["absent"], told["missing"], told["market"]) == (1492, 8, 0, market)
        (again,) = (await downloaded(stored, venue, *span(start_ms, 1000, 2500))).value
        assert (again["stored"], again["rows"]) == (0, 0)
        (more,) = (await downloaded(stored, venue, *span(start_ms, 900, 2600))).value
        assert (more["stored"], more["absent"]) == (200, 0)

    expected = candles.slice(start_ms + 900 * MINUTE, start_ms + 2600 * MINUTE).open_time_ms.tolist()
    assert await stored_minutes(empty_database, market) == expected


async def test_what_lies_between_two_downloads_is_missing_until_it_is_fetched(
    stored: Place, empty_database: DatabaseTarget
) -> None:
    candles = sample()
    start_ms = candles.start_ms
    async with Simulator(candles, "BTCUSDT", start_ms=start_ms + 3000 * MINUTE) as simulator:
        at(stored, simulator, "binance")
        await downloaded(stored, "binance", *span(start_ms, 0, 100))
        await downloaded(stored, "binance", *span(start_ms, 500, 600))
        holes: list[dict[str, Any]] = await _holes(stored)
        assert [(h["missing"], h["reason"]) for h in holes] == [(400, "missing")]
        (told,) = (await downloaded(stored, "binance", *span(start_ms, 0, 600))).value
        assert (told["stored"], told["different"]) == (400, 0)
    assert await _holes(stored) == []
    assert len(await stored_minutes(empty_database, "binance:BTCUSDT")) == 600


async def _holes(place: Place) -> list[dict[str, Any]]:
    connection = await connect(_target(place))
    try:
        return [hole._asdict() for hole in await scan_holes(connection, "binance:BTCUSDT", "1m")]
    finally:
        await connection.close()


def _target(place: Place) -> DatabaseTarget:
    target = server_from_environment(place.environ, place.folder)
    assert target is not None
    return target


@pytest.mark.covers("S0-5b", "S0-7")
async def test_native_candles_and_the_first_downloaders_file(stored: Place, tmp_path: Path) -> None:
    candles = sample()
    async with Simulator(candles, "BTCUSDT", start_ms=candles.start_ms + 3000 * MINUTE) as simulator:
        at(stored, simulator, "binance")
        answer = await downloaded(
            stored, "binance", "--interval", "60M", "--days", "1", "--to-file", str(tmp_path / "data")
        )
        (told,) = answer.value
    assert (told["interval"], told["stored"]) == ("1h", 24)
    lines = (tmp_path / "data" / "btcusdt_60m_binance.csv").read_text().splitlines()
    assert len(lines) == 25


@pytest.mark.covers("S2-10")
@pytest.mark.parametrize("name", ["cbBTC", "cbBTC-PERP"])
async def test_a_name_that_means_another_market_is_stored_under_that_with_a_warning(
    stored: Place, empty_database: DatabaseTarget, name: str
) -> None:
    candles = sample()
    async with Simulator(candles, "BTC", venue="hyperliquid", start_ms=candles.start_ms + 3000 * MINUTE) as simulator:
        at(stored, simulator, "hyperliquid")
        market = f"hyperliquid:{name}"
        answer = await asyncio.to_thread(
            stored.call, "data", "download", "--market", market, "--json", *span(candles.start_ms, 2900, 2990)
        )
        (told,) = answer.value
        assert (told["market"], told["stored"]) == ("hyperliquid:BTC", 90)
        assert told["notes"][0].startswith(f"{market} means hyperliquid:BTC. ")
    assert len(await stored_minutes(empty_database, "hyperliquid:BTC")) == 90
    connection = await connect(empty_database)
    try:
        with pytest.raises(BadInput, match="stored as hyperliquid:BTC"):
            await market_ids(connection, [market])
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("venue", "name", "near"),
    [
        ("hyperliquid", "btc", "BTC"),
        ("hyperliquid", "BTCC", "BTC"),
        ("binance", "BTCUDST", "BTCUSDT"),
        ("pionex", "BTC_UDST", "BTC_USDT"),
    ],
)
async def test_an_unknown_symbol_fails_with_the_nearest_names(stored: Place, venue: str, name: str, near: str) -> None:
    candles = sample()
    async with Simulator(candles, SYMBOLS[venue], venue=venue, start_ms=candles.start_ms + 3000 * MINUTE) as simulator:
        at(stored, simulator, venue)
        answer = await asyncio.to_thread(
            stored.call, "data", "download", "--market", f"{venue}:{name}", "--days", "1", "--json"
        )
    assert answer.status == 2
    assert f"Did you mean {near}" in answer.value["fix"]


@pytest.mark.covers("W10")
async def test_beyond_a_venues_horizon_it_says_so(stored: Place) -> None:
    candles = sample()
    start_ms = candles.start_ms
    async with Simulator(
        candles, "BTC_USDT", venue="pionex", start_ms=start_ms + 15_000 * MINUTE, limits=VenueLimits(weight=10_000)
    ) as simulator:
        at(stored, simulator, "pionex")
        (told,) = (await downloaded(stored, "pionex", "--days", "8")).value
    assert 9900 < told["stored"] <= 10_000
    assert "manta data import" in told["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--market", "bitfinex:BTCUSD"), "venue"),
        (("--market", "binance:BTCUSDT", "--interval", "37m"), "interval"),
        (("--market", "binance:BTCUSDT", "--days", "3", "--from", "2025-01-01"), "days"),
        (("--venue", "binance"), "symbol"),
        (("--market", "BTCUSDT"), "market"),
        (("--market", "binance:BTCUSDT", "--from", "later"), "from"),
    ],
)
def test_wrong_orders_are_named_before_anything_is_asked(place: Place, arguments: tuple[str, ...], field: str) -> None:
    answer = place.run("data", "download", "--json", *arguments)
    assert (answer.status, answer.value["field"]) == (2, field)
    assert answer.value["fix"]
    assert not place.data_dir.exists()


async def test_a_price_that_jumps_alone_is_left_out_and_comes_with_the_next_download(
    stored: Place, empty_database: DatabaseTarget
) -> None:
    candles = sample()
    start_ms, limits = candles.start_ms, VenueLimits(weight=10_000)
    async with (
        Simulator(candles, "BTC_USDT", venue="pionex", start_ms=start_ms + 3000 * MINUTE, limits=limits) as simulator,
        SimulatorControl(simulator.control_url) as control,
    ):
        at(stored, simulator, "pionex")
        await control.fault("corrupt_rows", how="jump", path="klines", times=2)
        (told,) = (await downloaded(stored, "pionex", *span(start_ms, 1000, 1900))).value
        assert (told["missing"], told["stored"]) == (1, 899)
        assert [note for note in told["notes"] if "left out: prices" in note]
        (again,) = (await downloaded(stored, "pionex", *span(start_ms, 1000, 1900))).value
        assert (again["missing"], again["stored"]) == (0, 1)
    expected = candles.slice(start_ms + 1000 * MINUTE, start_ms + 1900 * MINUTE).open_time_ms.tolist()
    assert await stored_minutes(empty_database, "pionex:BTC_USDT") == expected


@pytest.mark.covers("S2-28b")
async def test_minutes_that_a_venue_shows_no_more_are_lent_and_marked(
    stored: Place, empty_database: DatabaseTarget
) -> None:
    candles = sample(range(500, 510))
    start_ms, now = candles.start_ms, 12_000
    limits = VenueLimits(weight=1_000_000)
    market, other = "pionex:BTC_USDT", "binance:BTCUSDT"
    stored.environ["MANTA__HISTORY__SECOND"] = f'["{market}={other}"]'
    async with (
        Simulator(sample(), "BTC_USDT", venue="pionex", start_ms=start_ms + now * MINUTE, limits=limits) as mine,
        Simulator(candles, "BTCUSDT", start_ms=start_ms + now * MINUTE, limits=limits) as lending,
    ):
        at(stored, mine, "pionex")
        at(stored, lending, "binance")
        answer = (await downloaded(stored, "pionex", *span(start_ms, 100, 900))).value
        assert isinstance(answer, list), answer
        (told,) = answer
        assert (told["lent"], told["by"], told["stored"]) == (790, other, 0)
        (told,) = (await downloaded(stored, "pionex", *span(start_ms, 100, 3000))).value
        assert told["stored"] > 900
        assert told["lent"] + told["stored"] == 2100, "where the horizon moved on, nothing is left out"
        (again,) = (await downloaded(stored, "pionex", *span(start_ms, 100, 3000))).value
        assert (again["lent"], again["stored"]) == (0, 0)

    connection = await connect(empty_database)
    try:
        assert await unaccounted(connection, market) == []
        rows = await read_candles(connection, market, "1m")
        begins = next(row.open_time_ms for row in rows if row.origin is None)
        assert {row.origin for row in rows if row.open_time_ms < begins} == {other}
        assert {row.origin for row in rows if row.open_time_ms >= begins} == {None}
        (hole,) = await scan_holes(connection, market, "1m")
        assert (hole.from_ms, hole.missing, hole.reason) == (start_ms + 500 * MINUTE, 10, "absent")
    finally:
        await connection.close()
