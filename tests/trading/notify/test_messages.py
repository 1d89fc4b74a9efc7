"""What a message says, and that Discord can take it whatever is in it."""

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.notify.conftest import START_MS, envelope
from trading.notify.messages import discord_body, is_trouble, line, money, percent, utc
from trading.notify.routing import alert_event

DECISION = envelope(
    "decision",
    market="binance:BTCUSDT",
    interval="37m",
    outcome="acted",
    actions=["CLOSE_LONG", "OPEN_SHORT"],
    price="65432.5",
    features={"sma44": 65900.25, "sma125": None},
    confidence=0.42,
    instance_id="ma44-1a2b3c4d",
    book="paper",
)
FILL = envelope(
    "fill",
    market="binance:BTCUSDT",
    interval="37m",
    side="SELL",
    role="exit",
    price="110",
    quantity="2.50000000",
    fee="0.275",
    fee_asset="USDT",
    realized_pnl="25",
    instance_id="ma44-1a2b3c4d",
    book="paper",
)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def embed_of(body: dict[str, Any]) -> dict[str, Any]:
    sent = discord_body(body, username="Manta", dedupe_key="start:one")
    assert sent["allowed_mentions"] == {"parse": []}
    return sent["embeds"][0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("65432.5", "$65,432.50"), ("-12.345", "-$12.34"), (0, "$0.00"), ("0.25", "$0.25"),
        ("0.00001234", "$0.00001234"), ("1e-12", "$0"), (None, ""), ("nan", ""),
        ("", ""), ("many", ""), (True, ""), ("1e400", ""),
    ],
)  # fmt: skip
def test_money(value: object, shown: str) -> None:
    assert money(value) == shown


def test_money_that_is_no_dollar_names_its_currency() -> None:
    assert money("0.015", "BTC") == "0.01500000 BTC"
    assert (money(5, signed=True), money(-5, signed=True), money(0, signed=True)) == ("+$5.00", "-$5.00", "$0.00")


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(0.0123, "+1.23%"), ("-0.005", "-0.50%"), (12.5, "+1,250.00%"), (0, "0.00%"), (-0.00001, "0.00%"), (None, "")],
)
def test_percent(fraction: object, shown: str) -> None:
    assert percent(fraction) == shown


def test_times_are_utc_to_the_second() -> None:
    assert utc(START_MS + 999) == "2025-11-02 14:35:00 UTC"


def test_a_decision_says_what_where_and_why() -> None:
    assert line(DECISION) == (
        "Decision: CLOSE_LONG, OPEN_SHORT binance:BTCUSDT · interval 37m, price $65,432.50, sma44 65,900.25, "
        "confidence 0.4200, instance ma44-1a2b3c4d, book paper · 2025-11-02 14:35:00 UTC"
    )


def test_a_closing_fill_says_its_result_in_money_and_as_a_share_of_what_the_position_cost() -> None:
    assert line(FILL) == (
        "Fill: SELL 2.5 binance:BTCUSDT · price $110.00, value $275.00, fee $0.275, result +$25.00 (+10.00%), "
        "interval 37m, instance ma44-1a2b3c4d, book paper · 2025-11-02 14:35:00 UTC"
    )


def test_covering_a_short_at_a_loss_is_a_loss() -> None:
    short = {**FILL, "payload": {**FILL["payload"], "side": "BUY", "realized_pnl": "-25"}}
    assert "result -$25.00 (-10.00%)" in line(short)


def test_an_opening_fill_has_no_result() -> None:
    assert "result" not in line({**FILL, "payload": {**FILL["payload"], "role": "entry", "realized_pnl": "0"}})


def test_start_stop_and_freshness() -> None:
    started = envelope("start", markets=["binance:BTCUSDT"], strategies=["ma44", "ma125"], origin="simulator")
    assert line(started) == (
        "Manta started · markets binance:BTCUSDT, strategies ma44, ma125, data simulator · 2025-11-02 14:35:00 UTC"
    )
    assert line(envelope("stop")).startswith("Manta stopped · 2025")
    down = envelope("stale", "no closed minute for 3 min", market="binance:BTCUSDT")
    assert line(down).startswith(
        "Stale: binance:BTCUSDT · reason no closed minute for 3 min,"
        " meaning its targets are not acted on until it is fresh again · "
    )
    assert line(envelope("fresh", market="binance:BTCUSDT")).startswith("Fresh again: binance:BTCUSDT · ")


