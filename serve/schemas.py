"""Shapes of requests and answers, as the OpenAPI document shows them.

Answers are written as JSON text by SQL; these classes document them and tests hold the answers to them.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

__all__ = [
    "Backtest",
    "BacktestAccepted",
    "BacktestRequest",
    "BookBacktestRequest",
    "Candle",
    "CandleSeries",
    "Decision",
    "EquityPoint",
    "FeatureValue",
    "Health",
    "Listed",
    "ParityDay",
    "ParityDifference",
    "ParityRun",
    "Position",
    "PriceGap",
    "Problem",
    "Root",
    "Series",
    "Stats",
    "TechnicalState",
    "Trade",
]

Item = TypeVar("Item")
Ms = Annotated[int, Field(description="Epoch milliseconds, UTC.")]
Money = Annotated[str, Field(description="A decimal as text: no client can round it.")]
Mode = Literal["backtest", "paper", "testnet", "live"]
ProblemField = Annotated[str, Field(description="What was wrong: a query, path, header or body field.")]


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    field: ProblemField | None = None
    fix: str | None = Field(None, description="What to do about it.")
    errors: list[dict[str, str]] | None = None


class Listed(BaseModel, Generic[Item]):
    """One page, newest first."""

    items: list[Item]
    next_cursor: str | None


class Series(Listed[Item], Generic[Item]):
    """One page in time order."""

    market: str
    interval: str


class Root(BaseModel):
    name: str
    version: str
    status: Literal["running"]
    links: dict[str, str]


class Candle(BaseModel):
    open_time: Ms
    close_time: Ms = Field(description="Exclusive.")
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None = None
    trade_count: int | None = None
    source: Literal["live", "rest", "import", "derived", "native"] | None = None
    origin: str | None = Field(None, description="venue:symbol that lent it, when its own venue could not give it.")
    complete: bool
    revision: int = 0
    closed: bool = Field(True, description="False only for the forming candle, which may still change.")


class CandleSeries(Series[Candle]):
    """Closed candles in time order; ``forming`` is the present one, when asked for and known."""

    forming: Candle | None = None


class FeatureValue(BaseModel):
    open_time: Ms
    name: str
    value: float | None
    params: dict[str, Any]


class PriceGap(BaseModel):
    """A zone of prices that three candles left behind; ``start_time_ms`` is the open time of the third."""

    id: str
    market: str
    interval: str
    mode: Literal["strict", "body", "open", "b2dir"]
    source_interval: str = Field(description="What the candles were made of: 1m, or the interval itself if native.")
    type: Literal["up", "down"]
    low: float
    high: float
    status: Literal["open", "touched", "filled"]
    start_time_ms: Ms
    found_time_ms: Ms = Field(description="The close of the third candle.")
    touched_time_ms: Ms | None = Field(description="Open time of the first candle that entered the zone.")
    closed_time_ms: Ms | None = Field(description="Open time of the candle that filled it.")
    close_price: float | None = Field(description="The edge of the zone that was reached.")
    detail: dict[str, Any] = Field(description="`holes`: [from, to) in ms that nobody saw before it was filled.")


class Decision(BaseModel):
    decision_id: str
    book: str
    mode: Mode
    instance_id: str
    market: str
    interval: str
    open_time: Ms
    close_time: Ms
    actions: list[Literal["OPEN_LONG", "CLOSE_LONG", "OPEN_SHORT", "CLOSE_SHORT", "HOLD"]]
    target: Literal["LONG", "FLAT", "SHORT", "HOLD"]
    confidence: float
    outcome: Literal["acted", "hold", "warming", "hole", "late", "stale", "risk"]
    reason: str
    price: Money
    position_before: Money
    features: dict[str, Any]
    candle_revision: int
    decided_at: Ms


class Order(BaseModel):
    order_id: str = Field(description="The client order id: the venue knows the order by it.")
    decision_id: str | None
    leg: int
    book: str
    mode: Mode
    instance_id: str
    market: str
    interval: str
    action: Literal["OPEN_LONG", "CLOSE_LONG", "OPEN_SHORT", "CLOSE_SHORT"]
    side: Literal["BUY", "SELL"]
    type: str
    quantity: Money | None
    quote_amount: Money | None
    status: Literal["intent", "unknown", "open", "partial", "canceling", "filled", "rejected", "canceled"] = Field(
        description="intent: committed, maybe not sent. unknown: sent, the answer was lost, and the venue is asked."
    )
    reason: str
    created_time: Ms
    updated_time: Ms
    price: Money | None = Field(description="Where an entry of type LIMIT or STOP rests; null for any other order.")
    expires_time: Ms | None = Field(description="When such an entry is canceled if it is not filled before.")


class Trade(BaseModel):
    book: str
    mode: Mode
    instance_id: str
    market: str
    interval: str
    trade_no: int
    direction: Literal["LONG", "SHORT"]
    entry_time: Ms
    entry_price: Money
    exit_time: Ms | None
    exit_price: Money | None
    quantity: Money
    pnl: Money
    fees: Money
    closed: bool


class Position(BaseModel):
    book: str
    mode: Mode
    instance_id: str
    market: str
    interval: str
    state: Literal["active", "closing", "kept", "removed"] = Field(
        description="active: an instance has it. Otherwise its instance was removed: the position is being closed, is"
        " kept as it is, or there is none (any more)."
    )
    quantity: Money = Field(description="Negative when short.")
    entry_price: Money | None
    entry_time: Ms | None
    cash: Money
    mark: Money | None
    equity: Money
    as_of: Ms


class EquityPoint(BaseModel):
    time: Ms
    cash: Money
    position_value: Money
    equity: Money


class Warming(BaseModel):
    name: str
    interval: str
    warming: str = Field(description="Candles it has, and how many it needs: 37/125.")


class MarketHealth(BaseModel):
    market: str
    status: Literal["ok", "degraded", "down"]
    reasons: list[str]
    feed: Literal["up", "down", "unknown"]
    stale: str | None = Field(description="Why no target of this market is acted on; null while its data is fresh.")
    stale_since: Ms | None
    last_close: Ms | None
    age_s: float | None
    unresolved_holes: int
    warming: list[Warming]


class Book(BaseModel):
    book: str
    mode: Mode
    currency: str
    capital: Money


class Lag(BaseModel):
    """How far a consumer's cursor is behind the recorder's."""

    consumer: str = Field(description="timeframe, brain, or execution with its book.")
    market: str
    lag_s: float


class OpenOrder(BaseModel):
    """An order whose end is not known yet."""

    order_id: str
    book: str
    market: str
    action: str
    status: str = Field(description="intent, open, partial, or unknown: then the venue is being asked.")
    reason: str
    since_ms: Ms


class ChannelHealth(BaseModel):
    """Messages of one channel that are not sent."""

    channel: str
    waiting: int
    dead: int = Field(description="Given up.")
    oldest_s: float
    last_error: str


class ActorHealth(BaseModel):
    """What the supervisor found when it last asked."""

    actor: str
    state: str = Field(description="ok, starting, or not answering.")
    pid: int | None
    restarts: int
    detail: str
    since_s: float
    checked_s: float


class LastParity(BaseModel):
    """The newest nightly comparison of a book with the reference backtest."""

    book: str
    day: str
    status: str
    explained: int
    unexplained: int
    error: str


class HeldPosition(BaseModel):
    """A position that no configured instance has."""

    name: str
    book: str
    market: str
    interval: str
    quantity: Money
    closing: bool = Field(description="Its book wants it closed at the next open; else it is kept as it is.")


class Health(BaseModel):
    """degraded: a last 1m close older than 120 s, a stale market, unresolved holes, a feed that is down, a consumer
    that is minutes behind, an actor that does not answer, an order of unknown outcome, messages that cannot be sent, or
    a backtest that disagrees. down: older than 300 s, or no database. ``notes`` are no faults: what warms up or waits.
    """

    status: Literal["ok", "degraded", "down"]
    database: Literal["ok", "down"]
    reasons: list[str]
    notes: list[str] = []
    clock: Literal["venue", "simulated"] | None = Field(None, description="Which clock ages are measured by.")
    now: Ms | None = None
    origin: str | None = Field(None, description="venue, or simulator when a replay is shown.")
    books: list[Book] = []
    intervals: list[str] = []
    markets: list[MarketHealth] = []
    behind: list[Lag] = []
    orders: list[OpenOrder] = []
    outbox: list[ChannelHealth] = []
    actors: list[ActorHealth] = []
    parity: list[LastParity] = []
    held: list[HeldPosition] = []


class Stats(BaseModel):
    """The last 24 hours of event time."""

    market: str
    from_: Ms = Field(alias="from")
    to: Ms
    candles: int
    expected_candles: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float
    quote_volume: float | None
    change_percent: float | None
    decisions: dict[str, int] = Field(description="By action: OPEN_LONG … HOLD.")
    outcomes: dict[str, int]
    fills: int
    holes: list[dict[str, Any]]


class Reading(BaseModel):
    name: str
    value: float | None
    posture: Literal["ABOVE", "BELOW", "AT"] | None
    distance_percent: float | None
    warming: str | None = Field(None, description="n/m where the value is missing.")
    open_time: Ms | None


class IntervalState(BaseModel):
    interval: str
    close: float | None
    close_time: Ms | None
    features: list[Reading]
    strategies: list[dict[str, Any]]


class TechnicalState(BaseModel):
    market: str
    intervals: list[IntervalState]


class BacktestRequest(BaseModel):
    """What to run. ``symbol`` and ``start_date`` are accepted for ``market`` and ``start``."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    strategy: str | None = Field(None, max_length=40, description="Default: the first configured strategy.")
    market: str | None = Field(None, max_length=80, description="Like binance:BTCUSDT; default: the one configured.")
    symbol: str | None = Field(None, max_length=80, description="Instead of market: BTC, BTCUSDT, BTC/USDT.")
    intervals: list[Annotated[str, Field(max_length=20)]] | None = Field(
        None, min_length=1, max_length=16, description="Default: the strategy's configured ones."
    )
    start: str | int | None = Field(
        None, validation_alias=AliasChoices("start", "start_date"), description="ISO 8601 or epoch milliseconds."
    )
    end: str | int | None = Field(
        None, validation_alias=AliasChoices("end", "end_date"), description="Exclusive; default: everything recorded."
    )
    capital: Annotated[Decimal, Field(gt=0, le=1_000_000_000_000, allow_inf_nan=False)] = Decimal(10_000)
    profile: Literal["perp", "spot"] | None = Field(None, description="Default: the configured strategy's.")
    params: dict[Annotated[str, Field(max_length=40)], int | float] = Field(default_factory=dict, max_length=20)


