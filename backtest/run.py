"""One backtest from request to stored result: candles in, reference run, its pessimistic twin, scores, rows out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from backtest.reference import ReferenceResult, run_reference
from trading.candle_files import load_candles
from trading.candles import Candle, Hole
from trading.config.model import Book, Config, Costs, canonical_intervals
from trading.errors import BadInput, DataHole, MantaError
from trading.instances import Instance, history_ms, resolve_instances
from trading.intervals import MINUTE, MINUTE_MS
from trading.markets import Market, split_market
from trading.storage import backtests, candles, quality
from trading.storage import markets as stored_markets
from trading.storage.database import Connection, Database
from trading.strategies.registry import load_strategy

__all__ = ["BacktestRequest", "Source", "book_of", "load_source", "resolve_symbol", "run_backtest", "run_stored"]

_PROGRESS_EVERY_S = 0.5
_UNKNOWN_MARKET = Market("", "", "spot", "", "USDT", 8, 8, Decimal("0.00000001"), Decimal("0.00000001"), Decimal(0))


class BacktestRequest(BaseModel):
    """What to run. Times are UTC epoch ms; without them everything there is. ``capital`` is in quote currency.

    Making one raises BadInput for an unknown strategy, parameter or market name, ValidationError for anything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    market: str
    intervals: tuple[str, ...] = Field(min_length=1)
    params: dict[str, int | float] = Field(default_factory=dict)
    start_ms: int | None = Field(None, ge=0)
    end_ms: int | None = Field(None, ge=0)
    capital: Decimal = Field(Decimal(10_000), gt=0, le=1_000_000_000_000)
    profile: Literal["perp", "spot"] = "perp"
    leverage: Decimal = Field(Decimal(1), ge=1, le=125)
    size: Decimal = Field(Decimal(1), gt=0, le=1)
    costs: Costs = Costs()

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)

    @model_validator(mode="after")
    def _range_is_forward(self) -> BacktestRequest:
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            start, end = (datetime.fromtimestamp(ms / 1000, UTC).isoformat() for ms in (self.start_ms, self.end_ms))
            raise ValueError(f"start {start} is not before end {end}: give the earlier time as start")
        return self

    @model_validator(mode="after")
    def _can_be_run(self) -> BacktestRequest:
        split_market(self.market)
        load_strategy(self.strategy, self.params)
        if self.profile == "spot" and self.leverage != 1:
            raise ValueError(f"leverage is {self.leverage}, which profile spot cannot use: give 1, or profile perp")
        return self

    def config(self) -> Config:
        """The one-instance configuration that this request means."""
        return Config.model_validate(
            {
                "markets": ["binance:ANY"],
                "history": {"min_days": 0},
                "strategies": [
                    {
                        "name": "backtest",
                        "strategy": self.strategy,
                        "params": self.params,
                        "intervals": self.intervals,
                        "profile": self.profile,
                        "leverage": self.leverage,
                        "size": self.size,
                    }
                ],
            }
        )

    def instance(self, live_from_ms: int) -> Instance:
        found = resolve_instances(self.config(), live_from_ms)[0]
        return replace(found, name=self.strategy, markets=(self.market,))

    def book(self, currency: str) -> Book:
        return Book(capital=self.capital, currency=currency, costs=self.costs)


@dataclass(frozen=True, slots=True)
class Source:
    """1m candles of one market in order, its missing minutes, and how the venue rounds orders."""

    candles: list[Candle]
    holes: list[Hole]
    market: Market
    known_market: bool


def book_of(run_id: UUID) -> str:
    """The book in which a run's decisions and fills are stored."""
    return f"backtest-{run_id}"


