"""What a backtest is asked to do: one strategy on one market, or several instances that share a book over several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trading.config.costs import Charges, Costs
from trading.config.model import Book, Config, StrategyInstance, canonical_intervals
from trading.config.rules import NO_ENTRIES, NO_EXITS, Entries, Exits
from trading.errors import BadInput
from trading.instances import Instance, resolve_instances
from trading.intervals import iso
from trading.markets import split_market
from trading.strategies.registry import load_strategy

__all__ = ["BacktestRequest", "BookRequest", "RunRequest", "quote_of", "read_request", "resolve_symbol"]

_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "TRY", "BTC", "ETH", "BNB")


class RunRequest(BaseModel):
    """What all runs have. Times are UTC epoch ms; without them everything there is. ``capital`` is in quote currency.
    More *missing* minutes than ``max_missing_percent`` of all of a market are refused.

    Making one raises BadInput for an unknown strategy, parameter or market name, ValidationError for anything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_ms: int | None = Field(None, ge=0)
    end_ms: int | None = Field(None, ge=0)
    capital: Decimal = Field(Decimal(10_000), gt=0, le=1_000_000_000_000)
    costs: Costs = Costs()
    max_missing_percent: Decimal = Field(Decimal(1), ge=0, le=100)

    @model_validator(mode="after")
    def _range_is_forward(self) -> RunRequest:
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            raise ValueError(
                f"start {iso(self.start_ms)} is not before end {iso(self.end_ms)}: give the earlier time as start"
            )
        return self

    @property
    def traded(self) -> tuple[str, ...]:
        """The markets, as venue:symbol."""
        raise NotImplementedError

    @property
    def configured(self) -> tuple[StrategyInstance, ...]:
        """The instances as a configuration says them; those without markets trade all of ``traded``."""
        raise NotImplementedError

    def instances(self, live_from_ms: int) -> list[Instance]:
        """The instances as the engine takes them."""
        return [
            replace(made, markets=item.markets or self.traded)
            for made, item in zip(resolve_instances(self.config(), live_from_ms), self.configured, strict=True)
        ]

    def config(self) -> Config:
        """The configuration that this request means. Its one market stands for all: a run may know venues by name
        only.
        """
        strategies = [item.model_copy(update={"markets": (), "book": "paper"}) for item in self.configured]
        return Config.model_validate(
            {"markets": ["binance:ANY"], "history": {"min_days": 0}, "strategies": [dict(item) for item in strategies]}
        )

    def book(self, currency: str) -> Book:
        return Book(capital=self.capital, currency=currency, costs=self.costs)

    def title(self) -> tuple[str, str, tuple[str, ...]]:
        """Strategies, markets and intervals, as a list of runs shows them."""
        names = ", ".join(dict.fromkeys(item.name for item in self.configured))
        return names, ", ".join(self.traded), self.decided_on()

    def decided_on(self, market: str | None = None) -> tuple[str, ...]:
        """The intervals of all instances, or of those that trade ``market``."""
        return tuple(dict.fromkeys(name for item in self._trading(market) for name in item.intervals))

    def looked_at(self, market: str) -> tuple[str, ...]:
        """The intervals of the instances that trade ``market``, and those besides that their strategies look at."""
        names: list[str] = []
        for item in self._trading(market):
            strategy = load_strategy(item.strategy, item.params, item.source)
            names += [*item.intervals, *strategy.other_intervals(item.intervals)]
        return tuple(dict.fromkeys(names))

    def _trading(self, market: str | None) -> list[StrategyInstance]:
        return [item for item in self.configured if market is None or market in (item.markets or self.traded)]


