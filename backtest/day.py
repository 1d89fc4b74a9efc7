"""One stretch of a book's life, replayed by the reference from the state that was committed at its start.

The reference backtest runs a strategy from its first candle; here the same features, rules, books and fill model begin
in the middle: features are seeded from the candles before, as after a restart, and the books from their rows. The
candles of every interval are made by the batch fold, and no actor, queue or clock is involved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from backtest.reference import RunRecords
from trading.accounts.books import divide_capital
from trading.accounts.capital import retired_specs
from trading.accounts.decisions import LastDecision
from trading.accounts.execution import ExecutionState
from trading.accounts.paper_run import PaperRun
from trading.accounts.records import SleeveKey, Transfer
from trading.brain import BrainState, FeatureValue
from trading.candles import Candle, Hole
from trading.events import Signal
from trading.fold import fold
from trading.intervals import MINUTE_MS, parse_interval
from trading.markets import Market
from trading.natives import merge_natives
from trading.plan import Plan
from trading.storage.configs import BookConfig, Spell
from trading.storage.moment import happened_after, open_orders
from trading.storage.rebuild import Restart
from trading.strategies.contract import StrategyFailed

__all__ = ["Knowledge", "Stretch", "first_needed_ms", "replay"]

_HOLE_WIDTH_MS = -1
Thought = Candle | FeatureValue | Signal


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The candles of one market as they were known from ``from_ms`` (close time) on.

    ``minutes`` are all present 1m candles in order, from the warm-up to the end of the stretch, ``holes`` the *missing*
    ones; every other minute is absent. ``revisions`` are those of derived candles above 0, by interval and open time:
    folding cannot know them. ``natives`` are the venue's own longer candles.
    """

    from_ms: int
    minutes: Sequence[Candle]
    holes: Sequence[Hole] = ()
    revisions: Mapping[tuple[str, int], int] = field(default_factory=dict)
    natives: Sequence[Candle] = ()

    def candles(self, interval: str) -> list[Candle]:
        """The closed candles of ``interval``, in order."""
        if interval == "1m":
            return list(self.minutes)
        folded = fold(self.minutes, interval, self.holes)
        if self.revisions:
            folded = [item._replace(revision=self.revisions.get(item[1:3], 0)) for item in folded]
        return merge_natives(folded, [item for item in self.natives if item.interval == interval])


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a book's life from ``from_ms`` to ``upto_ms`` follows from: candles that close in (from, upto].

    ``reached`` is how far each market is to be replayed, at most ``upto_ms``. ``restart`` is the book at ``from_ms``.
    ``transfers`` are those stored of the stretch: what other markets were given of the book's capital. ``plans`` are
    those of the newest signals by ``from_ms`` of strategies with a state of their own.
    """

    book: str
    from_ms: int
    upto_ms: int
    spells: Sequence[Spell]
    markets: Mapping[str, Market]
    reached: Mapping[str, int]
    restart: Restart
    suppressed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    transfers: Sequence[Transfer] = ()
    plans: Mapping[SleeveKey, Plan] = field(default_factory=dict)


class _Era(NamedTuple):
    """From ``from_ms`` on this configuration, and this knowledge of the candles, are in force."""

    from_ms: int
    config: BookConfig
    known: Knowledge


def first_needed_ms(spells: Iterable[Spell], market: str, from_ms: int) -> int:
    """Open time of the oldest minute that any feature needs, so that at ``from_ms`` it is as if it had never stopped.

    One candle more than needed, because the first one may be cut.
    """
    oldest = from_ms
    for spell in spells:
        brain = BrainState(spell.config.instances, spell.config.features, [market])
        for need in brain.needs(market):
            width_ms = parse_interval(need.interval).typical_ms
            oldest = min(oldest, from_ms - (need.candles + 1) * width_ms)
    return oldest // MINUTE_MS * MINUTE_MS


def replay(stretch: Stretch, knowledge: Mapping[str, Sequence[Knowledge]]) -> RunRecords:
    """What the reference writes for the stretch; ``knowledge`` of each market's candles, oldest first, each list one
    or more.

    Pure: the same arguments give the same records. Orders that waited at the start are among its orders.
    """
    records = RunRecords()
    for market, reached_ms in stretch.reached.items():
        if reached_ms > stretch.from_ms:
            thoughts = _think(stretch, market, reached_ms, knowledge[market])
            _trade(stretch, market, reached_ms, thoughts, records)
    return records


def _think(stretch: Stretch, market: str, upto_ms: int, knowledge: Sequence[Knowledge]) -> Iterator[Thought]:
    """The 1m candles, feature values and signals of one market, in the order in which a live brain tells them."""
    eras = _eras(stretch, market, knowledge, lambda spell: spell.thinks_from)
    plans = dict(stretch.plans)
    for number, era in enumerate(eras):
        begin_ms = max(era.from_ms, stretch.from_ms)
        end_ms = min(eras[number + 1].from_ms if number + 1 < len(eras) else upto_ms, upto_ms)
        if begin_ms < end_ms or number == 0:
            plans |= yield from _think_era(era, market, begin_ms, end_ms, plans)


def _think_era(
    era: _Era, market: str, begin_ms: int, end_ms: int, plans: Mapping[SleeveKey, Plan]
) -> Generator[Thought, None, dict[SleeveKey, Plan]]:
    """Thoughts of one era, from the states in ``plans``; returns those at its end."""
    brain = BrainState(era.config.instances, era.config.features, [market], {market: begin_ms}, _hold)
    brain.resume(plans)
    told: list[tuple[int, int, Candle | Hole]] = [
        (hole.to_ms, _HOLE_WIDTH_MS, hole) for hole in era.known.holes if begin_ms < hole.to_ms <= end_ms
    ]
    lanes = {need.interval: need.candles for need in brain.needs(market)}
    for interval in {"1m": 0, **lanes}:
        candles = era.known.candles(interval)
        seen = bisect_right(candles, begin_ms, key=attrgetter("close_time_ms"))
        if interval in lanes:
            warm = candles[max(0, seen - lanes[interval]) : seen]
            first_ms = warm[0].open_time_ms if warm else begin_ms
            brain.seed(market, interval, warm, [hole for hole in era.known.holes if hole.to_ms > first_ms])
        width_ms = parse_interval(interval).typical_ms
        told += [(item.close_time_ms, width_ms, item) for item in candles[seen:] if item.close_time_ms <= end_ms]
    told.sort(key=lambda entry: entry[:2])
    for *_, item in told:
        for out in brain.handle(item):
            if isinstance(out, Candle | FeatureValue | Signal):
                yield out
    return brain.plans(market)


def _hold(failure: StrategyFailed) -> None:
    """A strategy that failed live held, so it holds here."""


def _trade(stretch: Stretch, market: str, upto_ms: int, thoughts: Iterator[Thought], records: RunRecords) -> None:
    """Trade one market's candles and signals into ``records``, each spell with a book restored as after a restart."""
    own = RunRecords()
    own.orders.update({order.order_id: order for order, _ in stretch.restart.open_orders if order.market == market})
    spells = _spells(stretch, market, lambda spell: spell.trades_from)
    last = [candle for candle in stretch.restart.last_candles if candle.market == market]
    paper: PaperRun | None = None
    turn = 0
    for item in thoughts:
        while turn < len(spells) and spells[turn][0] < item.close_time_ms:
            paper = _restored(stretch, market, spells[turn], own, last)
            turn += 1
        if isinstance(item, FeatureValue):
            own.features.append(item)
            continue
        if isinstance(item, Signal):
            own.signals.append(item)
        elif item.interval == "1m":
            last = [item]
        if paper is not None:
            own.take(paper.handle(item))
    for spell in spells[turn:]:
        paper = _restored(stretch, market, spell, own, last)
    if paper is not None:
        paper.state.validate()
    own.transfers = [item for item in own.transfers if not happened_after(item, upto_ms)]
    _add(records, own)


