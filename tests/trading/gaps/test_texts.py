"""The words of messages are those the first gap monitor used, and they arrive whole in every channel."""

import pytest

from trading.candles import to_units
from trading.config.model import Notify
from trading.events import Event
from trading.gaps.texts import closed_event, found_event, list_event, moment, monitor_event, price
from trading.notify.messages import discord_body, line
from trading.notify.routing import outbox_rows
from trading.storage.price_gaps import StoredGap

START_MS = 1_766_322_000_000  # 2025-12-21 13:00 UTC
GAP = StoredGap(
    "G00001", "binance:BTCUSDT", "1h", "b2dir", "1m", "down", to_units("88149.99"), to_units("88306.00"), "filled",
    START_MS, START_MS + 3_600_000, START_MS + 3_600_000, START_MS + 7_200_000, to_units("88306.00"),
)  # fmt: skip


@pytest.mark.covers("S0-14", "S0-23")
def test_a_found_gap_says_where_and_when_in_two_zones() -> None:
    event = found_event(GAP, "Europe/Berlin")
    text = "Gap found G00001 1h down 88149.99 - 88306.00 @21DEC25 - 13:00:00 UTC (14:00:00 CET)"
    assert event.payload["text"] == text
    assert event.event_time_ms == START_MS + 3_600_000
    assert line_of(event).startswith(f"{text} · market binance:BTCUSDT, mode b2dir, source candles of 1m")
    embed = discord_body(body_of(event), username="Manta", dedupe_key="gap:G00001:found")["embeds"][0]
    assert embed["title"] == text


def test_a_closed_gap_says_its_edge() -> None:
    event = closed_event(GAP, START_MS + 10_800_000)
    assert event.payload["text"] == "Gap closed G00001 1h down gap filled at 88306.00"


def test_the_list_has_a_line_for_each_gap() -> None:
    event = list_event("binance:BTCUSDT", "1h", "b2dir", [GAP] * 3, 15, START_MS, "UTC")
    assert event.payload["text"] == "3 gaps in the last 15 bars for 1h:"
    assert event.payload["lines"] == [["21DEC25 - 13:00:00 UTC", "DOWN 88149.99 - 88306.00 (G00001)"]] * 3
    fields = discord_body(body_of(event), username="Manta", dedupe_key="x")["embeds"][0]["fields"]
    assert [field["name"] for field in fields[:3]] == ["21DEC25 - 13:00:00 UTC"] * 3


@pytest.mark.covers("S0-22")
def test_the_watch_says_when_it_begins_and_ends() -> None:
    started, stopped = (monitor_event(state, "s1", 0) for state in ("started", "stopped"))
    assert (started.payload["text"], stopped.payload["text"]) == (
        "Bitcoin gap monitor started",
        "Bitcoin gap monitor stopped",
    )
    keys = [row.dedupe_key for event in (started, stopped, found_event(GAP, "UTC")) for row in rows_of(event)]
    assert keys == ["gap:started:s1", "gap:stopped:s1", "gap:G00001:found"]


@pytest.mark.parametrize(
    ("units", "text"),
    [(8_830_600_000_000, "88306.00"), (1_234, "0.00001234"), (150_000_000, "1.50"), (1, "0.00000001")],
)
def test_prices_have_two_decimals_or_as_many_as_they_need(units: int, text: str) -> None:
    assert price(units) == text


def test_summer_time_is_named_and_one_clock_is_enough_in_utc() -> None:
    july = 1_751_371_200_000
    assert moment(july, "Europe/Berlin") == "01JUL25 - 12:00:00 UTC (14:00:00 CEST)"
    assert moment(july, "America/New_York") == "01JUL25 - 12:00:00 UTC (08:00:00 EDT)"
    assert moment(july, "UTC") == "01JUL25 - 12:00:00 UTC"


def body_of(event: Event) -> dict[str, object]:
    return {"kind": event.kind, "event_time_ms": event.event_time_ms, "stream": event.stream, "payload": event.payload}


def line_of(event: Event) -> str:
    return line(body_of(event))


def rows_of(event: Event) -> list[object]:
    return list(outbox_rows(event, Notify()))
