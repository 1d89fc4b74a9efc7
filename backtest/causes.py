"""Why live and reference differ: every difference between two runs, and a cause where one is known.

A cause is *proved*, not guessed: a difference counts as explained by late knowledge of candles only if it is gone when
the reference is given what the live run knew, when it knew it.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from backtest.compare import Comparison, compare
from backtest.incidents import Incident
from backtest.reference import RunRecords
from trading.accounts.books import MONEY
from trading.accounts.records import Decision, EquityMark, Fill, Order, Transfer
from trading.brain import FeatureValue
from trading.events import Signal, SignalStatus
from trading.intervals import MINUTE_MS
from trading.storage.parity import ParityDifference

__all__ = [
    "Cause",
    "Finding",
    "all_differences",
    "blind_times",
    "explain_change",
    "explain_knowledge",
    "explain_revisions",
    "suppressed_differences",
    "told",
]

_LONGEST_TEXT = 300
_CHANGEOVER_MS = 10 * MINUTE_MS
_DECISION_FACTS = (
    "instance_id", "market", "interval", "open_ms", "close_ms", "actions", "target", "confidence", "price",
    "position_before", "features",
)  # fmt: skip


class Cause(StrEnum):
    """The word for a cause. The first seven explain a difference; VALUE, MISSING and EXTRA are unexplained."""

    LATE = "late"
    STALE = "stale"
    RISK = "risk"
    REVISED = "revised"
    HEALED = "healed"
    CONFIG = "config"
    DOWNTIME = "downtime"
    VALUE = "value"
    MISSING = "missing"
    EXTRA = "extra"


@dataclass(slots=True)
class Finding:
    """One raw difference. ``cause`` and ``detail`` change when it is explained. ``hole``: a signal that held live."""

    time_ms: int
    kind: str
    key: Any
    field: str | None
    live: Any
    reference: Any
    cause: Cause
    detail: str
    explained: bool = False
    market: str = ""
    sleeve: tuple[str, str, str] | None = None
    hole: bool = False

    @property
    def place(self) -> tuple[str, Any]:
        return self.kind, self.key

    def explain(self, cause: Cause, detail: str) -> None:
        self.cause, self.detail, self.explained = cause, detail, True


@dataclass(slots=True)
class _Collected(Comparison):
    findings: list[Finding] = field(default_factory=list)

    def differs(self, time_ms: int, **difference: Any) -> None:
        Comparison.differs(self, time_ms, **difference)
        live, reference = difference["live"], difference["reference"]
        if difference["field"] is not None:
            cause, detail = Cause.VALUE, _value_detail(difference["field"], live, reference, difference["cause"])
        elif live is None:
            cause, detail = Cause.MISSING, f"the reference made this {difference['kind']}, the live run never did"
        else:
            cause, detail = Cause.EXTRA, f"nothing in the candles leads to this {difference['kind']}"
        self.findings.append(
            Finding(time_ms, difference["kind"], difference["key"], difference["field"], live, reference, cause, detail)
        )


def all_differences(live: RunRecords, reference: RunRecords) -> list[Finding]:
    """Every difference, in order of time. Suppressed decisions are none, if ``reference`` was told of them."""
    found = _Collected()
    compare(live, reference, found)
    findings = [*found.findings, *_untrue_suppressions(live, reference)]
    places = _places(live, reference)
    held = {
        (item.instance_id, item.market, item.interval, item.open_time_ms)
        for item in live.signals
        if item.status == SignalStatus.HOLE
    }
    for finding in findings:
        finding.hole = finding.kind == "signal" and finding.key in held
        finding.market, finding.sleeve = places.get(finding.place, ("", None))
    return sorted(findings, key=lambda finding: finding.time_ms)


def suppressed_differences(live: RunRecords, wrong: Iterable[Finding]) -> list[Finding]:
    """The decisions that were not acted on though they were due: explained, never equal."""
    known = {finding.key for finding in wrong if finding.kind == "decision"}
    reasons = live.suppressed()
    return [
        Finding(
            item.close_ms, "decision", item.decision_id, "outcome", item.outcome, "acted", Cause(item.outcome),
            item.reason or f"suppressed as {item.outcome}", True, item.market,
            (item.instance_id, item.market, item.interval),
        )
        for item in live.decisions
        if item.decision_id in reasons and item.decision_id not in known
    ]  # fmt: skip


def explain_knowledge(findings: Iterable[Finding], as_known: Sequence[Finding], incidents: Sequence[Incident]) -> None:
    """Explain the findings that are gone ``as_known``: when the reference knew the candles as the live run did.

    One that is still there is told as it is then, without what the late knowledge adds to it.
    """
    left = {finding.place: finding for finding in as_known}
    for finding in findings:
        if finding.explained:
            continue
        if (other := left.get(finding.place)) is not None:
            finding.field, finding.live, finding.reference = other.field, other.live, other.reference
            finding.cause, finding.detail = other.cause, other.detail
            continue
        before = [item for item in incidents if item.market == finding.market and item.from_ms < finding.time_ms]
        if before:
            finding.explain(Cause(before[-1].cause), _incident_detail(before[-1]))


def explain_revisions(findings: Iterable[Finding], live: RunRecords, noted: Set[tuple[str, str, int]]) -> None:
    """Explain the findings that are nothing but an older revision of a candle whose repair was ``noted`` (I2).

    ``noted`` holds (market, interval, open time). All other values agree: what was repaired is nothing they see.
    """
    candles: dict[tuple[str, Any], tuple[str, str, int]] = {
        ("decision", item.decision_id): (item.market, item.interval, item.open_ms) for item in live.decisions
    }
    candles |= {
        ("signal", (item.instance_id, item.market, item.interval, item.open_time_ms)):
            (item.market, item.interval, item.open_time_ms)
        for item in live.signals
    }  # fmt: skip
    for finding in findings:
        older = finding.field == "candle_revision" and finding.live < finding.reference
        if older and not finding.explained and candles.get(finding.place) in noted:
            finding.explain(Cause.REVISED, "the candle was revised after it had been used, in nothing that was seen")


def blind_times(findings: Iterable[Finding]) -> dict[str, list[int]]:
    """By market, when the live run had no feature or a hole where the reference had none."""
    found: dict[str, list[int]] = {}
    for finding in findings:
        blind = finding.kind == "feature" and finding.live is None and finding.field is not None
        if blind or (finding.kind == "signal" and finding.hole):
            found.setdefault(finding.market, []).append(finding.time_ms)
    return found


def explain_change(findings: Iterable[Finding], unchanged: Sequence[Finding], change_ms: int) -> None:
    """Explain the findings right after a change of configuration that are gone when it is taken back.

    Actors change over one after the other, each where it stands; what they still did the old way is no riddle, but only
    for a while.
    """
    left = {finding.place for finding in unchanged}
    for finding in findings:
        soon = change_ms < finding.time_ms <= change_ms + _CHANGEOVER_MS
        if soon and not finding.explained and finding.place not in left:
            finding.explain(
                Cause.CONFIG, f"the configuration changed at {_minute(change_ms)}; this still followed the old"
            )


def told(finding: Finding) -> ParityDifference:
    """The finding as it is stored and shown."""
    key = " ".join(map(str, finding.key)) if isinstance(finding.key, tuple) else str(finding.key)
    where = " ".join(finding.sleeve) if finding.sleeve else finding.market
    detail = f"{where}: {finding.detail}" if where and where not in key else finding.detail
    return ParityDifference(
        finding.time_ms, finding.kind, key, finding.field, shown(finding.live), shown(finding.reference),
        finding.cause.value, detail, finding.explained,
    )  # fmt: skip


def shown(value: Any) -> str | None:
    """A value as text: numbers with every digit, a whole record as what matters of it."""
    match value:
        case None:
            return None
        case float():
            text = repr(value)
        case Decimal():
            text = f"{MONEY.normalize(value):f}"
        case _:
            text = _in_short(value)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _in_short(value: Any) -> str:
    match value:
        case Decision():
            return f"{value.outcome} {' '.join(value.actions) or 'HOLD'} at {value.price}"
        case Order():
            return f"{value.action} {value.quantity or value.quote_amount} {value.status}"
        case Fill():
            return f"{value.side} {value.quantity} at {value.price}"
        case Transfer():
            return f"{value.kind} {value.amount} {value.currency}"
        case EquityMark():
            return f"equity {value.equity}"
        case Signal():
            return f"{value.target} {value.status} {value.features}"
        case FeatureValue():
            return repr(value.value)
    return str(value)


def _untrue_suppressions(live: RunRecords, reference: RunRecords) -> list[Finding]:
    """Suppressed decisions that the reference, made not to act on them, sees otherwise in anything else."""
    theirs = {item.decision_id: item for item in reference.decisions}
    reasons = live.suppressed()
    found = []
    for item in live.decisions:
        if item.decision_id not in reasons:
            continue
        other = theirs.get(item.decision_id)
        if other is None:
            detail = "nothing in the candles leads to this decision, suppressed or not"
            found.append(Finding(item.close_ms, "decision", item.decision_id, None, item, None, Cause.EXTRA, detail))
            continue
        for name in _DECISION_FACTS:
            left, right = getattr(item, name), getattr(other, name)
            if left != right:
                detail = _value_detail(name, left, right, "the decision was suppressed, but differs in more than that")
                found.append(
                    Finding(item.close_ms, "decision", item.decision_id, name, left, right, Cause.VALUE, detail)
                )
                break
    return found


def _value_detail(name: str, live: Any, reference: Any, guess: str) -> str:
    """What differs by how much; ``guess`` is what usually lies behind it."""
    return f"{name} differs{_distance(live, reference)}: {guess}"


def _distance(live: Any, reference: Any) -> str:
    if isinstance(live, dict) and isinstance(reference, dict):
        unequal = [key for key in live.keys() | reference.keys() if live.get(key) != reference.get(key)]
        if len(unequal) == 1:
            return f" in {unequal[0]}{_distance(live.get(unequal[0]), reference.get(unequal[0]))}"
        return f" in {', '.join(sorted(unequal))}"
    if isinstance(live, float) and isinstance(reference, float) and math.isfinite(live - reference):
        steps = abs(live - reference) / math.ulp(reference)
        return f" by {steps:.0f} unit{'s' if steps > 1 else ''} in the last place" if steps < 1e6 else ""
    if isinstance(live, Decimal) and isinstance(reference, Decimal):
        return f" by {MONEY.normalize(MONEY.subtract(live, reference)):+f}"
    return ""


def _incident_detail(incident: Incident) -> str:
    if incident.cause == Cause.REVISED:
        return f"the candle of {_minute(incident.from_ms)} was revised after it had been used"
    return f"the minutes from {_minute(incident.from_ms)} were missing and became known at {_minute(incident.known_ms)}"


def _minute(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _places(live: RunRecords, reference: RunRecords) -> Mapping[tuple[str, Any], tuple[str, Any]]:
    """(kind, key) → market and sleeve of everything that either side has."""
    places: dict[tuple[str, Any], tuple[str, Any]] = {}
    for run in (reference, live):
        for value in run.features:
            places["feature", (value.market, value.interval, value.name, value.open_time_ms)] = (value.market, None)
        for mark in run.equity:
            places["equity", (mark.market, mark.time_ms)] = (mark.market, None)
        for signal in run.signals:
            sleeve = (signal.instance_id, signal.market, signal.interval)
            places["signal", (*sleeve, signal.open_time_ms)] = (signal.market, sleeve)
        named = (
            ("decision", "decision_id", run.decisions),
            ("order", "order_id", run.orders.values()),
            ("transfer", "transfer_id", run.transfers),
        )
        for fill in run.fills:
            places["fill", (fill.order_id, fill.time_ms, fill.lot)] = (fill.market, fill.sleeve)
        for kind, name, items in named:
            for item in items:
                sleeve = (item.instance_id, item.market, item.interval)
                places[kind, getattr(item, name)] = (item.market, sleeve)
    return places
