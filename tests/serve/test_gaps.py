"""Price gaps as the dashboard and other programs get them."""

import pytest

from tests.serve.conftest import MARKET, Records, Server
from tests.trading.gaps.reference import bar
from tests.trading.gaps.test_detector import EXAMPLE, priced
from trading.gaps.detector import GapMode
from trading.gaps.life import GapBook
from trading.intervals import HOUR_MS
from trading.storage.price_gaps import Series, store_changes

EXAMPLE_GAP = {
    "id": "G00001", "market": MARKET, "interval": "1h", "mode": "b2dir", "source_interval": "1h", "type": "down",
    "low": 88149.99, "high": 88306, "status": "filled", "start_time_ms": 2 * HOUR_MS, "found_time_ms": 3 * HOUR_MS,
    "touched_time_ms": 3 * HOUR_MS, "closed_time_ms": 3 * HOUR_MS, "close_price": 88306, "detail": {},
}  # fmt: skip


async def store(records: Records, *, market: str = MARKET, mode: GapMode = GapMode.B2DIR) -> None:
    """The worked example, filled at once, and a second gap that stays open."""
    book = GapBook(mode)
    bars = [
        *EXAMPLE,
        priced(3, "88100.00", "88400.00", "88000.00", "88390.00"),
        *(bar(n, *(price * 10**8 for price in prices)) for n, prices in ((10, (5, 6, 4, 5)), (11, (5, 9, 5, 9)),
                                                                          (12, (9, 9, 7, 8)))),
    ]  # fmt: skip
    changes = [change for candle in bars for change in book.handle(candle)]
    await store_changes(records.connection, Series(market, "1h", mode), changes)


@pytest.mark.covers("S0-14")
async def test_gaps_are_listed_newest_first_with_their_whole_life(server: Server, records: Records) -> None:
    assert await server.get("/api/v1/gaps") == {"items": [], "next_cursor": None}
    await store(records)
    answer = await server.get("/api/v1/gaps", market=MARKET)
    assert [gap["id"] for gap in answer["items"]] == ["G00002", "G00001"]
    assert answer["items"][1] == EXAMPLE_GAP
    newest = answer["items"][0]
    assert (newest["status"], newest["touched_time_ms"], newest["closed_time_ms"]) == ("open", None, None)
    assert (newest["low"], newest["high"], newest["close_price"]) == (6, 7, None)


async def test_gaps_are_filtered_and_paged(server: Server, records: Records) -> None:
    await store(records)
    await store(records, market="binance:ETHUSDT")

    async def ids(**query: object) -> list[str]:
        return [gap["id"] for gap in (await server.get("/api/v1/gaps", **query))["items"]]

    assert await ids() == ["G00004", "G00002", "G00003", "G00001"]
    assert await ids(symbol="ETH") == ["G00004", "G00003"]
    assert await ids(status="open") == ["G00004", "G00002"]
    assert await ids(mode="strict") == []
    assert await ids(interval="60M", symbol="BTC") == ["G00002", "G00001"]
    assert await ids(interval="4h") == []
    assert await ids(**{"from": 12 * HOUR_MS, "symbol": "BTC"}) == ["G00002"]
    assert await ids(to=12 * HOUR_MS, symbol="BTC") == ["G00001"]
    page = await server.get("/api/v1/gaps", limit=3)
    rest = await server.get("/api/v1/gaps", limit=3, cursor=page["next_cursor"])
    assert [gap["id"] for gap in page["items"] + rest["items"]] == ["G00004", "G00002", "G00003", "G00001"]
    assert rest["next_cursor"] is None


async def test_wrong_filters_are_named(server: Server, records: Records) -> None:
    for query, field in (
        ({"mode": "fuzzy"}, "mode"),
        ({"status": "closed"}, "status"),
        ({"interval": "7x"}, "interval"),
    ):
        status, problem = await server.refused("/api/v1/gaps", **query)
        assert (status, problem["field"]) == (422, field)
