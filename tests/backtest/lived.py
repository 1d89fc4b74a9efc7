"""A book that has lived some days in a database: the live pipeline's own states, without its actors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import asyncpg

from tests.trading.accounts.ledger import market
from tests.trading.series import MARKET, Item, at, end_of, random_minutes
from trading.accounts.books import divide_capital
from trading.accounts.capital import retired_specs
from trading.accounts.execution import ExecutionState
from trading.accounts.paper_run import PaperRun
from trading.accounts.records import Record
from trading.brain import BrainState, FeatureValue, Reseed
from trading.candles import Candle, Hole, HoleReason, Source
from trading.config.model import Config
from trading.events import Heal, Signal
from trading.instances import Instance, resolve_instances
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage import candles, quality, records
from trading.storage.configs import record_book_configs
from trading.storage.cursors import set_cursor
from trading.storage.markets import upsert_market
from trading.storage.rebuild import read_restart
from trading.storage.records import store_records
from trading.storage.retired import read_retired
from trading.timeframe import Refold, TimeframeState

FIRST_DAY = at("2025-06-02 00:00")
SECOND_DAY = FIRST_DAY + DAY_MS
THIRD_DAY = SECOND_DAY + DAY_MS
BEGIN = FIRST_DAY - 200 * MINUTE_MS
LIVE_FROM = FIRST_DAY + 300 * MINUTE_MS
MINUTES = random_minutes(BEGIN, (THIRD_DAY + 5 * MINUTE_MS - BEGIN) // MINUTE_MS, seed=11)
INTERVALS = ["1m", "37m", "2h"]
CONFIG = Config.model_validate(
    {
        "intervals": INTERVALS,
        "features": [{"name": "shown", "kind": "sma", "params": {"period": 9}, "intervals": INTERVALS}],
        "strategies": [
            {"name": "quick", "strategy": "ma44", "params": {"period": 5}, "intervals": INTERVALS, "profile": "perp"},
            {"name": "slow", "strategy": "ma125", "params": {"period": 20}, "intervals": ["37m"], "profile": "spot"},
        ],
    }
)


@dataclass(slots=True)
class Life:
    """A recorder, timeframe, brain and book in one: ``tell`` it minutes, and the database holds what they led to.

    ``late`` are decisions (by close time) that come too late to act on.
    """

    connection: asyncpg.Connection
    config: Config = CONFIG
    live_from_ms: int = LIVE_FROM
    late: frozenset[int] = frozenset()
    timeframe: TimeframeState = field(init=False)
    brain: BrainState = field(init=False)
    book: PaperRun = field(init=False)
    known: dict[int, Candle] = field(default_factory=dict)
    derived: dict[tuple[str, int], Candle] = field(default_factory=dict)
    missing: list[Hole] = field(default_factory=list)

    async def begin(self) -> Life:
        await upsert_market(self.connection, market(MARKET))
        instances = resolve_instances(self.config, self.live_from_ms)
        await self.configure(self.config, instances)
        self.timeframe = TimeframeState(MARKET, self.config.all_intervals(), self.config.timeframes.heal_wait_minutes)
        self.brain = BrainState(instances, self.config.features, [MARKET])
        self.book = await self._book(instances)
        await self._write(list(self.book.state.start()), [], [])
        return self

    async def configure(self, config: Config, instances: Sequence[Instance]) -> None:
        """What the supervisor stores before any actor works."""
        await records.upsert_book(self.connection, "paper", config.books["paper"])
        await records.upsert_instances(self.connection, instances)
        await record_book_configs(self.connection, config, instances, self.live_from_ms)

    async def restart(self, config: Config, live_from_ms: int) -> None:
        """Go on with another configuration, from what is committed."""
        known = await records.live_from(self.connection)
        instances = resolve_instances(config, live_from_ms, known)
        await self.configure(config, instances)
        self.config = config
        position = self.timeframe.position_ms or 0
        self.brain = BrainState(instances, config.features, [MARKET], {MARKET: position})
        self._reseed(position)
        before, self.book = self.book, await self._book(instances)
        before.state.validate()
        self.book.state.restore(**(await self._restart(position))._asdict())
        await self._write([*self.book.state.start(), *self.book.resume()], [], [])

    async def tell(self, items: Iterable[Item | Heal]) -> None:
        """Minutes, holes and heals in the order in which a feed tells them."""
        batch = list(items)
        await self.record(batch)
        out: list[Record] = []
        values: list[FeatureValue] = []
        signals: list[Signal] = []
        for item in batch:
            for told in self._fold(item):
                if isinstance(told, Hole | Candle) and end_of(told) > (self.timeframe.position_ms or 0):
                    raise AssertionError(told)
                for thought in self.brain.handle(told):
                    if isinstance(thought, Reseed):
                        self._reseed(thought.upto_ms)
                    elif isinstance(thought, FeatureValue):
                        values.append(thought)
                    else:
                        signals += [thought] if isinstance(thought, Signal) else []
                        late = thought.close_time_ms in self.late
                        out += self.book.handle(thought, thought.close_time_ms + 500_000 if late else None)
        position = self.timeframe.position_ms or 0
        for thought in self.brain.advance(MARKET, position):
            if isinstance(thought, FeatureValue):
                values.append(thought)
            else:
                signals.append(thought)
                out += self.book.handle(thought, None)
        await self._write(out, values, signals)
        for name in (f"brain:{MARKET}", f"execution:paper:{MARKET}"):
            await set_cursor(self.connection, name, position)

    async def _book(self, instances: Sequence[Instance]) -> PaperRun:
        settings = self.config.books["paper"]
        retired = retired_specs(await read_retired(self.connection, "paper", instances))
        sleeves = [*divide_capital(instances, "paper", settings.capital), *retired]
        return PaperRun(ExecutionState("paper", settings, sleeves, [market(MARKET)]), settings.costs)

    def _fold(self, item: Item | Heal) -> Iterable[Any]:
        for told in self.timeframe.handle(item):
            if isinstance(told, Refold):
                minutes = [self.known[ms] for ms in sorted(self.known) if told.from_ms <= ms < told.to_ms]
                refolded = self.timeframe.refolded(minutes, self.missing, list(self.derived.values()))
                for again in refolded:
                    self._keep(again)
                    yield again
            else:
                self._keep(told)
                yield told

    def _keep(self, told: Any) -> None:
        if isinstance(told, Candle) and told.source == Source.DERIVED:
            self.derived[told.interval, told.open_time_ms] = told

    async def record(self, items: Iterable[Item | Heal]) -> None:
        """What the recorder does, before anybody else is told."""
        for kind, run in groupby(items, key=type):
            await self._record(kind, list(run))

    async def _record(self, kind: type, items: list[Any]) -> None:
        fresh = items if kind is Candle else [candle for item in items if kind is Heal for candle in item.candles]
        await candles.upsert_candles(self.connection, fresh)
        self.known.update({candle.open_time_ms: candle for candle in fresh})
        for item in items:
            if isinstance(item, Heal):
                await quality.resolve_hole(self.connection, item)
                self.missing = [hole for hole in self.missing if not item.from_ms < hole.to_ms <= item.to_ms]
            elif isinstance(item, Hole):
                await quality.record_hole(self.connection, item)
                self.missing += [item] if item.reason == HoleReason.MISSING else []

    def _reseed(self, upto_ms: int) -> None:
        for need in self.brain.needs(MARKET):
            source = (
                [self.known[ms] for ms in sorted(self.known)]
                if need.interval == "1m"
                else [self.derived[key] for key in sorted(self.derived) if key[0] == need.interval]
            )
            newest = [candle for candle in source if candle.close_time_ms <= upto_ms][-need.candles :]
            first_ms = newest[0].open_time_ms if newest else upto_ms
            self.brain.seed(MARKET, need.interval, newest, [hole for hole in self.missing if hole.to_ms > first_ms])

    async def _restart(self, position_ms: int) -> Any:
        return await read_restart(self.connection, "paper", {MARKET: position_ms})

    async def _write(self, out: list[Record], values: list[FeatureValue], signals: list[Signal]) -> None:
        await candles.upsert_candles(self.connection, self.derived.values())
        await records.insert_features(self.connection, values)
        await records.insert_signals(self.connection, signals)
        await store_records(self.connection, out, self.book.state.positions(MARKET))
