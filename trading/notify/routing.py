"""Which events become messages: rows for the outbox, written in the transaction of the event itself."""

from __future__ import annotations

from dataclasses import asdict

from trading.config.model import Notify
from trading.events import Event, EventKind
from trading.storage.outbox import OutboxRow

__all__ = ["dedupe_key", "outbox_rows"]

_ACTED = "acted"
# What names the one thing that happened; a cause may have several effects, such as the two fills of a flip.
_OWN_ID = {EventKind.FILL.value: "fill_id", EventKind.DECISION.value: "decision_id"}


def outbox_rows(event: Event, notify: Notify) -> list[OutboxRow]:
    """One row for each channel that wants ``event``; a decision that led to no order is never a message.

    The rows of one event are always the same, so enqueueing them again after a crash adds nothing.
    """
    if event.kind == EventKind.DECISION and event.payload.get("outcome") != _ACTED:
        return []
    key, body = dedupe_key(event), asdict(event)
    return [
        OutboxRow(name, key, str(event.kind), body)
        for name, channel in notify.channels.items()
        if event.kind in channel.events
    ]


def dedupe_key(event: Event) -> str:
    """What two tellings of one happening have in common: its own id, else its cause, else subject and time."""
    own = event.payload.get(_OWN_ID.get(event.kind, ""))
    identity = own or event.cause_id or f"{event.stream}:{event.event_time_ms}"
    return identity if identity.startswith(f"{event.kind}:") else f"{event.kind}:{identity}"
