"""How the whole stands, in words: what is stale, behind, warming, held back, unanswered or waiting, and why.

Facts come from storage (``trading.storage.condition``); here is the judgement over them. The HTTP API and ``manta
status`` say the same, because both say this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "ActorState",
    "ChannelState",
    "Condition",
    "CursorState",
    "HeldPosition",
    "InstanceState",
    "MarketState",
    "OpenOrder",
    "ParityState",
    "Reason",
    "judge",
    "report",
    "span_text",
]

STALE_AFTER_S = 120
DOWN_AFTER_S = 300
_BEHIND_MS = 180_000
_MOVING_S = 30.0
_WAITING_S = 120.0
_CHECKED_S = 120.0
_RANK = {"note": 0, "ok": 0, "degraded": 1, "down": 2}
_STAGES = ("timeframe", "brain", "execution")


class MarketState(NamedTuple):
    """One market's data. ``feed`` is up, down or unknown; ``why`` what its feed said when it went down.

    ``stale`` is why its targets are not acted on, empty while they are; ``stale_since_ms`` when that began.
    """

    market: str
    last_close_ms: int | None
    feed: str
    why: str
    holes: int
    stale: str = ""
    stale_since_ms: int | None = None


class CursorState(NamedTuple):
    """How far a consumer has come, and how many seconds ago it last moved by the database's clock."""

    name: str
    position_ms: int
    moved_s: float


class InstanceState(NamedTuple):
    """The newest signal of an instance on one market and interval; ``status`` is ``none`` before the first."""

    name: str
    book: str
    market: str
    interval: str
    status: str
    have: int
    need: int


class OpenOrder(NamedTuple):
    """An order whose end is not known yet."""

    order_id: str
    book: str
    market: str
    action: str
    status: str
    reason: str
    since_ms: int


class ChannelState(NamedTuple):
    """One channel of the outbox. ``oldest_s``: how long the oldest message has waited past its time."""

    channel: str
    waiting: int
    dead: int
    oldest_s: float
    last_error: str


class ActorState(NamedTuple):
    """What the supervisor found when it last asked an actor, ``checked_s`` seconds ago; ``since_s``: in this state."""

    actor: str
    state: str
    pid: int | None
    restarts: int
    detail: str
    since_s: float
    checked_s: float


class ParityState(NamedTuple):
    """The newest nightly comparison of a book with the reference."""

    book: str
    day: str
    status: str
    explained: int
    unexplained: int
    error: str


class HeldPosition(NamedTuple):
    """A position that no configured instance has; ``closing``: its book wants it closed."""

    name: str
    book: str
    market: str
    interval: str
    quantity: str
    closing: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """Facts of one moment. ``now_ms`` is the venue's time, or the replay's own in a simulation."""

    now_ms: int
    simulated: bool
    markets: Sequence[MarketState] = ()
    cursors: Sequence[CursorState] = ()
    instances: Sequence[InstanceState] = ()
    orders: Sequence[OpenOrder] = ()
    channels: Sequence[ChannelState] = ()
    actors: Sequence[ActorState] = ()
    parity: Sequence[ParityState] = ()
    held: Sequence[HeldPosition] = ()
    books: Sequence[dict[str, Any]] = field(default=())


class Reason(NamedTuple):
    """One thing that is not as it should be. ``level``: down, degraded, or note, which is no fault."""

    level: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


def judge(condition: Condition) -> list[Reason]:
    """Everything worth saying, the worst first."""
    found = [
        *(reason for market in condition.markets for reason in _market(market, condition)),
        *_behind(condition),
        *_actors(condition),
        *_orders(condition),
        *_channels(condition),
        *_instances(condition),
        *_held(condition),
        *_parity(condition),
    ]
    return sorted(found, key=lambda reason: -_RANK[reason.level])


def report(condition: Condition) -> dict[str, Any]:
    """The health answer: a status, its reasons, and the facts by market."""
    reasons = judge(condition)
    return {
        "status": max(
            (reason.level for reason in reasons if reason.level != "note"), key=_RANK.__getitem__, default="ok"
        ),
        "database": "ok",
        "reasons": [str(reason) for reason in reasons if reason.level != "note"],
        "notes": [str(reason) for reason in reasons if reason.level == "note"],
        "clock": "simulated" if condition.simulated else "venue",
        "now": condition.now_ms,
        "origin": "simulator" if condition.simulated else "venue",
        "books": [dict(book) for book in condition.books],
        "markets": [_market_report(market, condition) for market in condition.markets],
        "behind": [
            {"consumer": consumer, "market": market, "lag_s": lag_ms / 1000}
            for consumer, market, lag_ms, _ in _lags(condition)
        ],
        "orders": [order._asdict() for order in condition.orders],
        "outbox": [channel._asdict() for channel in condition.channels],
        "actors": [actor._asdict() for actor in condition.actors],
        "parity": [run._asdict() for run in condition.parity],
        "held": [item._asdict() for item in condition.held],
    }


