"""Shapes of strategies, instances, a run's trades, walk-forwards and explained decisions, as the OpenAPI document shows
them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from serve.schemas import BacktestAccepted, BacktestRequest, Decision, Listed, Mode, Money, Ms, Order

__all__ = [
    "BacktestTrade",
    "ExplainedDecision",
    "Instance",
    "Strategies",
    "Strategy",
    "StrategyText",
    "Sweep",
    "SweepAccepted",
    "SweepRequest",
    "SweepResults",
    "Walkforward",
    "WalkforwardAccepted",
    "WalkforwardRequest",
]

Days = Annotated[int, Field(description="UTC days.")]


class Parameter(BaseModel):
    """``low`` and ``high`` are both allowed; null where words are."""

    default: float | str
    allowed: str = Field(description="In words.")
    low: float | None
    high: float | None
    whole: bool = Field(description="Whole numbers only.")


class UsedFeature(BaseModel):
    kind: str
    params: dict[str, Any]
    output: str | None = Field(description="Which of several values; null: the first or only one.")
    interval: str | None = Field(description="Its own candles; null: those that the strategy decides on.")


class Strategy(BaseModel):
    name: str
    kind: Literal["built in", "your own"]
    summary: str
    params: dict[str, Parameter]
    features: dict[str, UsedFeature]
    warmup: int = Field(description="Closed candles before it is asked, with its default parameters.")
    has: list[Literal["rule", "step", "confidence", "entry", "bracket", "sizing", "tag", "reasons"]]
    source_hash: str = Field(description="Of its text and its features'; what provenance.strategy of a run is, too.")


class StrategyText(Strategy):
    description: str
    code: str


class BrokenStrategy(BaseModel):
    name: str
    error: str
    line: int | None = Field(description="Of the file; null when the file as a whole is unfit.")
    fix: str


class Strategies(Listed[Strategy]):
    """All on one page: built-in ones, then own ones by name."""

    broken: list[BrokenStrategy] = Field(description="Own files that cannot be used.")


class LastDecision(BaseModel):
    decision_id: str
    close_time: Ms
    actions: list[Literal["OPEN_LONG", "CLOSE_LONG", "OPEN_SHORT", "CLOSE_SHORT", "HOLD"]]
    target: Literal["LONG", "FLAT", "SHORT", "HOLD"]
    confidence: float
    outcome: Literal["acted", "hold", "warming", "hole", "late", "stale", "risk"]
    reason: str


class Sleeve(BaseModel):
    """One market and interval of an instance. Until its first candle has closed it has neither money nor decision."""

    market: str
    interval: str
    quantity: Money | None = Field(description="Negative when short.")
    entry_price: Money | None
    entry_time: Ms | None
    mark: Money | None
    equity: Money | None
    as_of: Ms | None
    decision: LastDecision | None


class Instance(BaseModel):
    """A strategy that is configured and runs."""

    instance_id: str
    name: str
    strategy: str
    params: dict[str, Any] = Field(description="As configured, over the strategy's defaults.")
    profile: Literal["perp", "spot"]
    book: str
    mode: Mode
    live_from: Ms = Field(description="It decides on candles that close after it.")
    sleeves: list[Sleeve]


class BacktestTrade(BaseModel):
    """A trade as the report has it. What an open one has not come to yet is null."""

    instance_id: str
    market: str
    interval: str
    trade_no: int
    direction: Literal["LONG", "SHORT"]
    tag: str
    quantity: Money
    entry_time: Ms
    entry_price: Money
    exit_time: Ms | None
    exit_price: Money | None
    exit_reason: str
    pnl: Money | None = Field(description="Net of both fees, without funding.")
    return_: Money | None = Field(alias="return", description="pnl over the value at entry.")
    fees: Money
    highest: Money | None
    lowest: Money | None
    adverse: float | None = Field(description="The worst it saw, as a share of the entry price.")
    favourable: float | None = Field(description="The best it saw.")


class SearchRequest(BacktestRequest):
    """A backtest, the values of each parameter to try, and what is looked for."""

    grid: dict[
        Annotated[str, Field(max_length=40)], Annotated[list[int | float], Field(min_length=1, max_length=2000)]
    ] = Field(min_length=1, max_length=20, description="At most 2000 sets are tried if compiled code cannot do them.")
    method: Literal["grid", "random", "optuna"] = "grid"
    trials: int | None = Field(None, ge=1, le=1_000_000, description="How many sets; for all but grid.")
    halving: bool = Field(False, description="All on a short part of the range, the best third on ever longer ones.")
    objective: str = Field("sharpe", max_length=40)
    min_trades: int = Field(0, ge=0, le=1_000_000_000)
    constraints: list[Annotated[str, Field(max_length=80)]] = Field(
        default_factory=list, max_length=20, description="Such as max_drawdown<=0.3."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1)


class WalkforwardRequest(SearchRequest):
    """What to search in each training window, and the windows."""

    mode: Literal["rolling", "anchored"] = "rolling"
    train: Days = Field(90, ge=2, le=3650)
    test: Days = Field(30, ge=1, le=3650)
    purge: Days = Field(1, ge=0, le=365, description="Days before a test that are not trained on.")
    embargo: Days = Field(0, ge=0, le=365, description="Days after a test that later trainings leave out.")


class WalkforwardAccepted(BacktestAccepted):
    pass


class Walkforward(BaseModel):
    """``results`` lead with ``out_of_sample``; a list has of them only that."""

    run_id: UUID
    strategy: str
    market: str
    intervals: list[str]
    status: Literal["queued", "running", "interrupted", "stopped", "done", "failed"]
    progress: float
    engine: str
    combos: int | None = Field(description="Runs to be made, those of the tests included.")
    tried: int = Field(description="Runs made in the search, over all days and in training windows.")
    error: str
    config: dict[str, Any]
    results: dict[str, Any] | None
    provenance: dict[str, Any] | None = None
    created_at: Ms
    finished_at: Ms | None


class SweepRequest(SearchRequest):
    """What to sweep."""

    holdout: float = Field(0, ge=0, le=0.9, description="The last share of the range, which chooses nothing.")


class SweepAccepted(BacktestAccepted):
    pass


class Sweep(BaseModel):
    """``combos`` are to be tried, ``tried`` were, ``refused`` the strategy does not take. ``runs`` counts those of all
    stages that choose: more than ``tried`` with halving.

    ``results`` say what is best and how much of it may be luck.
    """

    run_id: UUID
    strategy: str
    market: str
    intervals: list[str]
    status: Literal["queued", "running", "interrupted", "stopped", "done", "failed"]
    progress: float
    engine: str
    combos: int | None
    tried: int
    runs: int
    refused: int
    error: str
    config: dict[str, Any]
    results: dict[str, Any] | None
    provenance: dict[str, Any] | None = None
    created_at: Ms
    finished_at: Ms | None


class SweepResult(BaseModel):
    number: int
    params: dict[str, int | float]
    metrics: dict[str, float | None]
    trades: int


class SweepResults(BaseModel):
    """One page: ``items`` by the metric ``by``, the best first; those that the constraints leave out are not there."""

    by: str
    tried: int
    items: list[SweepResult]


class ExplainedFill(BaseModel):
    fill_id: str
    role: Literal["entry", "exit"]
    side: Literal["BUY", "SELL"]
    trade_no: int
    price: Money
    quantity: Money
    fee: Money
    fee_asset: str
    slippage: Money
    realized_pnl: Money
    reason: str
    time: Ms


class ExplainedOrder(Order):
    fills: list[ExplainedFill]


class Asked(BaseModel):
    """Which strategy was asked; null where nothing tells any more."""

    instance: str | None
    strategy: str | None
    params: dict[str, Any] | None
    summary: str | None


class Gate(BaseModel):
    passed: bool
    text: str


class Close(BaseModel):
    open: float
    high: float
    low: float
    close: float
    volume: float
    complete: bool
    revision: int = Field(description="Larger than the decision's candle_revision: it was corrected since.")


class ExplainedDecision(Decision):
    asked: Asked
    candle: Close | None = Field(description="As it is stored now.")
    conditions: list[str] = Field(description="The strategy's reasons; without any, its numbers and what it answered.")
    from_reasons: bool = Field(description="Whether the strategy itself gave the conditions.")
    plan: dict[str, Any] = Field(description="What it wanted beside the target: entry, exits, size, tag, lots, state.")
    gate: Gate
    orders: list[ExplainedOrder]
