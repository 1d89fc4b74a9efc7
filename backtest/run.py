"""One backtest from request to stored result: candles in, reference run, its pessimistic twin, scores, rows out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from backtest.assumptions import assumptions_of, ruin_words, unfilled_words
from backtest.checked import check_all
from backtest.followed import failure_kept, progress_kept
from backtest.metrics.measure import Run, measure
from backtest.metrics.trades import Excursion
from backtest.provenance import provenance_of, records_fingerprint
from backtest.reference import ReferenceResult, run_reference
from backtest.report.document import document_of
from backtest.requests import BacktestRequest, BookRequest, RunRequest, read_request, resolve_symbol
from backtest.sources import Source, Span, check_missing, load_file, load_sources, span_of
from trading.errors import DataHole
from trading.instances import Instance
from trading.intervals import MINUTE_MS
from trading.storage import backtests
from trading.storage import markets as stored_markets
from trading.storage.database import Connection, Database

__all__ = [
    "BacktestRequest",
    "BookRequest",
    "RunRequest",
    "Source",
    "assumptions_of",
    "book_of",
    "load_file",
    "load_sources",
    "read_request",
    "resolve_symbol",
    "run_backtest",
    "run_stored",
    "simulate",
]

_PROGRESS_EVERY_S = 0.5
_NO_FILES: Mapping[str, Path] = {}


def book_of(run_id: UUID) -> str:
    """The book in which a run's decisions and fills are stored."""
    return f"backtest-{run_id}"


def simulate(
    request: RunRequest,
    sources: Sequence[Source],
    book: str,
    on_progress: Callable[[float], None] | None = None,
    *,
    twin: bool = True,
) -> ReferenceResult:
    """Run the reference engine as ``request`` says, with its twin at twice the costs if that is wanted."""
    span = span_of(request, sources)
    check_missing(request, sources, span)

    def tell(position_ms: int) -> None:
        if on_progress is not None:
            on_progress((position_ms - span.from_ms) / max(1, span.to_ms - span.from_ms))

    result = run_reference(
        [source.series for source in sources],
        instances=[replace(instance, book=book) for instance in request.instances(span.from_ms)],
        book_id=book,
        book=request.book(sources[0].market.quote),
        markets=[source.market for source in sources],
        live_from_ms=span.from_ms,
        holes=_joined([source.holes for source in sources]),
        natives=_joined([source.natives for source in sources]),
        on_progress=tell,
        twin_costs=request.costs.doubled() if twin else None,
        every_mark=False,
        stop_when_ruined=True,
    )
    if not result.records.signals:
        names = ", ".join(request.decided_on())
        raise DataHole(
            f"No candle of {names} closes in this range: there is nothing to decide on.",
            field="intervals",
            value=names,
            fix="Choose shorter intervals, or a longer range.",
        )
    return result


def run_backtest(
    request: RunRequest,
    sources: Sequence[Source],
    book: str,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[ReferenceResult, dict[str, Any], list[Excursion | None]]:
    """Run it, and its twin at twice the costs; returns the records, the result as plain data, and each trade's
    excursion.
    """
    result = simulate(request, sources, book, on_progress)
    instances = request.instances(result.equity.start_ms)
    span = span_of(request, sources)
    traded = replace(span, to_ms=result.ruined_ms or span.to_ms)
    records = result.records
    names = {item.instance_id: item.name for item in instances}
    candles = [source.series for source in sources]
    figures, reached = measure(Run(result.equity, result.trades, records.fills, records.transfers, candles, names))
    markets = {source.market.key: _minutes(source, traded) for source in sources}
    summary = {
        **result.score.to_dict(),
        "capital": str(request.capital),
        "start": span.from_ms,
        "end": span.to_ms,
        **{name: sum(own[name] for own in markets.values()) for name in ("candles", *_MINUTES)},
        "markets": markets,
        "decisions": sum(1 for item in records.decisions if item.actions),
        "fills": len(records.fills),
        **_parts(result, instances),
        "pessimistic": result.twin.to_dict() if result.twin is not None else None,
        "metrics": figures,
        "ruined_at": result.ruined_ms,
        "assumptions": [
            *assumptions_of(request, sources),
            *unfilled_words(records.orders.values()),
            *ruin_words(result, sources),
        ],
    }
    return result, summary, reached


async def run_stored(
    database: Database,
    run_id: UUID,
    request: RunRequest | Mapping[str, Any],
    files: Mapping[str, Path] = _NO_FILES,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Run a backtest whose row is queued: progress, result or error go into its row, what it did into its book.

    A request that is plain data is checked here, so that a bad one is told in its row too. ``files`` hold the candles
    of markets that are not read from the database.
    """
    book = book_of(run_id)
    async with failure_kept(database, backtests.JOBS, run_id):
        wanted = request if isinstance(request, RunRequest) else read_request(request)
        checked = await check_all(database, run_id, wanted.configured)
        sources = await database.run(lambda connection: load_sources(connection, wanted, files), deadline_s=300)
        async with progress_kept(database, backtests.JOBS, run_id, _PROGRESS_EVERY_S, on_progress) as tell:
            result, summary, reached = await asyncio.to_thread(run_backtest, wanted, sources, book, tell)
        records = result.records
        made_of = {**provenance_of(wanted, sources, files), "result": records_fingerprint(records)}
        report = document_of(wanted, sources, result, summary, reached)
        if checked is not None:
            summary["strategy_check"] = checked

        async def store(connection: Connection) -> None:
            for source in sources:
                if not source.known_market:
                    await stored_markets.upsert_market(connection, source.market)
            await backtests.store_result(
                connection,
                run_id,
                book=book,
                settings=wanted.book(sources[0].market.quote),
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


_MINUTES = ("absent_minutes", "missing_minutes")


def _minutes(source: Source, span: Span) -> dict[str, int]:
    """How many candles of a market the run saw, and how many minutes it did not."""
    bars, missing = source.bars(span.from_ms, span.to_ms), source.missing(span.from_ms, span.to_ms)
    minutes = (span.to_ms - span.from_ms) // MINUTE_MS
    absent = minutes - bars * (source.width.typical_ms // MINUTE_MS) - missing
    return {"candles": bars, "absent_minutes": absent, "missing_minutes": missing}


def _parts(result: ReferenceResult, instances: Sequence[Instance]) -> dict[str, Any]:
    """The score of each part of the capital: under ``parts``, and by interval where nothing else tells them apart."""
    names = {item.instance_id: item.name for item in instances}
    parts = [
        {"instance": names[key[0]], "instance_id": key[0], "market": key[1], "interval": key[2], **score.to_dict()}
        for key, score in result.sleeves.items()
    ]
    if len({key[:2] for key in result.sleeves}) > 1:
        return {"parts": parts}
    return {"intervals": {key[2]: score.to_dict() for key, score in result.sleeves.items()}, "parts": parts}


def _joined(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """All of them in a row."""
    return [item for part in parts for item in part]
