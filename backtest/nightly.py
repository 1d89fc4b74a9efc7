"""Nightly truth: one UTC day of a running book, replayed through the reference and compared with what was stored.

Everything is read from the database: the candles with their holes and revisions, how the book was configured, the books
as they were committed at midnight, and what the actors wrote that day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from backtest.causes import (
    Cause,
    Finding,
    all_differences,
    blind_times,
    explain_change,
    explain_knowledge,
    explain_revisions,
    suppressed_differences,
    told,
)
from backtest.day import Knowledge, Stretch, first_needed_ms, replay
from backtest.incidents import Incident, beliefs, known_then, read_incidents, read_noted
from backtest.reference import RunRecords
from trading import __version__
from trading.accounts.records import SleeveKey
from trading.brain import FeatureValue
from trading.errors import DataHole
from trading.intervals import DAY_MS, MINUTE_MS, parse_interval
from trading.storage import candles, configs, markets, moment, natives, quality, records
from trading.storage.cursors import read_cursors
from trading.storage.database import Connection, Database
from trading.storage.parity import ParityDifference, ParityRun, day_text

__all__ = ["Day", "Verdict", "check_day", "judge", "load_day", "running_books"]

_LOAD_S = 300.0


@dataclass(frozen=True, slots=True)
class Day:
    """All that a day's comparison needs: what the live run wrote, and what it follows from."""

    live: RunRecords
    stretch: Stretch
    knowledge: Mapping[str, Knowledge]
    incidents: Sequence[Incident]
    noted: Set[tuple[str, str, int]] = frozenset()


class Verdict(NamedTuple):
    """A finished comparison with its differences, earliest first."""

    run: ParityRun
    differences: list[ParityDifference]


async def running_books(connection: Connection) -> list[str]:
    """The books that actors trade in; backtests have books of their own."""
    rows = await connection.fetch("select distinct book from book_configs order by book")
    return [row[0] for row in rows]


async def check_day(database: Database, book: str, day_ms: int) -> Verdict:
    """Compare the UTC day that begins at ``day_ms`` as far as the live run has come; DataHole when it never came there.

    Reads only. The comparison itself runs in a thread.
    """
    started_ms = time.time_ns() // 1_000_000
    day = await database.run(lambda connection: load_day(connection, book, day_ms), deadline_s=_LOAD_S)
    return await asyncio.to_thread(judge, day, started_ms)


async def load_day(connection: Connection, book: str, day_ms: int) -> Day:
    """Read everything about the book's UTC day from the database, as it was at one moment."""
    # A hole healed between two of the queries would look like a difference.
    await connection.execute("set transaction isolation level repeatable read")
    end_ms = day_ms + DAY_MS
    spells = await configs.read_spells(connection, book, day_ms, end_ms)
    known = {market.key: market for market in await markets.read_markets(connection)}
    traded = sorted({name for spell in spells for name in spell.config.markets})
    cursors = await read_cursors(connection, prefix := f"execution:{book}:")
    # How far execution has committed each market that it has begun with.
    reached = {name: min(cursors[prefix + name], end_ms) for name in traded if prefix + name in cursors}
    begins = [item.live_from_ms for spell in spells for item in spell.config.instances] or [0]
    if not reached or max(reached.values()) <= day_ms or min(begins) >= end_ms:
        raise DataHole(
            f"Book {book!r} was not running on {day_text(day_ms)}.",
            field="day",
            value=day_text(day_ms),
            fix=_running_words(begins, cursors),
        )
    knowledge, incidents, noted = {}, [], set[tuple[str, str, int]]()
    for market in reached:
        first_ms = first_needed_ms(spells, market, day_ms)
        knowledge[market] = await _knowledge(connection, market, first_ms, day_ms, end_ms)
        wait_ms = spells[0].config.heal_wait_minutes * MINUTE_MS
        incidents += await read_incidents(connection, market, first_ms, day_ms, end_ms, wait_ms)
        noted |= await read_noted(connection, market, first_ms, end_ms)
    live = _records(await moment.read_written(connection, book, reached, day_ms, end_ms), reached)
    stretch = Stretch(
        book=book,
        from_ms=day_ms,
        upto_ms=end_ms,
        spells=spells,
        markets=known,
        reached=reached,
        restart=await moment.read_moment(connection, book, reached, day_ms),
        suppressed=live.suppressed(),
        transfers=live.transfers,
        plans=await records.read_plans(connection, _with_state(spells), dict.fromkeys(reached, day_ms)),
    )
    return Day(live, stretch, knowledge, incidents, noted)


def _with_state(spells: Iterable[configs.Spell]) -> set[SleeveKey]:
    """Where strategies that have a state of their own are at work."""
    return {
        (item.instance_id, market, interval)
        for spell in spells
        for item in spell.config.instances
        if item.load().step is not None
        for market in item.markets
        for interval in item.intervals
    }


def judge(day: Day, started_ms: int) -> Verdict:
    """Replay the day, compare, and look for the cause of each difference. Pure."""
    stretch = day.stretch
    reference = replay(stretch, {market: [known] for market, known in day.knowledge.items()})
    live = _standing_at(day.live, reference, stretch.upto_ms)
    findings = all_differences(live, reference)
    if findings:
        _explain(day, findings)
    findings += suppressed_differences(live, findings)
    findings += _not_reached(stretch)
    findings.sort(key=lambda finding: finding.time_ms)
    explained = sum(1 for finding in findings if finding.explained)
    unexplained = len(findings) - explained
    run = ParityRun(
        book=stretch.book,
        day_ms=stretch.from_ms,
        started_ms=started_ms,
        status="different" if unexplained else "explained" if explained else "identical",
        complete=min(stretch.reached.values()) >= stretch.upto_ms,
        reached_ms=min(stretch.reached.values()),
        counts=_counts(day, live),
        explained=explained,
        unexplained=unexplained,
        code_version=__version__,
    )
    return Verdict(run, [told(finding) for finding in findings])