def _restored(
    stretch: Stretch, market: str, spell: tuple[int, BookConfig], own: RunRecords, last: list[Candle]
) -> PaperRun:
    """The book at the start of a spell, from what was there before and what was written since, to which it adds."""
    at_ms, config = spell
    # All of the book's sleeves: who gets which part of the capital is one question for all markets.
    sleeves = [
        *divide_capital(config.instances, stretch.book, config.book.capital),
        *retired_specs(config.retired),
    ]
    elsewhere = [item for item in stretch.transfers if item.market != market and not happened_after(item, at_ms)]
    state = ExecutionState(stretch.book, config.book, sleeves, stretch.markets.values(), suppressed=stretch.suppressed)
    before = stretch.restart
    decided = dict(before.decided)
    for item in own.decisions:
        decided[item.instance_id, item.market, item.interval] = LastDecision.of(item)
    causes = [*(cause for _, cause in before.open_orders), *own.decisions]
    state.restore(
        fills=[*before.fills, *own.fills],
        transfers=[*before.transfers, *elsewhere, *own.transfers],
        open_orders=open_orders(own.orders.values(), causes, max(at_ms, stretch.from_ms)),
        decided=decided,
        last_candles=last,
        extremes=[*before.extremes, *own.extremes],
    )
    paper = PaperRun(state, config.book.costs)
    own.take(item for item in state.start() if item.market == market)
    own.take(paper.resume())
    return paper


def _eras(
    stretch: Stretch,
    market: str,
    knowledge: Sequence[Knowledge],
    positions: Callable[[Spell], Mapping[str, int]],
) -> list[_Era]:
    """Where configuration or knowledge change, what is in force from there on."""
    spells = _spells(stretch, market, positions)
    starts = sorted({stretch.from_ms, *(at_ms for at_ms, _ in spells), *(item.from_ms for item in knowledge)})
    eras = []
    for at_ms in starts:
        if at_ms >= stretch.from_ms:
            config = next((config for start_ms, config in reversed(spells) if start_ms <= at_ms), spells[0][1])
            known = next((item for item in reversed(knowledge) if item.from_ms <= at_ms), knowledge[0])
            eras.append(_Era(at_ms, config, known))
    return eras


def _spells(
    stretch: Stretch, market: str, positions: Callable[[Spell], Mapping[str, int]]
) -> list[tuple[int, BookConfig]]:
    """(Position from which it is in force, configuration), oldest first; the first is in force from the start."""
    found = [(positions(spell).get(market, spell.since_ms), spell.config) for spell in stretch.spells]
    before = [number for number, (since_ms, _) in enumerate(found) if since_ms <= stretch.from_ms]
    first = max(before, default=0)
    return [(stretch.from_ms, found[first][1]), *found[first + 1 :]]


def _add(records: RunRecords, own: RunRecords) -> None:
    records.signals += own.signals
    records.features += own.features
    records.decisions += own.decisions
    records.orders |= own.orders
    records.fills += own.fills
    records.transfers += own.transfers
    records.equity += own.equity
