"""What must hold at a checkpoint, whatever was killed before it: I1, I2 and I5 to I8 against the undisturbed run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

from backtest.compare import compare
from backtest.reference import RunRecords
from manta.crash.stretches import Stretch
from trading.accounts.books import MONEY, SleeveBook
from trading.accounts.decisions import Outcome
from trading.accounts.records import Fill, Order, Transfer
from trading.candles import Candle
from trading.config.model import Notify
from trading.events import Event, EventKind
from trading.fold import fold
from trading.intervals import parse_interval
from trading.notify.routing import dedupe_key
from trading.storage import candles, quality, records
from trading.storage.database import Connection
from trading.storage.records import StoredRun

__all__ = [
    "BOOK",
    "Delivered",
    "Findings",
    "check",
    "check_candles",
    "check_events",
    "check_messages",
    "check_venue",
    "judge",
]

BOOK = "paper"


@dataclass(slots=True)
class Findings:
    """What is wrong. ``missing`` and ``doubled`` count rows and messages against the undisturbed run.

    ``marked`` counts messages that went out twice and said so, which is allowed after a crash between send and ack.
    """

    missing: int = 0
    doubled: int = 0
    marked: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missing or self.doubled or self.wrong)

    def count(self, kind: str, ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> None:
        """Count what ``ours`` lacks of ``theirs``, and what it has too often or too much."""
        have, want = Counter(ours), Counter(theirs)
        for key, number in (want - have).items():
            self.missing += number
            self._say(f"{kind} {key} is missing")
        for key, number in (have - want).items():
            self.doubled += number
            self._say(f"{kind} {key} is there {have[key]} times instead of {want[key]}")

    def require(self, holds: bool, text: str) -> None:
        if not holds:
            self._say(text)

    def _say(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)


class Delivered:
    """What the log channel really wrote, by dedupe key: the receiver's own book of what it was told."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._read: dict[Path, int] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def look(self) -> Counter[tuple[str, str]]:
        """Times each (channel, dedupe key) was written so far."""
        for path in sorted(self._log_dir.glob("notifier.log*")):
            with path.open("rb") as lines:
                lines.seek(self._read.get(path, 0))
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    told = json.loads(line)
                    if told.get("logger") == "trading.notify" and "key" in told:
                        self.counts[told["channel"], told["key"]] += 1
        return self.counts


async def check(
    conn: Connection, stretch: Stretch, reference: RunRecords, delivered: Delivered, begin_ms: int, at_ms: int
) -> Findings:
    """Everything that is stored up to ``at_ms``, where the replay stands still, against the undisturbed run.

    Candles and events are compared from ``begin_ms`` on, the checkpoint before; the book as a whole.
    """
    found = Findings()
    run = await records.read_run(conn, BOOK, upto_ms=at_ms)
    judge(found, stretch, run, reference, at_ms)
    await check_candles(conn, found, stretch, begin_ms if begin_ms > stretch.start_ms else 0, at_ms)
    await check_events(conn, found, reference, _candle_events(stretch, begin_ms, at_ms), begin_ms, at_ms)
    await check_venue(conn, found, run)
    await check_messages(conn, found, stretch.config.notify, reference, delivered, at_ms)
    return found


def judge(found: Findings, stretch: Stretch, run: StoredRun, reference: RunRecords, at_ms: int) -> None:
    """The book (I5, I6, I7): every row equal to the reference's, none missing, none more."""
    theirs, pending = _as_of(reference, at_ms)
    ours = RunRecords(
        signals=run.signals,
        features=[item for item in run.features if _close_ms(item) > stretch.start_ms],
        decisions=run.decisions,
        orders={order.order_id: order for order in run.orders if order.order_id in theirs.orders},
        fills=run.fills,
        transfers=run.transfers,
        equity=run.equity,
    )
    result = compare(ours, theirs)
    found.require(not result.mismatches, f"{result.mismatches} values differ, first: {result.first_difference}")
    found.count("signal", map(_lane, run.signals), map(_lane, theirs.signals))
    found.count("feature", map(_feature, ours.features), map(_feature, theirs.features))
    found.count(
        "decision", (item.decision_id for item in run.decisions), (item.decision_id for item in theirs.decisions)
    )
    found.count("order", (order.order_id for order in run.orders), [*theirs.orders, *pending])
    found.count("fill", (item.fill_id for item in run.fills), (item.fill_id for item in theirs.fills))
    found.count("transfer", (item.transfer_id for item in run.transfers), (i.transfer_id for i in theirs.transfers))
    found.count("equity", (item.time_ms for item in run.equity), (item.time_ms for item in theirs.equity))
    _books(found, run)


