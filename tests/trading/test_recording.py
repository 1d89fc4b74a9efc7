"""What a recorder holds: everything once and in order, bounded, and named when it was dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.series import MARKET, flat_minutes
from trading.candles import Candle, Hole, HoleReason, Source
from trading.clock import TimeSample
from trading.events import Batch, Heal, StreamItem, end_ms, start_ms
from trading.intervals import MINUTE_MS
from trading.recording import MOST, Offered, Portion, Recording
from trading.spans import Span, add_span, cut_span

OTHER = "binance:ETHUSDT"
START_MS = 1_000 * MINUTE_MS
CAPACITY = 10


def minutes(first: int, count: int, source: Source = Source.LIVE) -> list[Candle]:
    made = flat_minutes(START_MS + first * MINUTE_MS, [100.0] * count)
    return [candle._replace(source=source.value) for candle in made]


def batch(items: Sequence[StreamItem], prev_ms: int | None = None, market: str = MARKET) -> Batch:
    told = [item for item in items if isinstance(item, Candle | Hole)]
    prev_ms = start_ms(told[0]) if prev_ms is None else prev_ms
    return Batch(market, prev_ms, max([prev_ms, *map(end_ms, told)]), tuple(items))


def hole(first: int, count: int, reason: HoleReason = HoleReason.ABSENT) -> Hole:
    return Hole(MARKET, START_MS + first * MINUTE_MS, START_MS + (first + count) * MINUTE_MS, reason.value)


def made(position_ms: int = START_MS) -> Recording:
    return Recording({MARKET: position_ms, OTHER: position_ms}, CAPACITY)


def store(recording: Recording) -> tuple[Portion, ...]:
    portions = recording.take()
    recording.done()
    recording.validate()
    return portions


@pytest.mark.covers("S1-7")
def test_what_comes_during_a_commit_goes_into_the_next_one_together() -> None:
    recording = made()
    recording.offer(batch(minutes(0, 1)), away=False)
    (first,) = recording.take()
    for n in (1, 2, 3):
        assert recording.offer(batch(minutes(n, 1)), away=False) is Offered.TAKEN
    assert not recording.ack(MARKET, 7).stored
    recording.done()
    (second,) = store(recording)
    assert first.items == tuple(minutes(0, 1))
    assert second.items == tuple(minutes(1, 3))
    assert (second.prev_ms, second.upto_ms) == (START_MS + MINUTE_MS, START_MS + 4 * MINUTE_MS)
    assert recording.ack(MARKET, 7) == (7, 4, START_MS + 4 * MINUTE_MS, True, False, ())


def test_markets_share_a_commit() -> None:
    recording = made()
    recording.offer(batch(minutes(0, 2)), away=False)
    recording.offer(batch(minutes(0, 3), market=OTHER), away=False)
    assert [(portion.market, len(portion.items)) for portion in store(recording)] == [(MARKET, 2), (OTHER, 3)]
    assert store(recording) == ()


def test_a_commit_has_a_size_and_who_did_not_fit_comes_first_in_the_next() -> None:
    recording = Recording({MARKET: START_MS, OTHER: START_MS}, MOST)
    rest = minutes(0, MOST - 1, Source.REST)
    recording.offer(batch(rest), away=False)
    recording.offer(batch(rest, market=OTHER), away=False)
    assert [portion.market for portion in recording.take()] == [MARKET]
    recording.done()
    recording.offer(batch(minutes(MOST - 1, 1)), away=False)
    assert [portion.market for portion in store(recording)] == [OTHER, MARKET]


def test_a_full_buffer_makes_the_feed_wait_while_postgres_is_there() -> None:
    recording = made()
    assert recording.offer(batch(minutes(0, CAPACITY)), away=False) is Offered.TAKEN
    assert recording.offer(batch(minutes(CAPACITY, 1)), away=False) is Offered.FULL
    store(recording)
    assert recording.offer(batch(minutes(CAPACITY, 1)), away=False) is Offered.TAKEN
    assert recording.facts()["dropped_candles"] == 0


@pytest.mark.covers("S1-6", "S1-8a", "S1-8b", "S1-37")
def test_while_postgres_is_away_the_oldest_make_room_and_are_told_as_missing() -> None:
    recording = made()
    for n in range(CAPACITY + 3):
        assert recording.offer(batch(minutes(n, 1)), away=True) is Offered.TAKEN
        recording.validate()
    assert recording.overflowing
    assert recording.ack(MARKET, 1).lost == ()
    (portion,) = store(recording)
    gone, *kept = portion.items
    assert isinstance(gone, Hole)
    assert gone[:4] == (MARKET, START_MS, START_MS + 3 * MINUTE_MS, HoleReason.MISSING)
    assert kept == minutes(3, CAPACITY)
    assert [(note.reason, note.from_ms, note.to_ms) for note in portion.notes] == [("overflow", gone[1], gone[2])]
    assert not recording.overflowing
    # Named once: from then on it is the feed's to bring.
    assert recording.ack(MARKET, 1).lost == ((gone[1], gone[2]),)
    assert recording.ack(MARKET, 1).lost == ()
    facts = recording.facts()
    assert (facts["dropped_candles"], facts["overflows"], facts["buffered_most"]) == (3, 1, CAPACITY)


def test_what_is_being_committed_is_never_dropped() -> None:
    recording = made()
    recording.offer(batch(minutes(0, 2)), away=True)
    (flying,) = recording.take()
    for n in range(2, CAPACITY + 4):
        recording.offer(batch(minutes(n, 1)), away=True)
    recording.done()
    (portion,) = store(recording)
    assert portion.prev_ms == flying.upto_ms
    assert start_ms(portion.items[0]) == flying.upto_ms  # type: ignore[arg-type]


def test_what_came_from_rest_can_wait_there() -> None:
    recording = made()
    recording.offer(batch(minutes(0, CAPACITY)), away=True)
    older = batch(minutes(CAPACITY, 2, Source.REST))
    assert recording.offer(older, away=True) is Offered.FULL
    assert recording.offer(batch([hole(CAPACITY, 2)]), away=True) is Offered.FULL
    store(recording)
    assert recording.offer(older, away=True) is Offered.TAKEN


def test_a_page_larger_than_the_buffer_is_taken_alone() -> None:
    recording = made()
    page = minutes(0, CAPACITY * 3, Source.REST)
    assert recording.offer(batch(page), away=True) is Offered.TAKEN
    assert recording.offer(batch(minutes(CAPACITY * 3, 1, Source.REST)), away=True) is Offered.FULL
    assert store(recording)[0].items == tuple(page)


def test_a_feed_that_told_more_than_is_known_is_behind() -> None:
    recording = made()
    assert recording.offer(batch(minutes(2, 1)), away=False) is Offered.BEHIND
    assert not recording.waiting
    assert recording.ack(MARKET, 3, behind=True) == (3, 0, START_MS, True, True, ())


def test_repeats_change_nothing_and_an_overlapping_hole_is_cut() -> None:
    recording = made()
    recording.offer(batch(minutes(0, 3)), away=False)
    again = batch([*minutes(0, 3), *minutes(3, 1)])
    recording.offer(again, away=False)
    recording.offer(batch([hole(1, 5)]), away=False)
    (portion,) = store(recording)
    assert portion.items == (*minutes(0, 4), hole(4, 2))
    assert recording.offer(again, away=False) is Offered.TAKEN
    assert not recording.waiting


def test_a_dropped_repair_is_asked_for_again() -> None:
    recording = made()
    missing = hole(0, 2, HoleReason.MISSING)
    recording.offer(batch([missing]), away=False)
    store(recording)
    heal = Heal(MARKET, missing.from_ms, missing.to_ms, tuple(minutes(0, 2, Source.REST)), ())
    recording.offer(batch([heal], prev_ms=missing.to_ms), away=True)
    for n in range(2, CAPACITY + 2):
        recording.offer(batch(minutes(n, 1)), away=True)
    store(recording)
    assert recording.ack(MARKET, 1).lost == ((missing.from_ms, missing.to_ms),)


def test_a_repair_alone_is_stored_under_a_ticket_of_its_own() -> None:
    recording = made()
    heal = Heal(MARKET, START_MS - MINUTE_MS, START_MS, (), (hole(-1, 1),))
    recording.offer(batch([heal], prev_ms=START_MS), away=False)
    ack = recording.ack(MARKET, 1)
    assert not ack.stored
    (portion,) = store(recording)
    assert (portion.prev_ms, portion.upto_ms, portion.items) == (START_MS, START_MS, (heal,))
    assert recording.stored(MARKET, ack.ticket)


def test_the_newest_clock_travels_with_what_was_merged() -> None:
    recording = made()
    for n in range(3):
        recording.offer(batch(minutes(n, 1))._replace(clock=TimeSample(n, n) if n < 2 else None), away=False)
    assert store(recording)[0].clock == TimeSample(1, 1)


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_pieces_join_and_carry_everything(limit: int) -> None:
    heal = Heal(MARKET, START_MS, START_MS + MINUTE_MS, (), (hole(0, 1),))
    items = (*minutes(0, 3), heal, *minutes(3, 4), heal)
    portion = Portion(MARKET, START_MS, START_MS + 7 * MINUTE_MS, items, (), None)
    pieces = list(portion.pieces(limit))
    assert [item for _, _, part in pieces for item in part] == [*items]
    assert pieces[0][0] == portion.prev_ms
    assert pieces[-1][1] == portion.upto_ms
    assert all(one[1] == two[0] for one, two in pairwise(pieces))
    assert all(end_ms(item) <= upto for _, upto, part in pieces for item in part if isinstance(item, Candle))


def test_nothing_but_progress_is_a_piece_too() -> None:
    assert list(Portion(MARKET, 0, MINUTE_MS, (), (), None).pieces(5)) == [(0, MINUTE_MS, ())]


@dataclass
class World:
    """A feed and a storage around the buffer: what was told, what is stored, and in which order."""

    recording: Recording = field(default_factory=made)
    told_ms: int = START_MS
    stored_ms: int = START_MS
    unknown: list[Span] = field(default_factory=list)
    missing: list[Span] = field(default_factory=list)
    asked: list[Span] = field(default_factory=list)
    refused: Batch | None = None
    last: Batch | None = None
    flying: tuple[Portion, ...] = ()
    away: bool = False

    def tell(self, items: list[StreamItem], *, away: bool) -> None:
        """Push as a feed does: one batch at a time, a refused one again before the next."""
        if self.refused is None:
            self.refused = batch(items, prev_ms=self.told_ms)
        if self.recording.offer(self.refused, away=away) is Offered.TAKEN:
            self.told_ms = max(self.told_ms, self.refused.upto_ms)
            for item in self.refused.items:
                if isinstance(item, Hole) and item.reason == HoleReason.MISSING:
                    self.unknown = add_span(self.unknown, item.from_ms, item.to_ms)
            self.refused = None
        self.recording.validate()

    def do(self, step: str, count: int) -> None:
        """One step of the feed or of the storage."""
        recording = self.recording
        if step in ("away", "back"):
            self.away = step == "away"
        elif step == "take" and not recording.flying and not self.away:
            self.flying = recording.take()
        elif step == "done" and not self.away:
            self.finish()
        elif step == "again" and self.last is not None:
            recording.offer(self.last, away=self.away)
        elif step == "heal" and self.missing:
            span = self.missing[0]
            self.tell([Heal(MARKET, *span, (), (Hole(MARKET, *span, HoleReason.ABSENT.value),))], away=self.away)
        elif step in ("live", "rest", "absent", "missing"):
            self.go_on(step, count)

    def go_on(self, step: str, count: int) -> None:
        first, prev_ms = (self.told_ms - START_MS) // MINUTE_MS, self.told_ms
        items: list[StreamItem] = (
            [*minutes(first, count, Source(step))]
            if step in ("live", "rest")
            else [hole(first, count, HoleReason(step))]
        )
        # One that was refused before comes first, and these are not told at all.
        offered = self.refused or batch(items, prev_ms=prev_ms)
        self.tell(items, away=self.away)
        self.last = offered if self.refused is None else None

    def finish(self) -> None:
        self.recording.done()
        self.take_in(self.flying)
        self.flying = ()

    def take_in(self, portions: tuple[Portion, ...]) -> None:
        for portion in portions:
            assert portion.prev_ms == self.stored_ms
            for item in portion.items:
                if isinstance(item, Heal):
                    self.missing = cut_span(self.missing, item.from_ms, item.to_ms)
                    continue
                assert isinstance(item, Candle | Hole)
                assert start_ms(item) == self.stored_ms
                self.stored_ms = end_ms(item)
                if isinstance(item, Hole) and item.reason == HoleReason.MISSING:
                    self.missing = add_span(self.missing, item.from_ms, item.to_ms)
            assert portion.upto_ms == self.stored_ms
        for span in self.recording.ack(MARKET, 1).lost:
            self.asked = add_span(self.asked, *span)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(1, 6)),
        st.tuples(st.just("rest"), st.integers(1, 25)),
        st.tuples(st.just("absent"), st.integers(1, 4)),
        st.tuples(st.just("missing"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["again", "heal", "take", "done", "away", "back"]), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_minute_is_stored_once_in_order_and_what_is_not_is_asked_for_again(steps: list[tuple[str, int]]) -> None:
    world = World()
    for step, count in steps:
        world.do(step, count)
        assert world.recording.facts()["buffered"] <= CAPACITY + 25
    world.finish()
    while world.recording.waiting or world.refused is not None:
        if world.refused is not None:
            world.tell([], away=False)
        world.take_in(store(world.recording))
    assert world.stored_ms == world.told_ms
    assert (world.recording.facts()["dropped_candles"] > 0) <= bool(world.asked)
    # What is missing in the end was dropped, and is asked for again, or the feed itself did not have it.
    unexplained = world.missing
    for span in [*world.asked, *world.unknown]:
        unexplained = cut_span(unexplained, *span)
    assert unexplained == []


def test_what_waits_for_a_commit_is_here_already() -> None:
    recording = made()
    recording.offer(batch(minutes(0, 3)), away=True)
    assert recording.accepted_ms() == {MARKET: START_MS + 3 * MINUTE_MS, OTHER: START_MS}
    assert recording.committed_ms(MARKET) == START_MS
