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

from backtest.checked import check_first
from backtest.coarse import as_minutes, check_foldable
from backtest.covered import check_past, uncovered
from backtest.followed import failure_kept, progress_kept
from backtest.metrics.measure import Run, measure
from backtest.metrics.trades import Excursion
from backtest.provenance import provenance_of, records_fingerprint
from backtest.reference import ReferenceResult, run_reference
from backtest.report.document import document_of
from trading.candle_files import load_columns
from trading.candles import Candle, Hole
from trading.config.costs import Charges, Costs
from trading.config.model import Book, Config, canonical_intervals
from trading.config.rules import NO_ENTRIES, NO_EXITS, Entries, Exits
from trading.errors import BadInput, DataHole
from trading.instances import Instance, history_ms, resolve_instances
from trading.intervals import MINUTE, MINUTE_MS, Interval, iso, parse_interval
from trading.markets import Market, split_market
from trading.storage import backtests, candles, natives, quality
from trading.storage import markets as stored_markets
from trading.storage.database import Connection, Database
from trading.strategies.registry import load_strategy

__all__ = [
    "BacktestRequest",
    "Source",
    "assumptions_of",
    "book_of",
    "load_source",
    "resolve_symbol",
    "run_backtest",
    "run_stored",
    "simulate",
]

_PROGRESS_EVERY_S = 0.5
_UNKNOWN_MARKET = Market("", "", "spot", "", "USDT", 8, 8, Decimal("0.00000001"), Decimal("0.00000001"), Decimal(0))


