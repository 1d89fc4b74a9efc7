"""Faults that the control port can order, now or when the replay reaches a time.

============= ================================================ ====================================================
kind          what happens                                     arguments (default)
============= ================================================ ====================================================
drop          every stream connection breaks, without a close  –
refuse        the next stream connections are refused (503)    times (1)
freeze        open connections stay open and say nothing       new (false): connections opened later are silent too
unfreeze      they speak again; what was not sent stays unsent –
duplicate     the next closing frames are sent twice           times (1)
reorder       the next closing frame comes after the one that  times (1)
              follows it
corrupt       the next closing frames are damaged              times (1), how: json (cut short), value (high below low)
lose_minutes  the next minutes are never streamed; REST has    minutes
              them
rest_status   the next REST answers are this error             status, times (1), retry_after (none), path (any)
slow          the next REST answers are late                   seconds, times (1), path (any)
============= ================================================ ====================================================

Each takes ``at_ms``: it happens before the first frame later than that venue time. Without it, it happens at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trading.errors import BadInput

__all__ = ["Fault", "FaultBox", "Kind", "RestFault", "parse_fault"]

Kind = Literal[
    "drop", "refuse", "freeze", "unfreeze", "duplicate", "reorder", "corrupt", "lose_minutes", "rest_status", "slow"
]


class Fault(BaseModel):
    """One order; the module says what each kind does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    at_ms: int | None = None
    times: int = Field(1, ge=1, le=1_000_000)
    minutes: int = Field(0, ge=0, le=1_000_000)
    how: Literal["json", "value"] = "json"
    new: bool = False
    status: int = Field(0, ge=0, le=599)
    retry_after: int | None = Field(None, ge=0)
    seconds: float = Field(0.0, ge=0, le=3600)
    path: str | None = None

    @model_validator(mode="after")
    def _has_its_argument(self) -> Fault:
        if self.kind == "lose_minutes" and not self.minutes:
            raise ValueError("lose_minutes needs minutes")
        if self.kind == "rest_status" and self.status < 400:
            raise ValueError("rest_status needs a status from 400 to 599")
        if self.kind == "slow" and not self.seconds:
            raise ValueError("slow needs seconds")
        return self


def parse_fault(body: object) -> Fault:
    """Return the fault that a control request orders; raise BadInput that names field and fix."""
    try:
        return Fault.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "fault"
        raise BadInput(
            f"Fault: {field}: {first['msg']}.",
            field=field,
            value=first.get("input"),
            fix=f"Kinds are {', '.join(get_args(Kind))}.",
        ) from error


@dataclass(slots=True)
class RestFault:
    """What the next REST answer suffers: ``seconds`` of delay, then an error if ``status`` is set."""

    seconds: float = 0.0
    status: int = 0
    retry_after: int | None = None


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int


class FaultBox:
    """The faults that are yet to come. Pure: the session asks, frame by frame and request by request."""

    def __init__(self) -> None:
        self._scheduled: list[Fault] = []
        self._armed: list[_Armed] = []
        self._lost: list[tuple[int, int]] = []
        self._held: dict[str, str] = {}

    def schedule(self, fault: Fault) -> None:
        """Keep ``fault`` until its ``at_ms``."""
        self._scheduled.append(fault)
        self._scheduled.sort(key=lambda each: each.at_ms or 0)

    @property
    def next_ms(self) -> int | None:
        return self._scheduled[0].at_ms if self._scheduled else None

    def pop(self) -> Fault:
        return self._scheduled.pop(0)

    def arm(self, fault: Fault, next_minute_ms: int) -> bool:
        """Put ``fault`` into effect; False if it is one that the streams themselves must carry out."""
        if fault.kind in {"drop", "freeze", "unfreeze"}:
            return False
        if fault.kind == "lose_minutes":
            self._lost.append((next_minute_ms, next_minute_ms + fault.minutes * 60_000))
        else:
            self._armed.append(_Armed(fault, fault.times))
        return True

    def is_lost(self, open_ms: int) -> bool:
        """Whether the minute that opens at ``open_ms`` is never streamed."""
        return bool(self._lost) and any(start <= open_ms < end for start, end in self._lost)

    def closing(self, stream: str, text: str) -> list[str]:
        """Return what is sent for the closing frame ``text`` of ``stream``: nothing, itself, or several."""
        if not self._armed and not self._held:
            return [text]
        if (earlier := self._held.pop(stream, None)) is not None:
            return [text, earlier]
        if self._use("duplicate"):
            return [text, text]
        if self._use("reorder"):
            self._held[stream] = text
            return []
        if (fault := self._use("corrupt")) is not None:
            return [_damage(text, fault.how)]
        return [text]

    def refuses(self) -> bool:
        """Whether the stream connection that asks now is refused."""
        return self._use("refuse") is not None

    def rest(self, path: str) -> RestFault:
        """Return what the request for ``path`` that asks now suffers."""
        suffered = RestFault()
        if (slow := self._use("slow", path)) is not None:
            suffered.seconds = slow.seconds
        if (error := self._use("rest_status", path)) is not None:
            suffered.status, suffered.retry_after = error.status, error.retry_after
        return suffered

    def pending(self) -> list[dict[str, Any]]:
        """The faults that have not happened, or not as often as ordered, as JSON objects."""
        scheduled = [fault.model_dump(exclude_defaults=True) for fault in self._scheduled]
        return scheduled + [each.fault.model_dump(exclude_defaults=True) | {"left": each.left} for each in self._armed]

    def _use(self, kind: Kind, path: str | None = None) -> Fault | None:
        for armed in self._armed:
            if armed.fault.kind == kind and (armed.fault.path is None or path is None or armed.fault.path in path):
                armed.left -= 1
                if not armed.left:
                    self._armed.remove(armed)
                return armed.fault
        return None


def _damage(text: str, how: str) -> str:
    if how == "json":
        return text[: len(text) * 2 // 3]
    head, tail = text.split('"h":"', 1)
    return f'{head}"h":"0.00000001{tail[tail.index(chr(34)) :]}'
