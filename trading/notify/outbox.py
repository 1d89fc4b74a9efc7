"""What becomes of a message after a try to send it: pure, so that every answer of a channel can be tested in a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Answer", "Fate", "Jitter", "Verdict", "decide"]

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0
_LONGEST_WAIT_S = 86_400.0

Jitter = Callable[[float, float], float]
"""Like ``random.uniform``."""


class Verdict(StrEnum):
    """What a channel made of a message.

    ACCEPTED: it has it. FAILED: not now. BAD_MESSAGE: never this one. BAD_CHANNEL: none, until somebody repairs it.
    """

    ACCEPTED = "accepted"
    FAILED = "failed"
    BAD_MESSAGE = "bad_message"
    BAD_CHANNEL = "bad_channel"


@dataclass(frozen=True, slots=True)
class Answer:
    """``wait_s``: how long the channel wants to be left alone. ``may_have_arrived``: a failed try perhaps succeeded."""

    verdict: Verdict
    reason: str = ""
    wait_s: float = 0.0
    may_have_arrived: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """Sent, dead, or to be tried again after ``retry_s``; exactly one of them.

    ``pause_s`` is how long the channel sends nothing at all. ``disable`` ends it until the next start. ``alert``,
    unless empty, is to be told through another channel.
    """

    sent: bool = False
    dead: bool = False
    retry_s: float | None = None
    maybe_duplicate: bool = False
    pause_s: float = 0.0
    disable: bool = False
    error: str = ""
    alert: str = ""


def decide(answer: Answer, attempts: int, max_attempts: int, jitter: Jitter) -> Fate:
    """The fate of a message whose try number ``attempts`` (from 1) got ``answer``.

    A refused channel keeps its messages: they go out after a start with a channel that works.
    """
    wait_s = _sane(answer.wait_s)
    if answer.verdict is Verdict.ACCEPTED:
        return Fate(sent=True, pause_s=wait_s)
    if answer.verdict is Verdict.BAD_CHANNEL:
        alert = f"disabled until the next start: {answer.reason}"
        return Fate(retry_s=0.0, disable=True, error=answer.reason, alert=alert)
    if answer.verdict is Verdict.BAD_MESSAGE:
        return Fate(dead=True, error=answer.reason, alert=f"a message was refused: {answer.reason}")
    if attempts >= max_attempts:
        alert = f"gave up a message after {attempts} tries: {answer.reason}"
        return Fate(dead=True, pause_s=wait_s, error=answer.reason, alert=alert)
    ceiling_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 30))
    # A wait the channel asked for is a floor; what is added keeps several senders from returning together.
    delay_s = wait_s + jitter(0.0, ceiling_s if wait_s == 0 else min(ceiling_s, FIRST_DELAY_S))
    return Fate(retry_s=delay_s, maybe_duplicate=answer.may_have_arrived, pause_s=delay_s, error=answer.reason)


def _sane(wait_s: float) -> float:
    return min(max(wait_s, 0.0), _LONGEST_WAIT_S) if math.isfinite(wait_s) else 0.0
