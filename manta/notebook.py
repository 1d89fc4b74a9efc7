"""Manta in a notebook or a script: candles, features, backtests and walk-forwards as numpy arrays.

    from manta import notebook as manta

    run = manta.backtest("ma44", market="binance:BTCUSDT", intervals="1h", file="candles.csv")
    run.report("report.html")

Whatever is run here is what the commands run: the same engine, costs, checks and figures. Nothing is stored. Every
function blocks until it is done and may be called where an event loop runs, as in Jupyter. Times go in as the commands
read them (``2025-07-16``, ``2025-07-16T12:00``, unix milliseconds, ``-10d``; UTC) and come out as ``datetime64[ms]`` in
UTC. Errors are those of ``trading.errors``: BadInput and DataHole name the field, the value and the fix.

``docs/notebook.md`` shows it at work.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from backtest.coarse import check_foldable
from backtest.covered import check_past, uncovered
from backtest.honesty.searched import run_walkforward
from backtest.honesty.walkforward import WalkForwardRequest, check_size
from backtest.provenance import provenance_of
from backtest.refusals import explained
from backtest.report.document import document_of
from backtest.report.page import page_of
from backtest.run import BacktestRequest, Source, load_file, load_sources, resolve_symbol, run_backtest
from backtest.sweep.pool import HerePool, ProcessPool
from backtest.sweep.request import widest
from manta.notebook_columns import Columns, Floats, candle_columns, equity_columns, fold_columns, trade_columns
from manta.options import parse_time
from manta.service import database_target
from trading.candle_files import load_columns
from trading.candles import Candle
from trading.config.loading import load_config, strategies_folder
from trading.errors import BadInput
from trading.features.contract import FeatureTrack
from trading.features.registry import load_feature
from trading.fold import fold
from trading.intervals import parse_interval
from trading.storage import candles as stored_candles
from trading.storage import quality
from trading.storage.database import Connection, Database
from trading.storage.migrate import migrate
from trading.strategies.check.apart import require_honest
from trading.strategies.folder import own_names, own_source
from trading.strategies.registry import STRATEGIES, load_strategy
from trading.venues.simulator.sample import SAMPLE_FILE

__all__ = ["SAMPLE", "Backtest", "Columns", "WalkForward", "backtest", "candles", "feature", "walkforward"]

SAMPLE: Path = SAMPLE_FILE
"""A file with a month of BTCUSDT minutes that comes with Manta, July 2025."""

Time = str | int | None
_Result = TypeVar("_Result")
_Model = TypeVar("_Model", BacktestRequest, WalkForwardRequest)


@dataclass(frozen=True, slots=True)
class Backtest:
    """A finished run.

    ``summary`` is what ``manta backtest run --json`` prints, ``metrics`` its figures (``docs/metrics.md``): shares of
    one, money in quote currency, None where a figure is not defined. ``equity`` has the columns ``time`` and ``equity``
    (quote currency), one row for each full hour and the last close. ``trades`` has a row a trade in the order of
    entries: ``entry_time``, ``exit_time`` (NaT while open), ``direction``, ``interval``, ``entry_price``,
    ``exit_price``, ``quantity``, ``pnl`` (net of fees, quote currency), ``return``, ``fees``, ``exit_reason``, ``tag``;
    numbers are float64, NaN where there is none yet.
    """

    summary: dict[str, Any]
    equity: Columns
    trades: Columns
    document: dict[str, Any] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)

    @property
    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = self.summary["metrics"]
        return found

    def report(self, path: str | Path) -> Path:
        """Write the report, one HTML page that stands alone, and return where; BadInput when it cannot be written."""
        return _write(Path(path), page_of(self.document, self.provenance))

    def __repr__(self) -> str:
        told, document = self.summary, self.document
        ratio = "–" if told["sharpe"] is None else f"{told['sharpe']:.2f}"
        return (
            f"Backtest({document['strategy']} on {document['market']} {', '.join(document['intervals'])}:"
            f" {told['trades']} trades, total return {told['total_return']:+.2%}, Sharpe {ratio},"
            f" max drawdown {told['max_drawdown']:.2%})"
        )


@dataclass(frozen=True, slots=True)
class WalkForward:
    """A finished walk-forward. ``results`` is what ``manta walkforward run --json`` prints, ``out_of_sample`` the part
    of it to believe. ``folds`` has a row a test: ``test_start``, ``test_end``, one column for each searched parameter,
    ``train_sharpe``, ``test_sharpe``, ``test_return``, ``trades``.
    """

    results: dict[str, Any]
    folds: Columns

    @property
    def out_of_sample(self) -> dict[str, Any]:
        found: dict[str, Any] = self.results["out_of_sample"]
        return found

    def __repr__(self) -> str:
        told = self.out_of_sample
        ratio = "–" if told["sharpe"] is None else f"{told['sharpe']:.2f}"
        return (
            f"WalkForward({self.results['strategy']} on {self.results['market']}: {len(self.folds)} tests,"
            f" {told['days']} days out of sample, total return {told['total_return']:+.2%}, Sharpe {ratio})"
        )


def candles(
    *,
    market: str | None = None,
    interval: str = "1m",
    start: Time = None,
    end: Time = None,
    file: str | Path | None = None,
    config: str | Path | None = None,
) -> Columns:
    """Closed candles that open at or after ``start`` and close by ``end``, from ``file`` or else from the database.

    Columns, each of shape (n,) and ascending: ``open_time`` and ``close_time`` (exclusive), ``open``, ``high``,
    ``low``, ``close``, ``volume`` (float64, quote and base currency), ``complete`` (bool: no minute is missing).
    Candles of a file are folded to ``interval`` where it holds shorter ones; those of the database are the recorded
    ones, or folded from its minutes. ``market`` may be left out where one is configured.

    Raises BadInput for an unknown market, interval or file, DataHole when the range holds none.
    """
    name, width = _market(market, config), parse_interval(interval).name
    reach: tuple[int, int] | None
    start_ms, end_ms = _range(start, end)
    if file is not None:
        columns = load_columns(Path(file), name)
        check_foldable([width], columns.interval)
        found = columns.candles()
        found = found if columns.interval.name == width else fold(found, width)
        reach, what = (columns.start_ms, columns.end_ms), Path(file).name
    else:
        found, reach = _with_database(config, lambda connection: _stored(connection, name, width))
        what = name
    chosen = [
        item
        for item in found
        if (start_ms is None or item.open_time_ms >= start_ms) and (end_ms is None or item.close_time_ms <= end_ms)
    ]
    if not chosen:
        raise uncovered(f"{what} as {width} candles", start_ms, end_ms, reach)
    return candle_columns(chosen)


def feature(of: Columns, kind: str, *, output: str = "", **params: int | float | str) -> Floats:
    """A feature of candles, as strategies see it: shape (n,), float64, NaN while it warms up and where it is undefined.

    Row i is computed from candles up to and with row i; an incomplete candle makes it start over. ``kind`` and
    ``params`` are those of ``docs/features.md``, such as ``feature(candles, "sma", period=20)``; ``output`` chooses one
    of several, such as ``"signal"`` of ``macd``. BadInput names an unknown kind, parameter or output.
    """
    track = FeatureTrack(load_feature(kind, params, output))
    if not all(isinstance(row, Candle) for row in of.rows) or not of.rows:
        raise BadInput("These are no candles.", field="of", value=repr(of), fix="Give what candles() returned.")
    values = np.full(len(of), np.nan)
    for place, candle in enumerate(of.rows):
        if not candle.complete:
            track.reset()
            continue
        value = track.update(candle)
        values[place] = np.nan if value is None else value
    return values


def backtest(
    strategy: str,
    *,
    intervals: str | Sequence[str],
    market: str | None = None,
    params: Mapping[str, int | float] | None = None,
    start: Time = None,
    end: Time = None,
    file: str | Path | None = None,
    config: str | Path | None = None,
    **settings: Any,
) -> Backtest:
    """Run one strategy over the candles of ``file``, or over recorded ones, as ``manta backtest run`` does.

    ``strategy`` is a name that ``manta strategies list`` shows, or the path of a .py file; one of your own is checked
    for looking ahead first. ``settings`` are the further fields of ``BacktestRequest``: ``capital`` (quote currency,
    default 10000), ``profile`` (``"perp"`` or ``"spot"``), ``leverage``, ``size``, ``costs``, ``exits``, ``entries``,
    ``max_missing_percent``. Takes about a second for a month of minutes.

    Raises BadInput for whatever cannot be run and for a strategy that fails or cheats, DataHole when the candles do not
    cover the range.
    """
    request = _request(
        strategy, intervals=intervals, market=market, params=params, start=start, end=end, config=config, **settings
    )
    source, path = _source(request, file, config)
    result, summary, reached = run_backtest(request, [source], "backtest-notebook")
    return Backtest(
        summary=summary,
        equity=equity_columns(result.records.equity),
        trades=trade_columns(result.trades),
        document=document_of(request, [source], result, summary, reached),
        provenance=provenance_of(request, [source], {} if path is None else {request.market: path}),
    )


def walkforward(
    strategy: str,
    grid: Mapping[str, Sequence[int | float]],
    *,
    intervals: str | Sequence[str],
    file: str | Path | None = None,
    workers: int = 1,
    windows: Mapping[str, Any] | None = None,
    **run: Any,
) -> WalkForward:
    """Choose among the values of ``grid`` on some days, judge on the days after them, and so on.

    ``windows`` are the fields of ``WalkForwardRequest`` that say which: ``train`` and ``test`` (days, default 90 and
    30), ``mode``, ``purge``, ``embargo``, ``seed``, and the search's: ``method``, ``trials``, ``halving``,
    ``objective``, ``min_trades``, ``constraints``. ``run`` is what else ``backtest`` takes. ``workers`` above 1 are
    processes, which a script must start under ``if __name__ == "__main__":``.

    Raises as ``backtest`` does, and BadInput when the range has no room for a test.
    """
    base = _request(strategy, intervals=intervals, **run)
    request = _checked(WalkForwardRequest, {"backtest": base, "grid": grid, **(windows or {})})
    check_size(request)
    source, _ = _source(widest(request.search()), file, run.get("config"))
    with ThreadPoolExecutor(1) as apart:
        # In a thread of its own: a notebook has an event loop that runs already.
        pool = ProcessPool(workers) if workers > 1 else HerePool()
        try:
            results = apart.submit(asyncio.run, run_walkforward(request, source, pool)).result()
        finally:
            pool.close()
    return WalkForward(results, fold_columns(results))


def _request(
    strategy: str,
    *,
    intervals: str | Sequence[str],
    market: str | None = None,
    params: Mapping[str, int | float] | None = None,
    start: Time = None,
    end: Time = None,
    config: str | Path | None = None,
    **settings: Any,
) -> BacktestRequest:
    """The checked request, of a strategy that does not look ahead."""
    name, source = _text_of(strategy, config)
    start_ms, end_ms = _range(start, end)
    names = intervals.split(",") if isinstance(intervals, str) else intervals
    wanted = {
        "strategy": name,
        "market": _market(market, config),
        "intervals": [text.strip() for text in names],
        "params": dict(params or {}),
        "start_ms": start_ms,
        "end_ms": end_ms,
        "source": source,
    }
    request = _checked(BacktestRequest, wanted | settings)
    if source:
        _honest(name, tuple(sorted(request.params.items())), source, request.intervals[0])
    return request


@lru_cache(maxsize=64)
def _honest(name: str, params: tuple[tuple[str, int | float], ...], source: str, interval: str) -> None:
    """Have a text checked once; an error is not remembered, and raised again."""
    require_honest(name, dict(params), source, interval)


def _checked(model: type[_Model], wanted: Mapping[str, Any]) -> _Model:
    try:
        return model.model_validate(wanted)
    except ValidationError as error:
        raise explained(error) from None


def _text_of(strategy: str, config: str | Path | None) -> tuple[str, str]:
    """The name and the text of a strategy; the text is empty for one that is built in."""
    path = Path(strategy)
    folder = path.parent if path.suffix == ".py" else strategies_folder(_path(config), os.environ)
    name = path.stem if path.suffix == ".py" else strategy
    source = own_source(folder, name) if path.suffix == ".py" else own_source(folder, name, STRATEGIES)
    if path.suffix == ".py" and not source:
        raise BadInput(
            f"There is no file {strategy}.", field="strategy", value=strategy, fix="Give the path of a strategy."
        )
    load_strategy(name, None, source, own_names(folder))
    return name, source


def _market(market: str | None, config: str | Path | None) -> str:
    """``market`` if it is a full name, else the configured one that it means, or the only one."""
    if market is not None and ":" in market:
        return market
    configured = load_config(_path(config), os.environ).markets
    if market is not None:
        return resolve_symbol(configured, market)
    if len(configured) != 1:
        raise BadInput("Which market?", field="market", fix=f"Give market, one of: {', '.join(configured)}.")
    return configured[0]


def _range(start: Time, end: Time) -> tuple[int | None, int | None]:
    start_ms, end_ms = (
        parse_time(str(value), name) if value is not None else None for name, value in (("start", start), ("end", end))
    )
    return start_ms, end_ms


def _source(request: BacktestRequest, file: str | Path | None, config: str | Path | None) -> tuple[Source, Path | None]:
    if file is None:
        [source] = _with_database(config, lambda connection: load_sources(connection, request, {}))
        return source, None
    path = Path(file)
    source = load_file(path, request.market, request)
    check_past(source.candles[-1].close_time_ms, path.name, int(time.time() * 1000))
    return source, path


async def _stored(connection: Connection, market: str, width: str) -> tuple[list[Candle], tuple[int, int] | None]:
    """All recorded candles of ``width``, folded from minutes where there are none, and from when to when they are."""
    found = await stored_candles.read_candles(connection, market, width)
    if not found and width != "1m":
        minutes = await stored_candles.read_candles(connection, market, "1m")
        reach = (minutes[0].open_time_ms, minutes[-1].close_time_ms) if minutes else (0, 0)
        holes = await quality.holes_between(connection, market, *reach, reason="missing")
        found = fold(minutes, width, holes) if minutes else []
    return found, (found[0].open_time_ms, found[-1].close_time_ms) if found else None


def _with_database(config: str | Path | None, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
    async def run() -> _Result:
        async with database_target(_path(config)) as target:
            await migrate(target, "venue")
            async with Database(target, application_name="manta notebook") as database:
                return await database.run(work, deadline_s=300)

    # A thread of its own: the loop of a notebook cannot be entered again.
    with ThreadPoolExecutor(1, thread_name_prefix="manta") as pool:
        return pool.submit(lambda: asyncio.run(run())).result()


def _path(config: str | Path | None) -> Path | None:
    return Path(config) if config is not None else None


def _write(path: Path, text: str) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror}.", field="path", value=str(path), fix="Give another path."
        ) from error
    return path