def resolve_symbol(configured: Sequence[str], text: str) -> str:
    """The one configured market that ``text`` means: its base (BTC), its symbol (BTCUSDT, BTC/USDT) or its full name.

    BadInput lists the candidates when none or several fit.
    """
    wanted = text.upper()
    plain = re.sub(r"[/_-]", "", wanted)
    found = [name for name in configured if wanted == name.upper()]
    found = found or [name for name in configured if plain == re.sub(r"[/_-]", "", split_market(name)[1].upper())]
    found = found or [name for name in configured if plain == _base_of(split_market(name)[1])]
    if len(found) == 1:
        return found[0]
    candidates = ", ".join(found or configured)
    problem = "is the base of several markets" if found else "is the base of no configured market"
    raise BadInput(f"{text!r} {problem}.", field="symbol", value=text, fix=f"Give --market, one of: {candidates}.")


def _base_of(symbol: str) -> str:
    """What is traded: the part before a separator, or before one of the usual quote currencies."""
    match = re.fullmatch(r"(.+?)(?:[/_-].*|USDT|USDC|FDUSD|TUSD|BUSD|USD|EUR|TRY|BTC|ETH|BNB)", symbol.upper())
    return match[1] if match else symbol.upper()


def load_file(path: Path, request: BacktestRequest) -> Source:
    """1m candles from a file; a minute that it does not hold counts as absent."""
    found = load_candles(path, request.market, end_ms=request.end_ms)
    if found[0].interval != MINUTE.name:
        raise BadInput(
            f"{path.name} holds {found[0].interval} candles.",
            field="file",
            value=str(path),
            fix="Give a file of 1m candles; every other interval is folded from them.",
        )
    return Source(found, [], _market_named(request.market), known_market=False)


async def load_source(connection: Connection, request: BacktestRequest, file: Path | None) -> Source:
    """Candles from ``file``, or from the database; DataHole when there are none in the range."""
    known = {market.key: market for market in await stored_markets.read_markets(connection)}
    market = known.get(request.market)
    if file is not None:
        source = await asyncio.to_thread(load_file, file, request)
        found, holes = source.candles, []
    else:
        if market is None:
            raise BadInput(
                f"Market {request.market!r} has no candles here.",
                field="market",
                value=request.market,
                fix=f"Use one of: {', '.join(sorted(known)) or 'none yet, start Manta once'}, or give --file.",
            )
        before = request.start_ms - history_ms(request.config()) if request.start_ms is not None else None
        found = await candles.read_candles(connection, request.market, "1m", from_ms=before, to_ms=request.end_ms)
        reach = (found[0].open_time_ms, found[-1].close_time_ms) if found else (0, 0)
        holes = await quality.holes_between(connection, request.market, *reach, reason="missing")
    start_ms = request.start_ms or 0
    if not any(candle.close_time_ms > start_ms for candle in found[-1:]):
        raise DataHole(
            "There are no candles in this range.",
            field="start",
            value=request.start_ms,
            fix="Choose a range that the candles cover; `manta status` and /api/v1/health say which that is.",
        )
    # A market row that an earlier file run made knows no more than that run did.
    known_market = market is not None and market != _market_named(request.market)
    return Source(found, holes, market or _market_named(request.market), known_market)


def run_backtest(
    request: BacktestRequest, source: Source, book: str, on_progress: Callable[[float], None] | None = None
) -> tuple[ReferenceResult, dict[str, Any]]:
    """Run it, and its twin at twice the costs; returns the records and the result as plain data."""
    first, last = source.candles[0].open_time_ms, source.candles[-1].close_time_ms
    live_from_ms = max(first, request.start_ms if request.start_ms is not None else first)
    instance = request.instance(live_from_ms)

    def tell(position_ms: int) -> None:
        if on_progress is not None:
            on_progress((position_ms - live_from_ms) / max(1, last - live_from_ms))

    result = run_reference(
        source.candles,
        instances=[replace(instance, book=book)],
        book_id=book,
        book=request.book(source.market.quote),
        markets=[source.market],
        live_from_ms=live_from_ms,
        holes=source.holes,
        on_progress=tell,
        twin_costs=_doubled(request.costs),
        every_mark=False,
    )
    summary = {
        **result.score.to_dict(),
        "capital": str(request.capital),
        "start": live_from_ms,
        "end": last,
        "candles": result.candles,
        "absent_minutes": (last - live_from_ms) // MINUTE_MS - result.candles - _missing(source.holes, live_from_ms),
        "missing_minutes": _missing(source.holes, live_from_ms),
        "decisions": sum(1 for item in result.records.decisions if item.actions),
        "fills": len(result.records.fills),
        "intervals": {key[2]: part.to_dict() for key, part in result.sleeves.items()},
        "pessimistic": result.twin.to_dict() if result.twin is not None else None,
        "assumptions": _assumptions(request, source),
    }
    return result, summary