def _books(found: Findings, run: StoredRun) -> None:
    """I7: what the positions say is what fills and transfers make."""
    fills: dict[Any, list[Fill]] = {}
    transfers: dict[Any, list[Transfer]] = {}
    for fill in run.fills:
        fills.setdefault(fill.sleeve, []).append(fill)
    for transfer in run.transfers:
        transfers.setdefault(transfer.sleeve, []).append(transfer)
    for row in run.positions:
        key = row.instance_id, row.market, row.interval
        signed = sum(fill.quantity if fill.side == "BUY" else -fill.quantity for fill in fills.get(key, ()))
        found.require(row.quantity == signed, f"position {key} is {row.quantity}, its fills sum to {signed}")
        book = SleeveBook.rebuild(fills.get(key, ()), transfers.get(key, ()))
        found.require(row.cash == book.cash, f"cash of {key} is {row.cash}, fills and transfers make {book.cash}")
        with localcontext(MONEY):
            equity = book.equity(row.mark)
        found.require(row.equity == equity, f"equity of {key} is {row.equity}, cash and position make {equity}")


async def check_candles(conn: Connection, found: Findings, stretch: Stretch, begin_ms: int, at_ms: int) -> None:
    """I1 and I2: every minute is told, every candle is the venue's or its fold, and none was ever revised."""
    market = stretch.candles[0].market
    unaccounted = await quality.unaccounted(conn, market)
    found.require(not unaccounted, f"minutes {unaccounted} have neither candle nor hole")
    open_holes = await quality.open_holes(conn, market)
    found.require(not open_holes, f"minutes are missing: {open_holes}")
    revised = await conn.fetchval("select count(*) from candles where revision > 0 or not complete")
    found.require(not revised, f"{revised} candles were revised or are incomplete")
    for interval in ("1m", *stretch.config.all_intervals()):
        expected = [candle for candle in stretch.candles if candle.close_time_ms <= at_ms]
        expected = expected if interval == "1m" else fold(expected, interval, end_ms=at_ms)
        stored = await candles.read_closed(conn, market, interval, begin_ms, at_ms)
        fresh = [candle for candle in expected if candle.close_time_ms > begin_ms]
        found.count(f"{interval} candle", map(_values, stored), map(_values, fresh))


async def check_venue(conn: Connection, found: Findings, run: StoredRun) -> None:
    """I6 by the venue's own book: it has each of our orders once, and executed of each what our fills say."""
    rows = await conn.fetch(
        """
        select o.client_id, coalesce(sum(f.quantity), 0) as quantity
        from paper_orders o left join paper_fills f using (account, client_id)
        where o.account = $1 group by o.client_id
        """,
        BOOK,
    )
    filled: dict[str, Decimal] = {}
    for fill in run.fills:
        filled[fill.order_id] = filled.get(fill.order_id, Decimal(0)) + fill.quantity
    # A liquidation is the venue's own doing: there is no order of ours to it.
    ours = [order for order in run.orders if order.decision_id is not None]
    found.count("venue order", (row["client_id"] for row in rows), (order.order_id for order in ours))
    for row in rows:
        mine = filled.get(row["client_id"], Decimal(0))
        found.require(mine == row["quantity"], f"the venue filled {row['quantity']} of {row['client_id']}, we {mine}")


def _candle_events(stretch: Stretch, begin_ms: int, at_ms: int) -> list[Hashable]:
    minutes = [candle for candle in stretch.candles if candle.close_time_ms <= at_ms]
    told: list[Hashable] = []
    for interval in ("1m", *stretch.config.all_intervals()):
        series = minutes if interval == "1m" else fold(minutes, interval, end_ms=at_ms)
        told += [("candle", "", interval, item.close_time_ms) for item in series if item.close_time_ms > begin_ms]
    return told