class BookBacktestRequest(BacktestRequest):
    """As a request for one strategy on one market, or for several of either, which share the capital as a book does."""

    strategies: list[Annotated[str, Field(max_length=40)]] | None = Field(
        None,
        min_length=1,
        max_length=50,
        description="Instead of strategy: names of configured instances, which run as configured, those of one book"
        " with its costs, or of strategies.",
    )
    markets: list[Annotated[str, Field(max_length=80)]] | None = Field(
        None, min_length=1, max_length=50, description="Instead of market, each named as there."
    )
    book: str | None = Field(
        None,
        max_length=40,
        description="Instead of strategies: a configured book, whose instances run as configured on all its markets or"
        " on the markets given, with its costs and, by default, its capital.",
    )


class BacktestAccepted(BaseModel):
    run_id: UUID
    status: Literal["queued"]
    links: dict[str, str]


class Backtest(BaseModel):
    run_id: UUID
    book: str
    strategy: str
    market: str
    intervals: list[str]
    status: Literal["queued", "running", "done", "failed"]
    progress: float
    error: str
    config: dict[str, Any]
    results: dict[str, Any] | None
    created_at: Ms
    finished_at: Ms | None


class ParityRun(BaseModel):
    """How one UTC day of a book compares with the reference backtest of the same candles.

    identical; explained: every difference has a known cause; different: some have none; failed: it could not be
    compared, ``error`` says why.
    """

    book: str
    day: dt.date
    status: Literal["identical", "explained", "different", "failed"]
    complete: bool = Field(description="Whether the book had come to the end of the day.")
    reached: Ms | None = Field(description="How far it had come.")
    explained: int
    unexplained: int
    counts: dict[str, int] = Field(description="How many candles, signals, decisions, fills ... were compared.")
    error: str
    code_version: str
    started_at: Ms
    finished_at: Ms


class ParityDifference(BaseModel):
    """``kind`` is what it is about, ``field`` which value differs (none: one side lacks it whole). ``cause`` is a word:
    late, stale, risk, revised, healed, config or downtime explain it; value, missing and extra do not.
    """

    time: Ms
    kind: str
    key: str
    field: str | None
    live: str | None
    reference: str | None
    cause: str
    detail: str
    explained: bool


class ParityDay(ParityRun):
    differences: list[ParityDifference]