async def run_stored(
    database: Database,
    run_id: UUID,
    request: BacktestRequest | Mapping[str, Any],
    file: Path | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Run a backtest whose row is queued: progress, result or error go into its row, what it did into its book.

    A request that is plain data is checked here, so that a bad one is told in its row too.
    """
    book = book_of(run_id)
    done = 0.0

    def tell(share: float) -> None:
        nonlocal done
        done = share
        if on_progress is not None:
            on_progress(share)

    async def keep_progress() -> None:
        while True:
            await database.run(lambda connection: backtests.set_progress(connection, run_id, done))
            await asyncio.sleep(_PROGRESS_EVERY_S)

    try:
        wanted = request if isinstance(request, BacktestRequest) else BacktestRequest.model_validate(request)
        source = await database.run(lambda connection: load_source(connection, wanted, file), deadline_s=300)
        telling = asyncio.create_task(keep_progress())
        try:
            result, summary = await asyncio.to_thread(run_backtest, wanted, source, book, tell)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        records = result.records

        async def store(connection: Connection) -> None:
            if not source.known_market:
                await stored_markets.upsert_market(connection, source.market)
            await backtests.store_result(
                connection,
                run_id,
                book=book,
                settings=wanted.book(source.market.quote),
                decisions=[item for item in records.decisions if item.actions],
                orders=list(records.orders.values()),
                fills=records.fills,
                transfers=records.transfers,
                positions=records.positions,
                equity=records.equity,
                results=summary,
            )

        await database.run(store, deadline_s=300)
    except MantaError as error:
        text = str(error)
        await database.run(lambda connection: backtests.set_failed(connection, run_id, text))
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        await database.run(lambda connection: backtests.set_failed(connection, run_id, text))
        raise
    return {"run_id": str(run_id), "book": book, **summary}


def _assumptions(request: BacktestRequest, source: Source) -> list[str]:
    costs, market = request.costs, source.market
    lines = [
        "Decides at a candle's close; fills at the open of the first present minute after it.",
        f"Taker fee {costs.taker_fee:.4%} of value, slippage {costs.slippage:.4%} of price, on every fill.",
        f"Every entry uses the whole equity times {request.leverage}; quantities are whole lots of {market.lot_size}.",
    ]
    if not source.known_market:
        lines.append(
            f"The market's rules are not known here: lots of 1e-8, no least order value, money in {market.quote}."
        )
    if request.profile == "perp":
        lines.append(
            f"Funding {costs.funding_per_8h:.4%} of value each 8 h from long to short; liquidation at a maintenance "
            f"margin of {costs.maintenance_margin:.2%}."
        )
    lines.append("The pessimistic twin pays twice the fee, slippage and funding.")
    return lines


def _doubled(costs: Costs) -> Costs:
    return costs.model_copy(
        update={name: getattr(costs, name) * 2 for name in ("taker_fee", "slippage", "funding_per_8h")}
    )


def _market_named(key: str) -> Market:
    venue, symbol = split_market(key)
    return replace(_UNKNOWN_MARKET, venue=venue, symbol=symbol, base=symbol)


def _missing(holes: Sequence[Hole], from_ms: int) -> int:
    return sum(max(0, hole.to_ms - max(hole.from_ms, from_ms)) for hole in holes) // MINUTE_MS