async def check_events(
    conn: Connection,
    found: Findings,
    reference: RunRecords,
    candle_events: list[Hashable] | None,
    begin_ms: int,
    at_ms: int,
) -> None:
    """What the stream told: each decision, each fill and, unless None, each of ``candle_events`` once."""
    rows = await conn.fetch(
        """
        select kind, cause_id, payload->>'interval', ms(event_time) from events
        where kind in ('candle', 'decision') and event_time > at_ms($1) and event_time <= at_ms($2)
            or kind = 'fill' and event_time >= at_ms($1) and event_time < at_ms($2)
        """,
        begin_ms,
        at_ms,
    )
    told = list(candle_events or ())
    told += [
        ("decision", item.decision_id, item.interval, item.close_ms)
        for item in reference.decisions
        if begin_ms < item.close_ms <= at_ms
    ]
    # A fill at the checkpoint itself belongs to the minute after it.
    told += [
        ("fill", item.fill_id, item.interval, item.time_ms)
        for item in reference.fills
        if begin_ms <= item.time_ms < at_ms
    ]
    ours = [tuple(row) for row in rows if row["kind"] != "candle" or candle_events is not None]
    found.count("event", ours, told)


async def check_messages(
    conn: Connection, found: Findings, notify: Notify, reference: RunRecords, delivered: Delivered, at_ms: int
) -> None:
    """I8: every acted decision and fill left through every channel, once, or marked as a possible repeat."""
    rows = await conn.fetch(
        "select channel, dedupe_key, state, maybe_duplicate from outbox where kind in ('decision', 'fill')"
    )
    acted = [
        Event(EventKind.DECISION, item.close_ms, BOOK, {"decision_id": item.decision_id})
        for item in reference.decisions
        if item.outcome == Outcome.ACTED and item.close_ms <= at_ms
    ]
    filled = [
        Event(EventKind.FILL, item.time_ms, BOOK, {"fill_id": item.fill_id})
        for item in reference.fills
        if item.time_ms < at_ms
    ]
    expected = [
        (name, dedupe_key(event))
        for event in (*acted, *filled)
        for name, channel in notify.channels.items()
        if event.kind in channel.events
    ]
    found.count("message", ((row["channel"], row["dedupe_key"]) for row in rows if row["state"] == "sent"), expected)
    marked = {(row["channel"], row["dedupe_key"]) for row in rows if row["maybe_duplicate"]}
    written = delivered.look()
    for key in expected:
        times = written[key]
        if times == 0:
            found.missing += 1
            found.require(False, f"message {key} never arrived")
        elif times > 1 and key not in marked:
            found.doubled += times - 1
            found.require(False, f"message {key} arrived {times} times without a mark")
        elif times > 1:
            found.marked += times - 1


def _as_of(reference: RunRecords, at_ms: int) -> tuple[RunRecords, list[str]]:
    """The reference as it stood when the minute that closes at ``at_ms`` was handled, and its orders still open then.

    What happens at the open of the next minute bears this very time, and is yet to come.
    """
    settled = {key: order for key, order in reference.orders.items() if order.updated_ms < at_ms}
    waiting = [key for key, order in reference.orders.items() if key not in settled and _is_made(order, at_ms)]
    until = RunRecords(
        signals=[item for item in reference.signals if item.close_time_ms <= at_ms],
        features=[item for item in reference.features if _close_ms(item) <= at_ms],
        decisions=[item for item in reference.decisions if item.close_ms <= at_ms],
        orders=settled,
        fills=[item for item in reference.fills if item.time_ms < at_ms],
        transfers=[item for item in reference.transfers if item.time_ms < at_ms],
        equity=[item for item in reference.equity if item.time_ms <= at_ms],
    )
    return until, waiting


def _is_made(order: Order, at_ms: int) -> bool:
    """An order made by a signal is there at once; one made by a fill or a liquidation comes with the next minute."""
    by_signal = order.leg == 0 and order.decision_id is not None
    return order.created_ms < at_ms or (by_signal and order.created_ms == at_ms)


def _close_ms(item: Any) -> int:
    return parse_interval(item.interval).close_of(item.open_time_ms)


def _lane(item: Any) -> Hashable:
    return item.instance_id, item.market, item.interval, item.open_time_ms


def _feature(item: Any) -> Hashable:
    return item.market, item.interval, item.name, item.open_time_ms


def _values(candle: Candle) -> Hashable:
    return candle[:9]