def _explain(day: Day, findings: list[Finding]) -> None:
    """Try what could lie behind the findings: late knowledge of candles, then changes of the configuration."""
    stretch, now = day.stretch, day.knowledge
    explain_revisions(findings, day.live, day.noted)
    best, explaining = None, list[Incident]()
    knowledge = {market: [known] for market, known in now.items()}
    for incidents in beliefs(day.incidents, blind_times(findings)):
        attempt = {
            market: known_then(known, [item for item in incidents if item.market == market])
            for market, known in now.items()
        }
        left = _differences(day, stretch, attempt)
        if best is None or len(left) < len(best):
            best, knowledge = left, attempt
            explaining = incidents
        if not left:
            break
    if best is not None:
        explain_knowledge(findings, best, explaining)
    for number, spell in enumerate(stretch.spells[1:], 1):
        if all(finding.explained for finding in findings):
            break
        spells = [*stretch.spells[:number], *stretch.spells[number + 1 :]]
        unchanged = _differences(day, replace(stretch, spells=spells), knowledge)
        explain_change(findings, unchanged, spell.since_ms)


def _differences(day: Day, stretch: Stretch, knowledge: Mapping[str, Sequence[Knowledge]]) -> list[Finding]:
    """What is left, but for revisions that were noted."""
    reference = replay(stretch, knowledge)
    left = all_differences(_standing_at(day.live, reference, stretch.upto_ms), reference)
    explain_revisions(left, day.live, day.noted)
    return [finding for finding in left if not finding.explained]


def _standing_at(live: RunRecords, reference: RunRecords, upto_ms: int) -> RunRecords:
    """``live`` with its orders as they stood at ``upto_ms``: what became of one after that is the next day's."""
    orders = dict(live.orders)
    for key, order in live.orders.items():
        other = reference.orders.get(key)
        if order.updated_ms >= upto_ms and other is not None:
            orders[key] = replace(
                order, status=other.status, quantity=other.quantity, reason=other.reason, updated_ms=other.updated_ms
            )
    return replace(live, orders=orders)


def _not_reached(stretch: Stretch) -> list[Finding]:
    return [
        Finding(
            reached_ms, "span", market, None, None, None, Cause.DOWNTIME,
            "the live run has not come further; the rest of the day is not compared", True, market,
        )
        for market, reached_ms in stretch.reached.items()
        if reached_ms < stretch.upto_ms
    ]  # fmt: skip


def _counts(day: Day, live: RunRecords) -> dict[str, int]:
    stretch = day.stretch
    minutes = sum(
        1
        for market, known in day.knowledge.items()
        for item in known.minutes
        if stretch.from_ms < item.close_time_ms <= stretch.reached[market]
    )
    acting = sum(1 for item in live.decisions if item.actions)
    return {
        "candles": minutes,
        "features": len(live.features),
        "signals": len(live.signals),
        "decisions": acting,
        "holds": len(live.decisions) - acting,
        "orders": len(live.orders),
        "fills": len(live.fills),
        "transfers": len(live.transfers),
        "marks": len(live.equity),
    }


async def _knowledge(connection: Connection, market: str, first_ms: int, from_ms: int, end_ms: int) -> Knowledge:
    rows = await connection.fetch(
        "select c.interval, ms(c.open_time), c.revision from candles c join markets m on m.id = c.market_id"
        " where m.venue || ':' || m.symbol = $1 and c.revision > 0 and c.interval <> '1m'"
        " and c.open_time >= at_ms($2) and c.open_time < at_ms($3)",
        market,
        first_ms,
        end_ms,
    )
    return Knowledge(
        from_ms,
        await candles.read_candles(connection, market, "1m", from_ms=first_ms, to_ms=end_ms),
        await quality.holes_between(connection, market, first_ms, end_ms, reason="missing"),
        {(row[0], row[1]): row[2] for row in rows},
        await natives.read_all_natives(connection, market, first_ms, end_ms),
    )


def _records(written: moment.Written, reached: Mapping[str, int]) -> RunRecords:
    """What was written as a run; the brain may be ahead of the book, whose reach is what is compared."""
    features = [
        FeatureValue(
            item.market, item.interval, item.name, item.open_time_ms,
            parse_interval(item.interval).close_of(item.open_time_ms), item.value, item.params, 0, 0,
        )
        for item in written.features
    ]  # fmt: skip
    return RunRecords(
        signals=[item for item in written.signals if item.close_time_ms <= reached.get(item.market, 0)],
        features=[item for item in features if item.close_time_ms <= reached.get(item.market, 0)],
        decisions=written.decisions,
        orders={order.order_id: order for order in written.orders},
        fills=written.fills,
        transfers=written.transfers,
        equity=written.equity,
    )


def _running_words(begins: Sequence[int], reached: Mapping[str, int]) -> str:
    if not begins or not reached:
        return "It has not traded yet."
    first, last = (time_ms // DAY_MS * DAY_MS for time_ms in (min(begins), max(reached.values()) - 1))
    return f"It ran from {day_text(first)} to {day_text(last)}."
