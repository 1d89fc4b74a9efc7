"""Which events become messages: rows for the outbox, written in the transaction of the event itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from trading.config.model import Notify
from trading.events import Event, EventKind
from trading.storage import events as event_table
from trading.storage import outbox
from trading.storage.database import Connection
from trading.storage.outbox import OutboxRow

__all__ = ["alert_event", "dedupe_key", "outbox_rows", "tell"]

_ACTED = "acted"
# What names the one thing that happened; a cause may have several effects, such as the two fills of a flip.
_OWN_ID = {EventKind.FILL.value: "fill_id", EventKind.DECISION.value: "decision_id"}


def alert_event(
    cause_id: str, title: str, message: str, event_time_ms: int, stream: str, *, over: bool = False
) -> Event:
    """Trouble that the user must hear of, whatever a channel's ``events`` say; ``over``: it has ended.

    ``cause_id`` names the one occurrence: two alerts with the same one are one message, so put into it what makes this
    occurrence new (when it began, the day, the row's id), and for its end something else than for its beginning.
    ``title`` is one line, ``message`` says what it means and what to do; ``stream`` is the subject, such as a market.
    """
    payload = {"title": title, "message": message, "over": over}
    return Event(EventKind.ALERT, event_time_ms, stream, payload, cause_id)


async def tell(connection: Connection, events: Iterable[Event], notify: Notify) -> None:
    """Append ``events`` and enqueue their messages; call it last in the transaction of what they tell."""
    told = list(events)
    await outbox.enqueue(connection, [row for event in told for row in outbox_rows(event, notify)])
    await event_table.append_events(connection, told)


def outbox_rows(event: Event, notify: Notify) -> list[OutboxRow]:
    """One row for each channel that wants ``event``, for an alert each channel there is; a decision that led to no
    order is never a message.

    The rows of one event are always the same, so enqueueing them again after a crash adds nothing.
    """
    if event.kind == EventKind.DECISION and event.payload.get("outcome") != _ACTED:
        return []
    wanted = [
        name
        for name, channel in notify.channels.items()
        if event.kind == EventKind.ALERT or event.kind in channel.events
    ]
    # Candles pass here by the thousand, and nobody wants them.
    return _rows(event, wanted) if wanted else []


def _rows(event: Event, channels: Iterable[str]) -> list[OutboxRow]:
    key, body = dedupe_key(event), asdict(event)
    return [OutboxRow(name, key, str(event.kind), body) for name in channels]


def dedupe_key(event: Event) -> str:
    """What two tellings of one happening have in common: its own id, else its cause, else subject and time."""
    own = event.payload.get(_OWN_ID.get(event.kind, ""))
    identity = own or event.cause_id or f"{event.stream}:{event.event_time_ms}"
    return identity if identity.startswith(f"{event.kind}:") else f"{event.kind}:{identity}"
