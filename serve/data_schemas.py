"""Shapes of answers about the data itself, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serve.schemas import Listed, Ms

__all__ = ["Completeness", "Hole", "MarketInfo", "Markets", "QualityRow", "Revision"]

Count = Annotated[int, Field(ge=0)]


class Series(BaseModel):
    """One stored interval of a market."""

    interval: str
    first_open: Ms
    last_close: Ms


class Minutes(BaseModel):
    """expected = present + absent + missing, in minutes between the first and the last known one."""

    from_: Ms = Field(alias="from")
    to: Ms
    expected: Count
    present: Count
    absent: Count = Field(description="The venue has later minutes but not these, or says why it has none.")
    missing: Count = Field(description="Unknown to us, told as a hole or not.")


class LastDay(Minutes):
    """The last 24 hours: until now for a live market, until its last candle for any other."""

    completeness: float | None = Field(description="The share that is present or explained.")
    sources: dict[str, int] = Field(
        description="Present minutes by where they came from: live, rest, import, or from VENUE:SYMBOL."
    )


class Disagreement(BaseModel):
    """A price from elsewhere that is not this market's, or that cannot be had to compare it with."""

    against: str | None
    reason: Literal["deviation", "unchecked"]
    since: Ms
    text: str


class MarketInfo(BaseModel):
    market: str
    venue: str
    symbol: str
    kind: Literal["spot", "perp"]
    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    tick_size: str
    lot_size: str
    min_notional: str
    live: bool = Field(description="Whether it is configured, so that a feed records it.")
    stale: bool | None = Field(
        description="Whether no target of it is acted on, or its newest minute is old; null when it is not live."
    )
    freshness_reason: str | None = Field(description="What was last told of its freshness; null: it never was stale.")
    freshness_since: Ms | None
    disagreements: list[Disagreement] = Field(
        description="What the comparison with other venues found, and is not over."
    )
    series: list[Series]
    last_day: LastDay | None


class Markets(Listed[MarketInfo]):
    """One page, by venue and symbol."""


class Hole(BaseModel):
    id: int
    market: str
    interval: str
    from_: Ms = Field(alias="from")
    to: Ms = Field(description="Exclusive: the open of the next present candle.")
    minutes: Count
    reason: str = Field(description="missing: unknown to us, healing goes on; any other reason explains it.")
    explained: bool
    detail: str
    found_at: Ms


class QualityRow(BaseModel):
    id: int
    market: str
    interval: str
    kind: str = Field(description="hole or anomaly, or another check's kind.")
    reason: str
    from_: Ms = Field(alias="from")
    to: Ms
    detail: dict[str, Any]
    resolved: bool
    resolution: str | None
    found_at: Ms
    resolved_at: Ms | None


class Revision(BaseModel):
    id: int
    market: str
    interval: str
    open_time: Ms
    revision: Count = Field(description="What the candle has since then.")
    old: dict[str, Any]
    new: dict[str, Any]
    why: str
    at: Ms


class Period(Minutes):
    period: str = Field(description="2025-06 or 2025-06-01, UTC.")


class Completeness(BaseModel):
    """Every month or day from the first to the last minute, oldest first."""

    market: str
    by: Literal["month", "day"]
    items: list[Period]