class BacktestRequest(RunRequest):
    """One strategy on one market. ``source`` is the text of a strategy that is not built in."""

    strategy: str
    market: str
    intervals: tuple[str, ...] = Field(min_length=1)
    params: dict[str, int | float] = Field(default_factory=dict)
    profile: Literal["perp", "spot"] = "perp"
    leverage: Decimal = Field(Decimal(1), ge=1, le=125)
    size: Decimal = Field(Decimal(1), gt=0, le=1)
    exits: Exits = NO_EXITS
    entries: Entries = NO_ENTRIES
    source: str = Field("", repr=False)

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)

    @model_validator(mode="after")
    def _can_be_run(self) -> BacktestRequest:
        split_market(self.market)
        load_strategy(self.strategy, self.params, self.source)
        if self.profile == "spot" and self.leverage != 1:
            raise ValueError(f"leverage is {self.leverage}, which profile spot cannot use: give 1, or profile perp")
        return self

    @property
    def traded(self) -> tuple[str, ...]:
        return (self.market,)

    @property
    def configured(self) -> tuple[StrategyInstance, ...]:
        names = ("strategy", "source", "params", "intervals", "profile", "leverage", "size", "exits", "entries")
        return (StrategyInstance(name="backtest", **{name: getattr(self, name) for name in names}),)

    @property
    def charges(self) -> Charges:
        """What is charged on its market."""
        return self.costs.of(split_market(self.market)[0])

    def instances(self, live_from_ms: int) -> list[Instance]:
        return [replace(item, name=self.strategy) for item in super().instances(live_from_ms)]

    def title(self) -> tuple[str, str, tuple[str, ...]]:
        return self.strategy, self.market, self.intervals


class BookRequest(RunRequest):
    """Several instances, several markets, or both, which share one book: each instance trades its part of the capital
    on each of its markets and intervals, as a live book divides it.
    """

    strategies: tuple[StrategyInstance, ...] = Field(min_length=1)
    markets: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_run(self) -> BookRequest:
        for market in self.markets:
            split_market(market)
        twice = _twice(self.markets)
        if twice:
            raise ValueError(f"market {twice} is there twice: give each market once")
        twice = _twice([item.name for item in self.strategies])
        if twice:
            raise ValueError(f"strategy {twice} is there twice: give each instance once, or a name of its own")
        for item in self.strategies:
            load_strategy(item.strategy, item.params, item.source)
            for market in item.markets:
                if market not in self.markets:
                    raise ValueError(f"market {market} of {item.name} is not among the run's markets: add it")
        for market in self.markets:
            if not self.decided_on(market):
                raise ValueError(f"market {market} is traded by no instance: leave it out")
        check_quotes({market: quote_of(market) for market in self.markets})
        return self

    @property
    def traded(self) -> tuple[str, ...]:
        return self.markets

    @property
    def configured(self) -> tuple[StrategyInstance, ...]:
        return self.strategies


def read_request(data: Mapping[str, Any]) -> BacktestRequest | BookRequest:
    """A request from plain data, such as a stored run has; raises as making one does."""
    kind = BookRequest if "strategies" in data else BacktestRequest
    return kind.model_validate(data)


def check_quotes(quotes: Mapping[str, str | None]) -> None:
    """Raise ValueError unless all of the markets that are known to count in a currency count in the same one."""
    known = {market: quote for market, quote in quotes.items() if quote is not None}
    first = next(iter(known), "")
    for market, quote in known.items():
        if quote != known[first]:
            raise ValueError(
                f"market {market} counts in {quote} and {first} in {known[first]}, but a book has one currency:"
                " run them apart"
            )


def resolve_symbol(configured: Sequence[str], text: str) -> str:
    """The one configured market that ``text`` means: its base (BTC), its symbol (BTCUSDT, BTC/USDT) or its full name.

    BadInput lists the candidates when none or several fit.
    """
    wanted = text.upper()
    plain = re.sub(r"[/_-]", "", wanted)
    found = [name for name in configured if wanted == name.upper()]
    found = found or [name for name in configured if plain == re.sub(r"[/_-]", "", split_market(name)[1].upper())]
    found = found or [name for name in configured if plain == _split(split_market(name)[1])[0]]
    if len(found) == 1:
        return found[0]
    candidates = ", ".join(found or configured)
    problem = "is the base of several markets" if found else "is the base of no configured market"
    raise BadInput(f"{text!r} {problem}.", field="symbol", value=text, fix=f"Give --market, one of: {candidates}.")


def quote_of(market: str) -> str | None:
    """The currency that the symbol's name says it counts in; None when it says none."""
    quote = _split(split_market(market)[1])[1]
    return quote if quote in _QUOTES else None


def _split(symbol: str) -> tuple[str, str]:
    """What is traded and what follows: the parts at a separator, or before one of the usual quote currencies."""
    match = re.fullmatch(rf"(.+?)(?:[/_-]([^/_-]*).*|({'|'.join(_QUOTES)}))", symbol.upper())
    return (match[1], match[2] or match[3] or "") if match else (symbol.upper(), "")


def _twice(names: Sequence[str]) -> str:
    """The first of ``names`` that is there twice; empty when none is."""
    return next((name for place, name in enumerate(names) if name in names[:place]), "")
