"""Shapes of requests and answers, as the OpenAPI document shows them.

Answers are written as JSON text by SQL; these classes document them and tests hold the answers to them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

__all__ = [
    "Backtest",
    "BacktestAccepted",
    "BacktestRequest",
    "Candle",
    "CandleSeries",
    "Decision",
    "EquityPoint",
    "FeatureValue",
    "Health",
    "Listed",
    "Position",
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
    last_close: Ms | None
    age_s: float | None
    unresolved_holes: int
    warming: list[Warming]


class Book(BaseModel):
    book: str
    mode: Mode
    currency: str
    capital: Money


class Health(BaseModel):
    """degraded: a last 1m close older than 120 s, unresolved holes, or a feed that is down. down: older than 300 s,
    or no database.
    """

    status: Literal["ok", "degraded", "down"]
    database: Literal["ok", "down"]
    reasons: list[str]
    clock: Literal["venue", "simulated"] | None = Field(None, description="Which clock ages are measured by.")
    now: Ms | None = None
    origin: str | None = Field(None, description="venue, or simulator when a replay is shown.")
    books: list[Book] = []
    intervals: list[str] = []
    markets: list[MarketHealth] = []


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
