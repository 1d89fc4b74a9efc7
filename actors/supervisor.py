"""The supervisor builds the graph from the configuration, watches it, and takes it down in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from actors.brain import Brain, load_instances
from actors.cross_check import CrossCheck
from actors.downloads import Downloads
from actors.execution import Execution
from actors.feed import Feed
from actors.feeds import Feeds
from actors.gaps import GAPS_S, GapMonitor
from actors.nightly import Nightly
from actors.notifier import NotifierRunner
from actors.packing import holder, holders, holding_role
from actors.processes import end_worker
from actors.recorder import Recorder
from actors.runtime import Writer
from actors.session import ACTOR_OPTIONS, Session, actor_name
from actors.stages import REST_S, role_of, stage_seconds, stages
from actors.timeframe import Timeframe
from actors.timeframes import Brains, Timeframes
from actors.told import hole_event
from actors.troubles import Troubles
from trading.candles import Hole, HoleReason
from trading.config.model import Config, Notify
from trading.errors import MantaError
from trading.events import Event, EventKind
from trading.instances import Instance, resolve_instances
from trading.nightly import DueDay
from trading.notify.routing import tell
from trading.spans import Span
from trading.storage import (
    backtests,
    cursors,
    events,
    host_orders,
    markets,
    outbox,
    quality,
    rebuilds,
    records,
    walkforwards,
)  # fmt: skip
from trading.storage.actor_health import ActorFound, forget_actors, note_actors
from trading.storage.configs import record_book_configs
from trading.storage.database import Connection, listen
from trading.storage.host_orders import HostOrder
from trading.storage.leases import revoke
from trading.storage.reloads import store_reload
from trading.storage.retired import retired_markets
from trading.venues.adapter import History
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.resolve import resolve_markets

__all__ = ["Supervisor", "SupervisorActor"]

_HEALTH_S = 15.0
_HOLES_S = 300.0
# What a brain knows of is worked off by then.
_REBUILD_S = 5.0
_PRUNE_S = 3600.0
_ANSWER_S = 10.0
# Of the time an actor has to stop, what it is told: the answer must still arrive.
_STOP_SHARE = 0.9
_STRIKES = 12
_RETRY_S = 0.2
# What a reload may start anew, as ``manta.reload`` says.
_STARTED_ANEW = ("timeframe", "brain", "execution", "notifier")
# A replay's nights are seconds apart.
_NIGHTLY_S = {"venue": 60.0, "simulator": 1.0}
_DOWNLOADS_S = {"venue": 10.0, "simulator": 1.0}
_KEEP_EVENTS_MS = 7 * 86_400_000
_KEEP_SENT_MS = 30 * 86_400_000
_KEEP_DEAD_MS = 90 * 86_400_000

Check = Callable[[Notify, DueDay], Awaitable[str]]
"""Has the reference replay one day, as ``actors.nightly.CheckDay`` says, and tells those that are to know."""


class _Rest(NamedTuple):
    """The process of an actor that is to rest, None if unknown, and whether it has finished what it had in hand."""

    pid: int | None
    rested: bool


class SupervisorActor(Writer):
    """Owns the graph, the market and instance rows, and the start and stop messages.

    Ray's own restart of a dead actor is the fast path; the supervisor catches what Ray cannot see: an actor that
    lives but does not answer, and minutes that nobody accounts for.
    """

    role = "supervisor"

    async def __init__(self, session: Session, check_day: Check) -> None:
        """``check_day`` has the reference replay a day that is over."""
        super().__init__(session)
        self._check_day = check_day
        self._actors: dict[str, Any] = {}
        self._strikes: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self._troubles: Troubles
        self._gaps: GapMonitor
        self._started = False
        self._down: asyncio.Task[list[dict[str, Any]]] | None = None
        # Books that hold something which no configured instance has: they trade on until it is closed.
        self._holding: set[str] = set()
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        self._troubles = Troubles(self.session, self.read, self.commit)
        self._gaps = GapMonitor(lambda: self.session, self.read, self.commit)
        await self._look_into_books()
        if await self.read(_graph_exists):
            self._find()
        self.spawn(self._obey())
        self.spawn(self._every(_HEALTH_S, self._check_health))
        # A session that is hurt on purpose has no five minutes to wait.
        self.spawn(self._every(_HOLES_S if self.session.crash_dir is None else 1.0, self._check_holes))
        self.spawn(self._every(_PRUNE_S, self._prune))
        self.spawn(self._every(GAPS_S[self.session.origin], self._gaps.work))
        if self.session.config.cross_check.enabled:
            cross = CrossCheck(self.session, self.read, self.commit, self.venue_now_ms)
            self.spawn(self._every(cross.every_s, cross.work))
        if (settings := self.session.config.nightly).enabled:
            nightly = Nightly(settings.at_ms, self.read, lambda day: self._check_day(self.session.config.notify, day))
            self.spawn(self._every(_NIGHTLY_S[self.session.origin], nightly.work))
        if self.session.config.downloads.enabled:
            downloads = Downloads(self.session, self._history, self.venue_now_ms)
            self.spawn(self._every(_DOWNLOADS_S[self.session.origin], downloads.work))

    async def handle(self, message: Any) -> None:
        raise TypeError(f"the supervisor takes no {type(message).__name__}")

    async def build(self) -> list[str]:
        """Resolve markets and instances, then create every actor that is not there; returns their names once all are
        ready.
        """
        await self._ready.wait()
        await self._resolve()
        await self._look_into_books()
        self._create()
        names = await asyncio.gather(*(handle.ready.remote() for handle in self._actors.values()))
        if not self._started:
            self._started = True
            await self._tell(EventKind.START)
        await self._check_health()
        # Beside the start: it takes up to a second for each market with years of minutes.
        self.spawn(self._once(self._check_holes))
        return list(names)

    async def report(self) -> list[dict[str, Any]]:
        """The health of every actor; one that does not answer says so."""
        return _each(await asyncio.gather(*(self._ask(name, handle) for name, handle in self._actors.items())))

    async def take_down(self, within_s: float) -> list[dict[str, Any]]:
        """Stop all in the order of the data's flow, so that what is under way is finished as far as the time allows;
        returns the last health of each. A second call waits for the first.
        """
        if self._down is None:
            self._down = asyncio.ensure_future(self._take_down(within_s))
        return await asyncio.shield(self._down)

    async def _take_down(self, within_s: float) -> list[dict[str, Any]]:
        end = time.monotonic() + within_s
        last: list[dict[str, Any]] = []
        groups = stages(self._actors)
        for place, names in enumerate(groups):
            if place == len(groups) - 1:
                await self._tell_stop(stage_seconds(end - time.monotonic(), 2))
            seconds = stage_seconds(end - time.monotonic(), len(groups) - place)
            last += _each(await asyncio.gather(*(self._end(name, seconds) for name in names)))
        self._actors.clear()
        return last

    async def _tell_stop(self, within_s: float) -> None:
        try:
            await asyncio.wait_for(self._tell(EventKind.STOP), within_s)
        except TimeoutError:
            self.log.warning("the end could not be told", within_s=round(within_s, 2))

    async def _end(self, name: str, within_s: float) -> dict[str, Any]:
        handle = self._actors[name]
        try:
            last: dict[str, Any] = await asyncio.wait_for(handle.stop.remote(within_s * _STOP_SHARE), within_s)
        except (RayError, TimeoutError) as error:
            self.log.warning("actor did not stop by itself", actor=name, error=type(error).__name__)
            last = {"actor": name, "ready": False, "error": type(error).__name__}
        ray.kill(handle, no_restart=True)
        return last

    async def _obey(self) -> None:
        """Do what the host process asks for through the database, for ever."""
        async with contextlib.aclosing(
            listen(self.session.target, host_orders.CHANNEL, application_name=f"{self.name} orders")
        ) as told:
            async for _ in told:
                for order in await self.read(lambda conn: host_orders.unanswered(conn, self.session.session_id)):
                    answer = await self._do(order)
                    await self.commit({}, lambda conn, n=order.id, a=answer: host_orders.answer_order(conn, n, a))

    async def _do(self, order: HostOrder) -> dict[str, Any]:
        if order.verb == "take_down":
            return {"actors": await self.take_down(order.detail["within_s"])}
        if order.verb == "reload":
            return await self._reload(Config.model_validate(order.detail["config"]), order.detail)
        raise ValueError(f"the host asks for {order.verb!r}, which no supervisor knows")

    async def _reload(self, config: Config, detail: dict[str, Any]) -> dict[str, Any]:
        """Go by ``config`` from now on, and have the actors of ``detail["roles"]`` do so; feeds and recorder go on.

        Those actors are at rest when the new configuration is committed, so that each candle is handled under exactly
        one of the two. Repeatable: a supervisor that dies on the way finds the order unanswered and starts over.
        """
        await self._ready.wait()
        before = {item.instance_id: item.name for item in await self.read(self._load_instances)}
        roles = {holding_role(self.session.config, role) for role in detail["roles"]}
        resting = await self._rest_all(roles, detail["rest_s"])
        for within_s in (REST_S, 2 * REST_S):
            if all(rested for _, rested in resting.values()):
                break
            # Not in the midst of a candle: what it leads to would be half of the old configuration, half of the new.
            await self._wake(resting, within_s)
            resting = await self._rest_all(roles, within_s)
        await self.commit({}, lambda conn: self._enact(conn, config, roles, detail["start_ms"]))
        self.session = replace(self.session, config=config)
        self._troubles = Troubles(self.session, self.read, self.commit)
        await self._look_into_books()
        planned = {name for name, _, _ in self._plan()}
        for name in resting:
            ray.kill(self._actors[name], no_restart=name not in planned)
        self._create()
        recorder = self._actors[actor_name("recorder")]
        pids = {name: found.pid for name, found in resting.items()}
        await asyncio.gather(
            self._reconfigure(recorder), *(self._ready_again(name, pids.get(name)) for name in planned)
        )
        await self.commit({}, forget_actors)
        await self._check_health()
        after = {item.instance_id: item.name for item in await self.read(self._load_instances)}
        return {
            "added": sorted(name for identity, name in after.items() if identity not in before),
            "removed": sorted(name for identity, name in before.items() if identity not in after),
            "kept": sorted(name for identity, name in after.items() if identity in before),
        }

    async def _look_into_books(self) -> None:
        instances = await self.read(self._load_instances)
        self._holding = {book for book, _ in await self.read(lambda conn: retired_markets(conn, instances))}

    async def _rest_all(self, roles: Collection[str], within_s: float) -> dict[str, _Rest]:
        """Have all actors of ``roles`` rest, senders before receivers."""
        resting: dict[str, _Rest] = {}
        for names in stages(name for name in self._actors if role_of(name) in roles):
            found = await asyncio.gather(*(self._rest(name, within_s) for name in names))
            resting |= zip(names, found, strict=True)
        return resting

    async def _rest(self, name: str, within_s: float) -> _Rest:
        """Have the actor finish what it has in hand and take no more. One that does not answer is ended: it must not
        sit on a transaction.
        """
        try:
            last = await asyncio.wait_for(self._actors[name].stop.remote(within_s * _STOP_SHARE), within_s)
        except (RayError, TimeoutError) as error:
            self.log.warning("actor did not rest", actor=name, error=type(error).__name__)
            pid = self._pids.get(name)
            end_worker(pid or 0)
            return _Rest(pid, rested=False)
        members = _each([last])
        return _Rest(int(members[0]["pid"]), all(member["finished"] for member in members))

    async def _wake(self, resting: Mapping[str, _Rest], within_s: float) -> None:
        """Let those at rest go on as before, so that they finish what they have begun; give up after ``within_s``."""
        for name in resting:
            ray.kill(self._actors[name], no_restart=False)
        again = asyncio.gather(*(self._ready_again(name, found.pid) for name, found in resting.items()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(again, within_s)

    async def _enact(self, conn: Connection, config: Config, roles: Collection[str], start_ms: int | None) -> None:
        """In the transaction of a reload: the books and instances of ``config``, and itself.

        New instances decide from ``start_ms`` on; None, in lockstep, is where the brain has come to.
        """
        anew = [role for role in _STARTED_ANEW if holding_role(self.session.config, role) in roles]
        # First, so that nobody commits under the old configuration after it: one may be at work still, or again.
        await revoke(conn, anew, self.lease.owner)
        if start_ms is None:
            start_ms = max((await cursors.read_cursors(conn, "brain:")).values(), default=self.session.start_ms)
        for name, book in config.books.items():
            await records.upsert_book(conn, name, book)
        instances = resolve_instances(config, start_ms, await records.live_from(conn))
        await records.upsert_instances(conn, instances)
        await record_book_configs(conn, config, instances, start_ms)
        await store_reload(conn, self.session.session_id, config)

    async def _load_instances(self, conn: Connection) -> list[Instance]:
        return await load_instances(conn, self.session)

    async def _reconfigure(self, handle: Any) -> None:
        while True:
            try:
                await handle.reconfigure.remote(self.session.config)
            except RayError:
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _ready_again(self, name: str, old_pid: int | None) -> None:
        """Wait until the actor is rebuilt in another process than ``old_pid``; Ray starts it again by itself."""
        while True:
            with contextlib.suppress(RayError):
                members = _each([await self._actors[name].health.remote()])
                if all(member["ready"] and member["pid"] != old_pid for member in members):
                    return
            await asyncio.sleep(_RETRY_S)

    def _history(self, venue: str) -> History:
        return self.process.gateway(venue).history

    def facts(self) -> dict[str, Any]:
        strikes = {name: count for name, count in self._strikes.items() if count}
        troubles = self._troubles.open if self._ready.is_set() else []
        return {"actors": sorted(self._actors), "strikes": strikes, "troubles": troubles}

    def _plan(self) -> list[tuple[str, Any, tuple[Any, ...]]]:
        """Every actor of the graph in the order of the data's flow: name, class, arguments."""
        session, config = self.session, self.session.config
        plan: list[tuple[str, Any, tuple[Any, ...]]] = []
        for name, group in holders(config, "feed").items():
            plan.append((name, Feeds, (session, name, group)) if len(group) > 1 else (name, Feed, (session, *group)))
        plan.append((actor_name("recorder"), Recorder, (session,)))
        together = holding_role(config, "timeframe") == "brain"
        for name, group in () if together else holders(config, "timeframe").items():
            packed = (name, Timeframes, (session, name, group))
            plan.append(packed if len(group) > 1 else (name, Timeframe, (session, *group)))
        for name, group in holders(config, "brain").items():
            alone = (name, Brain, (session, name.partition(":")[2], group))
            plan.append((name, Brains, (session, name, group)) if together else alone)
        books = sorted({item.book for item in config.strategies} | self._holding & config.books.keys())
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
        async with ClusterLimits(config, self.session.target) as limits:
            known = (await resolve_markets(config, origin=self.session.origin, limits=limits)).markets

        async def write(conn: Connection) -> None:
            for market in known:
                await markets.upsert_market(conn, market)
            for name, book in config.books.items():
                await records.upsert_book(conn, name, book)
            instances = await load_instances(conn, self.session)
            await records.upsert_instances(conn, instances)
            await record_book_configs(conn, config, instances, self.session.start_ms)
            await backtests.JOBS.fail_interrupted(conn)
            await walkforwards.JOBS.fail_interrupted(conn)

        await self.commit({}, write)

    async def _tell(self, kind: EventKind) -> None:
        event = Event(
            kind=kind,
            event_time_ms=await self.venue_now_ms(),
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
            await tell(conn, [event, *self._gaps.beside(event)], self.session.config.notify)

        await self.commit({}, write)

    async def _every(self, seconds: float, work: Any) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._once(work)

    async def _once(self, work: Any) -> None:
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
        """Ask all at once, so that one that hangs makes no other wait; restart those that hang for long."""
        asked = dict(self._actors)
        answers = await asyncio.gather(*(self._ask(name, handle) for name, handle in asked.items()))
        for (name, handle), answer in zip(asked.items(), answers, strict=True):
            before = self._strikes.get(name, 0)
            self._strikes[name] = before + 1 if "error" in answer else 0
            if before and not self._strikes[name]:
                self.log.info("actor answers again", actor=name)
            elif not before and self._strikes[name]:
                self.log.warning("actor does not answer", actor=name, error=answer["error"])
            if self._strikes[name] >= _STRIKES and name in self._actors:
                self.log.error("actor restarted", actor=name)
                self._strikes[name] = 0
                ray.kill(handle, no_restart=False)
                # A process that is stopped cannot follow Ray's request to end itself.
                end_worker(self._pids.get(name, 0))
        await self._troubles.look(_each(answers))
        self._pids |= {each["actor"]: each["pid"] for each in _each(answers) if "pid" in each}
        found = [_found(answer) for answer in _each(answers)]
        if self._down is None:
            await self.commit({}, lambda conn: note_actors(conn, self.session.session_id, found))

    async def _check_holes(self) -> None:
        """Note minutes that nobody accounts for and have the feed ask for them at once; and tell those at work of
        minutes that a command changed.
        """
        config = self.session.config
        for market in config.markets:
            self.boundary("after_read", 0)
            found: list[Span] = []

            async def write(conn: Connection, market: str = market, found: list[Span] = found) -> None:
                found[:] = await quality.unaccounted(conn, market)
                for from_ms, to_ms in found:
                    hole = Hole(market, from_ms, to_ms, HoleReason.MISSING, "found by the supervisor")
                    await quality.record_hole(conn, hole)
                    await events.append_events(conn, [hole_event(hole)])

            await self.commit({}, write)
            if found and (feed := self._actors.get(holder(config, "feed", market))) is not None:
                # The feed looks for itself every five minutes: lost with its process, the word comes late, not never.
                with contextlib.suppress(RayError):
                    await feed.refetch.remote(market, found)
            changed = await self.read(
                lambda conn, market=market: rebuilds.pending_rebuilds(conn, market, older_than_s=_REBUILD_S)
            )
            if changed and (recorder := self._actors.get(actor_name("recorder"))) is not None:
                with contextlib.suppress(RayError):
                    await recorder.tell_rebuild.remote(market, min(from_ms for from_ms, _ in changed))

    async def _prune(self) -> None:
        now_ms = time.time_ns() // 1_000_000

        async def write(conn: Connection) -> None:
            await outbox.prune_outbox(conn, now_ms - _KEEP_SENT_MS, now_ms - _KEEP_DEAD_MS)
            await events.prune_events(conn, _KEEP_EVENTS_MS)

        await self.commit({}, write)


def _each(answers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One answer an actor, also where several of them share a process and answer together."""
    return [member for answer in answers for member in answer.get("members", [answer])]


def _found(answer: dict[str, Any]) -> ActorFound:
    if "error" in answer:
        return ActorFound(answer["actor"], "not answering", None, answer["error"])
    return ActorFound(answer["actor"], "ok" if answer["ready"] else "starting", answer["pid"], "")


async def _graph_exists(conn: Connection) -> bool:
    return bool(await conn.fetchval("select exists (select from instances)"))


Supervisor = ray.remote(SupervisorActor)