def test_a_possible_repeat_says_so_in_every_channel() -> None:
    assert line(FILL, maybe_duplicate=True).endswith("(possible repeat)")
    body = discord_body(FILL, username="Manta", dedupe_key="fill:a:1", maybe_duplicate=True)
    assert body["embeds"][0]["title"].endswith("(possible repeat)")
    assert body["embeds"][0]["footer"]["text"] == "possible repeat · fill:a:1"


def test_discord_gets_an_embed_with_the_same_words() -> None:
    embed = embed_of(DECISION)
    assert embed["title"] == r"Decision: CLOSE\_LONG, OPEN\_SHORT binance:BTCUSDT"
    assert embed["description"] == "2025-11-02 14:35:00 UTC"
    assert embed["timestamp"] == "2025-11-02T14:35:00Z"
    assert {"name": "price", "value": "$65,432.50", "inline": True} in embed["fields"]
    assert "sma125" not in {field["name"] for field in embed["fields"]}


@pytest.mark.parametrize("ping", ["@everyone", "@here", "@EVERYONE", "<@42>", "<@&7>"])
def test_nothing_in_a_message_pings_anybody(ping: str) -> None:
    shown = str(embed_of(envelope("stop", f"hello {ping}")))
    assert ping not in shown
    assert ping not in str(embed_of({**envelope("stale"), "stream": ping}))


def test_markup_is_shown_as_it_was_written() -> None:
    assert embed_of(envelope("stop", "**b** `c` [d](e)"))["fields"][0]["value"] == r"\*\*b\*\* \`c\` \[d\](e)"


@given(st.text(max_size=7000), st.dictionaries(st.text(max_size=300), st.floats() | st.none(), max_size=40))
def test_discord_s_limits_hold_whatever_is_told(text: str, features: dict[str, float | None]) -> None:
    payload = {"market": text, "actions": [text], "features": features, "instance_id": text * 2, "price": text}
    for kind in ("decision", "fill", "stop", "something new"):
        embed = embed_of({**envelope(kind, text), "payload": {"reason": text, **payload}})
        fields = [part for field in embed["fields"] for part in (field["name"], field["value"])]
        parts = [embed["title"], embed["description"], embed["footer"]["text"], *fields]
        assert all(0 < units(part) <= limit for part, limit in zip(parts, [256, 4096, 2048], strict=False))
        assert all(0 < units(part) <= 1024 for part in fields)
        assert all(units(field["name"]) <= 256 for field in embed["fields"])
        assert len(embed["fields"]) <= 25
        assert sum(map(units, parts)) <= 6000


@pytest.mark.parametrize("body", [{}, {"payload": None}, {"kind": 5, "payload": [], "event_time_ms": "noon"}])
def test_a_body_that_lacks_everything_is_still_a_message(body: dict[str, Any]) -> None:
    assert line(body)
    assert embed_of(body)["title"]


def test_an_alert_says_what_is_wrong_and_its_end_looks_like_good_news() -> None:
    began, ended = (
        asdict(
            alert_event("hole:7", "Data are missing", "10 minutes of BTCUSDT.", START_MS, "binance:BTCUSDT", over=over)
        )
        for over in (False, True)
    )
    assert line(began) == "Data are missing · message 10 minutes of BTCUSDT. · 2025-11-02 14:35:00 UTC"
    assert (is_trouble(began), is_trouble(ended)) == (True, False)
    assert embed_of(began)["color"] == embed_of(envelope("stale"))["color"]
    assert embed_of(ended)["color"] == embed_of(envelope("fresh"))["color"]


@pytest.mark.parametrize("kind", ["start", "stop", "decision", "fill", "feed_up"])
def test_what_merely_happened_is_no_trouble(kind: str) -> None:
    assert not is_trouble(envelope(kind))
    assert is_trouble(envelope("stale"))