def span_text(seconds: float) -> str:
    """A duration in one or two words a person would use: ``45 s``, ``12 min``, ``3.5 h``, ``2.1 days``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _age_s(market: MarketState, condition: Condition) -> float | None:
    return None if market.last_close_ms is None else max(0, condition.now_ms - market.last_close_ms) / 1000


def _market(market: MarketState, condition: Condition) -> Iterator[Reason]:
    age_s = _age_s(market, condition)
    if age_s is None:
        yield Reason("down", market.market, "no closed 1m candle yet")
    elif age_s > STALE_AFTER_S:
        level = "down" if age_s > DOWN_AFTER_S else "degraded"
        if _moves(f"recorder:{market.market}", condition):
            yield Reason(level, market.market, f"catching up: recorded until {span_text(age_s)} ago")
        else:
            yield Reason(level, market.market, f"stale: the last 1m candle closed {span_text(age_s)} ago")
    if market.stale:
        yield Reason("degraded", market.market, f"no target is acted on: {market.stale}")
    if market.feed == "down":
        yield Reason("degraded", market.market, f"the feed is down{f' ({market.why})' if market.why else ''}")
    if market.holes:
        yield Reason("degraded", market.market, f"{market.holes} unresolved hole{'s' if market.holes > 1 else ''}")


def _moves(name: str, condition: Condition) -> bool:
    return any(cursor.name == name and cursor.moved_s < _MOVING_S for cursor in condition.cursors)


def _lags(condition: Condition) -> Iterator[tuple[str, str, int, bool]]:
    """(consumer, market, how far it is behind the recorder in ms, whether it moves) of every consumer."""
    recorded = {
        cursor.name.partition(":")[2]: cursor.position_ms
        for cursor in condition.cursors
        if cursor.name.startswith("recorder:")
    }
    for cursor in condition.cursors:
        stage, _, rest = cursor.name.partition(":")
        market = next((name for name in recorded if rest.endswith(name)), None)
        if stage in _STAGES and market is not None:
            consumer = f"{stage}:{rest.removesuffix(market).rstrip(':')}".rstrip(":")
            yield consumer, market, max(0, recorded[market] - cursor.position_ms), cursor.moved_s < _MOVING_S


def _behind(condition: Condition) -> Iterator[Reason]:
    # A replay runs ahead of its listeners by design.
    level = "note" if condition.simulated else "degraded"
    for consumer, market, lag_ms, moves in _lags(condition):
        if lag_ms > _BEHIND_MS:
            how = "catching up" if moves else "behind and standing still"
            yield Reason(level, consumer, f"{how}, {span_text(lag_ms / 1000)} behind the recorder on {market}")


def _actors(condition: Condition) -> Iterator[Reason]:
    for actor in condition.actors:
        if actor.checked_s > _CHECKED_S:
            yield Reason("degraded", "supervisor", f"has checked nothing for {span_text(actor.checked_s)}")
            return
    for actor in condition.actors:
        if actor.state != "ok":
            detail = f" ({actor.detail})" if actor.detail else ""
            yield Reason("degraded", actor.actor, f"{actor.state} for {span_text(actor.since_s)}{detail}")
        elif actor.restarts:
            times = "once" if actor.restarts == 1 else f"{actor.restarts} times"
            yield Reason("note", actor.actor, f"was restarted {times}, last {span_text(actor.since_s)} ago")


def _orders(condition: Condition) -> Iterator[Reason]:
    for order in condition.orders:
        age_s = max(0, condition.now_ms - order.since_ms) / 1000
        told = f"{order.action} on {order.market}, order {order.order_id[:8]}, {span_text(age_s)} old"
        if order.status == "unknown":
            yield Reason("degraded", order.book, f"the outcome of {told} is unknown; the venue is being asked")
        else:
            yield Reason("note", order.book, f"{told}: {order.status}")


def _channels(condition: Condition) -> Iterator[Reason]:
    for channel in condition.channels:
        if channel.waiting and channel.oldest_s > _WAITING_S:
            error = f"; last error: {channel.last_error}" if channel.last_error else ""
            told = f"{channel.waiting} message{'s' if channel.waiting > 1 else ''} waiting, the oldest for"
            yield Reason("degraded", f"channel {channel.channel}", f"{told} {span_text(channel.oldest_s)}{error}")
        if channel.dead:
            told = f"{channel.dead} message{'s' if channel.dead > 1 else ''} given up"
            yield Reason("note", f"channel {channel.channel}", told)


def _instances(condition: Condition) -> Iterator[Reason]:
    for item in condition.instances:
        where = f"{item.market} {item.interval}"
        if item.status == "warming":
            yield Reason("note", item.name, f"warming {item.have}/{item.need} on {where}")
        elif item.status == "hole":
            yield Reason("degraded", item.name, f"held on {where}: candles are missing")
        elif item.status == "none":
            yield Reason("note", item.name, f"waits for its first candle on {where}")


def _held(condition: Condition) -> Iterator[Reason]:
    for item in condition.held:
        doing = "being closed" if item.closing else "kept"
        told = f"{item.quantity} {doing} on {item.market} {item.interval}: no instance has it ({item.name})"
        yield Reason("note", item.book, told)


def _parity(condition: Condition) -> Iterator[Reason]:
    for run in condition.parity:
        if run.unexplained:
            told = f"{run.unexplained} unexplained difference{'s' if run.unexplained > 1 else ''} from the backtest"
            yield Reason("degraded", run.book, f"{told} on {run.day}")
        elif run.status == "failed":
            yield Reason("degraded", run.book, f"the comparison with the backtest of {run.day} failed: {run.error}")


def _market_report(market: MarketState, condition: Condition) -> dict[str, Any]:
    reasons = list(_market(market, condition))
    return {
        "market": market.market,
        "status": max((reason.level for reason in reasons), key=_RANK.__getitem__, default="ok"),
        "reasons": [reason.text for reason in reasons],
        "feed": market.feed,
        "stale": market.stale or None,
        "stale_since": market.stale_since_ms,
        "last_close": market.last_close_ms,
        "age_s": _age_s(market, condition),
        "unresolved_holes": market.holes,
        "warming": [
            {"name": item.name, "interval": item.interval, "warming": f"{item.have}/{item.need}"}
            for item in condition.instances
            if item.market == market.market and item.status == "warming"
        ],
    }
