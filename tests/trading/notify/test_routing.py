"""Which events become messages, and that the same event always becomes the same rows."""

import json

import pytest

from trading.config.model import Notify
from trading.events import Event, EventKind
from trading.notify.routing import alert_event, dedupe_key, outbox_rows

MINUTE_MS = 60_000


def notify(**channels: list[str]) -> Notify:
    return Notify.model_validate(
        {"channels": {name: {"kind": "log", "events": events} for name, events in channels.items()}}
    )


def event(kind: str, cause_id: str = "", **payload: object) -> Event:
    return Event(kind, 5 * MINUTE_MS, "binance:BTCUSDT", payload=payload, cause_id=cause_id)


def test_a_message_goes_to_the_channels_that_want_its_kind_and_to_no_other() -> None:
    wanted = notify(phone=["fill"], desk=["fill", "decision"], night=["stale"])
    assert [row.channel for row in outbox_rows(event("fill"), wanted)] == ["phone", "desk"]
    assert outbox_rows(event("fill"), notify()) == []


@pytest.mark.parametrize("kind", [EventKind.CANDLE, EventKind.SIGNAL, EventKind.HOLE, EventKind.FORMING])
def test_what_happens_every_minute_is_no_message(kind: EventKind) -> None:
    assert outbox_rows(event(kind), Notify()) == []


def test_a_market_that_is_stale_is_one_message_and_its_connection_none() -> None:
    """A connection that is lost for long makes the market stale, and that is what is told."""
    assert len(outbox_rows(event(EventKind.STALE, "s1"), Notify())) == len(Notify().channels) > 0
    assert [outbox_rows(event(kind, "f1"), Notify()) for kind in (EventKind.FEED_DOWN, EventKind.FEED_UP)] == [[], []]


@pytest.mark.parametrize("outcome", ["hold", "warming", "hole", "late", "stale", "risk", None])
def test_a_decision_that_sent_no_order_is_no_message(outcome: str | None) -> None:
    assert outbox_rows(event("decision", "d1", outcome=outcome, actions=[]), Notify()) == []


def test_a_decision_that_acted_is_a_message_with_the_whole_envelope() -> None:
    told = event(EventKind.DECISION, "d1", outcome="acted", actions=["CLOSE_LONG", "OPEN_SHORT"])
    (row,) = outbox_rows(told, Notify())
    assert row.kind == "decision"
    assert json.loads(json.dumps(row.body)) == {
        "kind": "decision",
        "event_time_ms": 5 * MINUTE_MS,
        "stream": "binance:BTCUSDT",
        "payload": {"outcome": "acted", "actions": ["CLOSE_LONG", "OPEN_SHORT"]},
        "cause_id": "d1",
        "received_ns": 0,
        "v": 1,
        "seq": 0,
    }


def test_one_event_has_one_key_however_often_it_is_told() -> None:
    first, again = (outbox_rows(event("start", "session-1"), Notify()) for _ in range(2))
    assert first == again


def test_both_fills_of_a_flip_are_told_although_one_decision_caused_them() -> None:
    closing, opening = (event("fill", "d1", fill_id=fill_id) for fill_id in ("a:1", "b:1"))
    assert dedupe_key(closing) != dedupe_key(opening)


def test_a_decision_and_its_fill_are_two_messages_although_they_share_a_cause() -> None:
    assert dedupe_key(event("decision", "d1")) != dedupe_key(event("fill", "d1"))


def test_without_a_cause_subject_and_time_tell_events_apart() -> None:
    down, later = event("feed_down"), Event("feed_down", 6 * MINUTE_MS, "binance:BTCUSDT")
    assert len({dedupe_key(down), dedupe_key(later), dedupe_key(event("feed_up"))}) == 3


def test_an_alert_reaches_every_channel_whatever_it_wants() -> None:
    told = alert_event("book:paper:5", "Book paper is halted", "See manta status.", 5 * MINUTE_MS, "paper")
    rows = outbox_rows(told, notify(phone=["fill"], night=[]))
    assert [(row.channel, row.dedupe_key, row.kind) for row in rows] == [
        ("phone", "alert:book:paper:5", "alert"),
        ("night", "alert:book:paper:5", "alert"),
    ]


def test_the_cause_of_an_alert_is_its_key_and_its_end_is_a_message_of_its_own() -> None:
    began, again, ended = (
        alert_event(cause, "Data are missing", "", time_ms, "binance:BTCUSDT", over=cause.endswith("over"))
        for cause, time_ms in (("hole:7", MINUTE_MS), ("hole:7", 2 * MINUTE_MS), ("hole:7:over", 3 * MINUTE_MS))
    )
    assert dedupe_key(began) == dedupe_key(again) != dedupe_key(ended)