class BacktestRequest(BaseModel):
    """What to run. Times are UTC epoch ms; without them everything there is. ``capital`` is in quote currency.
    ``source`` is the text of a strategy that is not built in. More *missing* minutes than ``max_missing_percent`` of
    all are refused.

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
    exits: Exits = NO_EXITS
    entries: Entries = NO_ENTRIES
    max_missing_percent: Decimal = Field(Decimal(1), ge=0, le=100)
    source: str = Field("", repr=False)

    @field_validator("intervals")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return canonical_intervals(value)

    @model_validator(mode="after")
    def _range_is_forward(self) -> BacktestRequest:
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            raise ValueError(
                f"start {iso(self.start_ms)} is not before end {iso(self.end_ms)}: give the earlier time as start"
            )
        return self

    @model_validator(mode="after")
    def _can_be_run(self) -> BacktestRequest:
        split_market(self.market)
        load_strategy(self.strategy, self.params, self.source)
        if self.profile == "spot" and self.leverage != 1:
            raise ValueError(f"leverage is {self.leverage}, which profile spot cannot use: give 1, or profile perp")
        return self

    @property
    def charges(self) -> Charges:
        """What is charged on its market."""
        return self.costs.of(split_market(self.market)[0])

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
                        "source": self.source,
                        "params": self.params,
                        "intervals": self.intervals,
                        "profile": self.profile,
                        "leverage": self.leverage,
                        "size": self.size,
                        "exits": self.exits,
                        "entries": self.entries,
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
    """1m candles of one market in order, its missing minutes, and how the venue rounds orders.

    ``width`` is what the file holds: of longer candles each is two of the minutes, as ``backtest.coarse`` says.
    ``natives`` are the venue's own longer candles.
    """

    candles: list[Candle]
    holes: list[Hole]
    market: Market
    known_market: bool
    width: Interval = MINUTE
    natives: tuple[Candle, ...] = ()


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
    """The candles of a file; a minute, or a longer candle, that it does not hold counts as absent."""
    columns = load_columns(path, request.market)
    found = columns.slice(None, request.end_ms).candles()
    if not found or found[-1].close_time_ms <= (request.start_ms or 0):
        raise uncovered(path.name, request.start_ms, request.end_ms, (columns.start_ms, columns.end_ms))
    width = parse_interval(found[0].interval)
    if width != MINUTE:
        strategy = load_strategy(request.strategy, request.params, request.source)
        check_foldable([*request.intervals, *strategy.other_intervals(request.intervals)], width)
        found = as_minutes(found)
    return Source(found, [], _market_named(request.market), known_market=False, width=width)


async def load_source(connection: Connection, request: BacktestRequest, file: Path | None) -> Source:
    """Candles from ``file``, or from the database; DataHole when there are none in the range."""
    known = {market.key: market for market in await stored_markets.read_markets(connection)}
    market = known.get(request.market)
    if file is not None:
        source = await asyncio.to_thread(load_file, file, request)
        found, holes, own, width = source.candles, [], [], source.width
        check_past(found[-1].close_time_ms, file.name, await connection.fetchval("select ms(clock_timestamp())"))
    else:
        width = MINUTE
        if market is None:
            raise BadInput(
                f"Market {request.market!r} has no candles here.",
                field="market",
                value=request.market,
                fix=f"Use one of: {', '.join(sorted(known)) or 'none yet, start Manta once'}, or give --file.",
            )
        before = request.start_ms - history_ms(request.config()) if request.start_ms is not None else None
        found = await candles.read_candles(connection, request.market, "1m", from_ms=before, to_ms=request.end_ms)
        if not found or found[-1].close_time_ms <= (request.start_ms or 0):
            raise uncovered(
                request.market, request.start_ms, request.end_ms, await _whole_reach(connection, request.market)
            )
        reach = (found[0].open_time_ms, found[-1].close_time_ms)
        holes = await quality.holes_between(connection, request.market, *reach, reason="missing")
        own = await natives.read_all_natives(connection, request.market, to_ms=reach[1])
    # A market row that an earlier file run made knows no more than that run did.
    known_market = market is not None and market != _market_named(request.market)
    return Source(found, holes, market or _market_named(request.market), known_market, width, tuple(own))


def simulate(
    request: BacktestRequest,
    source: Source,
    book: str,
    on_progress: Callable[[float], None] | None = None,
    *,
    twin: bool = True,
) -> ReferenceResult:
    """Run the reference engine as ``request`` says, with its twin at twice the costs if that is wanted."""
    first, last = source.candles[0].open_time_ms, source.candles[-1].close_time_ms
    live_from_ms = max(first, request.start_ms if request.start_ms is not None else first)
    instance = request.instance(live_from_ms)
    _check_missing(request, source, live_from_ms, last)

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
        natives=source.natives,
        on_progress=tell,
        twin_costs=request.costs.doubled(split_market(request.market)[0]) if twin else None,
        every_mark=False,
        stop_when_ruined=True,
    )
    if not result.records.signals:
        raise DataHole(
            f"No candle of {', '.join(request.intervals)} closes in this range: there is nothing to decide on.",
            field="intervals",
            value=", ".join(request.intervals),
            fix="Choose shorter intervals, or a longer range.",
        )
    return result


def run_backtest(
    request: BacktestRequest, source: Source, book: str, on_progress: Callable[[float], None] | None = None
) -> tuple[ReferenceResult, dict[str, Any], list[Excursion | None]]:
    """Run it, and its twin at twice the costs; returns the records, the result as plain data, and each trade's
    excursion.
    """
    result = simulate(request, source, book, on_progress)
    live_from_ms, last = result.equity.start_ms, source.candles[-1].close_time_ms
    records = result.records
    run = Run(result.equity, result.trades, records.fills, records.transfers, source.candles)
    figures, reached = measure(run)
    bars = result.candles if source.width == MINUTE else -(-result.candles // 2)
    summary = {
        **result.score.to_dict(),
        "capital": str(request.capital),
        "start": live_from_ms,
        "end": last,
        "candles": bars,
        "absent_minutes": (last - live_from_ms) // MINUTE_MS
        - bars * (source.width.typical_ms // MINUTE_MS)
        - _missing(source.holes, live_from_ms),
        "missing_minutes": _missing(source.holes, live_from_ms),
        "decisions": sum(1 for item in records.decisions if item.actions),
        "fills": len(records.fills),
        "intervals": {key[2]: part.to_dict() for key, part in result.sleeves.items()},
        "pessimistic": result.twin.to_dict() if result.twin is not None else None,
        "metrics": figures,
        "ruined_at": result.ruined_ms,
        "assumptions": [*assumptions_of(request, source), *_ruin_words(result, source)],
    }
    return result, summary, reached


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
    async with failure_kept(database, backtests.JOBS, run_id):
        wanted = request if isinstance(request, BacktestRequest) else BacktestRequest.model_validate(request)
        checked = await check_first(
            database, run_id, wanted.strategy, wanted.params, wanted.source, wanted.intervals[0]
        )
        source = await database.run(lambda connection: load_source(connection, wanted, file), deadline_s=300)
        async with progress_kept(database, backtests.JOBS, run_id, _PROGRESS_EVERY_S, on_progress) as tell:
            result, summary, reached = await asyncio.to_thread(run_backtest, wanted, source, book, tell)
        records = result.records
        made_of = {**provenance_of(wanted, source, file), "result": records_fingerprint(records)}
        report = document_of(wanted, source, result, summary, reached)
        if checked is not None:
            summary["strategy_check"] = checked

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
            await backtests.store_report(connection, run_id, made_of, report)

        await database.run(store, deadline_s=300)
    return {"run_id": str(run_id), "book": book, **summary}


async def _whole_reach(connection: Connection, market: str) -> tuple[int, int] | None:
    first = await candles.first_open(connection, market)
    return None if first is None else (first, await candles.last_close(connection, market) or first)


def assumptions_of(request: BacktestRequest, source: Source) -> list[str]:
    costs, market = request.charges, source.market
    lines = [
        "Decides at a candle's close; fills at the open of the first present minute after it.",
        f"Taker fee {costs.taker_fee:.4%} of value, slippage {costs.slippage:.4%} of price, on every fill.",
        f"Targets wait at their price: maker fee {costs.maker_fee:.4%}, no slippage. Stops come first where a minute "
        "reached both; beyond a gap both fill at the open.",
        f"Every entry uses the whole equity times {request.leverage}; quantities are whole lots of {market.lot_size}.",
    ]
    if costs.slippage_of_range:
        lines.append(f"Slippage is higher by {costs.slippage_of_range:.2%} of the minute's high less its low.")
    if costs.entry_share_of_volume is not None:
        lines.append(
            f"An entry gets at most {costs.entry_share_of_volume:.2%} of its minute's volume; exits fill whole."
        )
    if request.costs.order_latency_minutes:
        lines.append(f"Orders reach the venue {request.costs.order_latency_minutes} minutes after the decision.")
    if source.width != MINUTE:
        lines.append(f"The file holds {source.width} candles: what happened within one is known at its end.")
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


def _market_named(key: str) -> Market:
    venue, symbol = split_market(key)
    return replace(_UNKNOWN_MARKET, venue=venue, symbol=symbol, base=symbol)


def _check_missing(request: BacktestRequest, source: Source, from_ms: int, to_ms: int) -> None:
    """Raise DataHole when too many of the minutes are unknown: what they would have done is anybody's guess."""
    missing, minutes = _missing(source.holes, from_ms), max(1, (to_ms - from_ms) // MINUTE_MS)
    if missing * 100 > request.max_missing_percent * minutes:
        raise DataHole(
            f"{missing} of {minutes} minutes are missing ({missing / minutes:.1%}), more than"
            f" {request.max_missing_percent} %.",
            field="max_missing_percent",
            value=str(request.max_missing_percent),
            fix="`manta data repair` fetches them; or choose another range, or allow more with --max-missing.",
        )


def _ruin_words(result: ReferenceResult, source: Source) -> list[str]:
    if result.ruined_ms is None:
        return []
    when = datetime.fromtimestamp(result.ruined_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return [
        f"RUINED at {when}: equity {result.equity.last:.2f} is below the least order of {source.market.min_notional}"
        f" {source.market.quote}; the run stopped there."
    ]


def _missing(holes: Sequence[Hole], from_ms: int) -> int:
    return sum(max(0, hole.to_ms - max(hole.from_ms, from_ms)) for hole in holes) // MINUTE_MS
