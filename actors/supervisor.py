"""The supervisor builds the graph from the configuration, watches it, and takes it down in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import ray
from ray.exceptions import RayError

from actors.brain import Brain, load_instances
from actors.execution import Execution
from actors.feed import Feed
from actors.notifier import NotifierRunner
from actors.recorder import Recorder
from actors.runtime import Writer
from actors.session import ACTOR_OPTIONS, Session, actor_name
from actors.timeframe import Timeframe
from actors.told import hole_event
from trading.candles import Hole, HoleReason
from trading.errors import MantaError
from trading.events import Event, EventKind
from trading.markets import split_market
from trading.notify.routing import outbox_rows
from trading.storage import backtests, events, markets, outbox, quality, records
from trading.storage.database import Connection
from trading.venues.binance.history import BinanceHistory

__all__ = ["Supervisor", "SupervisorActor"]

_HEALTH_S = 60.0
_HOLES_S = 300.0
_PRUNE_S = 3600.0
_ANSWER_S = 10.0
_STRIKES = 3
_KEEP_EVENTS_MS = 7 * 86_400_000


class SupervisorActor(Writer):
    """Owns the graph, the market and instance rows, and the start and stop messages.

    Ray's own restart of a dead actor is the fast path; the supervisor catches what Ray cannot see: an actor that
    lives but does not answer, and minutes that nobody accounts for.
    """

    role = "supervisor"

    async def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._actors: dict[str, Any] = {}
        self._strikes: dict[str, int] = {}
        self._started = False
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        if await self.read(_graph_exists):
            self._find()
        self.spawn(self._every(_HEALTH_S, self._check_health))
        self.spawn(self._every(_HOLES_S, self._check_holes))
        self.spawn(self._every(_PRUNE_S, self._prune))

    async def handle(self, message: Any) -> None:
        raise TypeError(f"the supervisor takes no {type(message).__name__}")

    async def build(self) -> list[str]:
        """Resolve markets and instances, then create every actor that is not there; returns their names once all are
        ready.
        """
        await self._ready.wait()
        await self._resolve()
        self._create()
        names = await asyncio.gather(*(handle.ready.remote() for handle in self._actors.values()))
        if not self._started:
            self._started = True
            await self._tell(EventKind.START)
        return list(names)

    async def report(self) -> list[dict[str, Any]]:
        """The health of every actor; one that does not answer says so."""
        return await asyncio.gather(*(self._ask(name, handle) for name, handle in self._actors.items()))

    async def take_down(self) -> list[dict[str, Any]]:
        """Stop in the order of the data's flow, so that what is under way is finished; returns the last health of
        each.
        """
        await self._ready.wait()
        last = await self.report()
        told = False
        for name, handle in list(self._actors.items()):
            if name == "notifier":
                await self._tell(EventKind.STOP)
                told = True
            with contextlib.suppress(RayError, asyncio.TimeoutError):
                await asyncio.wait_for(handle.stop.remote(), _ANSWER_S)
            ray.kill(handle, no_restart=True)
        if not told:
            await self._tell(EventKind.STOP)
        self._actors.clear()
        await self.stop()
        return last

    def facts(self) -> dict[str, Any]:
        return {"actors": sorted(self._actors), "strikes": {k: v for k, v in self._strikes.items() if v}}

    def _plan(self) -> list[tuple[str, Any, tuple[Any, ...]]]:
        """Every actor of the graph in the order of the data's flow: name, class, arguments."""
        session, config = self.session, self.session.config
        plan: list[tuple[str, Any, tuple[Any, ...]]] = [
            (actor_name("feed", market), Feed, (session, market)) for market in config.markets
        ]
        plan.append((actor_name("recorder"), Recorder, (session,)))
        plan += [(actor_name("timeframe", market), Timeframe, (session, market)) for market in config.markets]
        plan.append((actor_name("brain"), Brain, (session,)))
        books = sorted({item.book for item in config.strategies})
        plan += [(actor_name("execution", book), Execution, (session, book)) for book in books]
        plan.append((actor_name("notifier"), NotifierRunner, (session,)))
        return plan

    def _create(self) -> None:
        # Receivers first, so that no sender finds its receiver missing.
        for name, kind, arguments in reversed(self._plan()):
            self._actors[name] = kind.options(
                name=name, namespace=self.session.namespace, get_if_exists=True, **ACTOR_OPTIONS
            ).remote(*arguments)
        self._actors = {name: self._actors[name] for name, _, _ in self._plan()}

    def _find(self) -> None:
        for name, _, _ in self._plan():
            with contextlib.suppress(ValueError):
                self._actors[name] = ray.get_actor(name, namespace=self.session.namespace)
        self._started = bool(self._actors)

    async def _resolve(self) -> None:
        config = self.session.config
        async with BinanceHistory(config.venues.binance, origin=self.session.origin) as history:
            known = [await history.market(split_market(name)[1]) for name in config.markets]

        async def write(conn: Connection) -> None:
            for market in known:
                await markets.upsert_market(conn, market)
            for name, book in config.books.items():
                await records.upsert_book(conn, name, book)
            await records.upsert_instances(conn, await load_instances(conn, self.session))
            await backtests.fail_interrupted(conn)

        await self.commit({}, write)

    async def _tell(self, kind: EventKind) -> None:
        event = Event(
            kind=kind,
            event_time_ms=time.time_ns() // 1_000_000,
            stream="system",
            payload={
                "session": self.session.session_id,
                "origin": self.session.origin,
                "markets": list(self.session.config.markets),
                "strategies": [item.name for item in self.session.config.strategies],
            },
            cause_id=f"{kind}:{self.session.session_id}",
        )

        async def write(conn: Connection) -> None:
            await events.append_events(conn, [event])
            await outbox.enqueue(conn, outbox_rows(event, self.session.config.notify))

        await self.commit({}, write)

    async def _every(self, seconds: float, work: Any) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except MantaError as error:
                self.log.warning("check failed", check=work.__name__, error=str(error))

    async def _ask(self, name: str, handle: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await asyncio.wait_for(handle.health.remote(), _ANSWER_S)
        except (RayError, TimeoutError) as error:
            return {"actor": name, "ready": False, "error": type(error).__name__}
        return answer

    async def _check_health(self) -> None:
        for name, handle in list(self._actors.items()):
            answer = await self._ask(name, handle)
            before = self._strikes.get(name, 0)
            self._strikes[name] = before + 1 if "error" in answer else 0
            if before and not self._strikes[name]:
                self.log.info("actor answers again", actor=name)
            elif not before and self._strikes[name]:
                self.log.warning("actor does not answer", actor=name, error=answer["error"])
            if self._strikes[name] >= _STRIKES:
                self.log.error("actor restarted", actor=name)
                self._strikes[name] = 0
                ray.kill(handle, no_restart=False)

    async def _check_holes(self) -> None:
        for market in self.session.config.markets:

            async def write(conn: Connection, market: str = market) -> None:
                for from_ms, to_ms in await quality.unaccounted(conn, market):
                    hole = Hole(market, from_ms, to_ms, HoleReason.MISSING, "found by the supervisor")
                    await quality.record_hole(conn, hole)
                    await events.append_events(conn, [hole_event(hole)])

            await self.commit({}, write)

    async def _prune(self) -> None:
        oldest_ms = time.time_ns() // 1_000_000 - _KEEP_EVENTS_MS
        await self.commit({}, lambda conn: events.prune_events(conn, oldest_ms))


async def _graph_exists(conn: Connection) -> bool:
    return bool(await conn.fetchval("select exists (select from instances)"))


Supervisor = ray.remote(SupervisorActor)
