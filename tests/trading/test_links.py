"""When a feed opens, replaces and gives up on its sockets."""

from __future__ import annotations

import itertools

import pytest

from tests.trading.feed_world import MARKET, World, at, minute
from trading.feed import FeedState
from trading.feed_events import Alive, Close, ConnectFailed, Disconnected, Final, Open, Retiring, Status, Tick
from trading.links import BACKOFF_CAP_S, full_jitter


def live(random: float = 0.5, **options: float | None) -> World:
    """A feed with one socket that has brought data."""
    world = World(FeedState(MARKET, lambda: random, **options))  # type: ignore[arg-type]
    world.resume(high=0)
    world.connect()
    world.answer()
    world.close_minute()
    return world


@pytest.mark.covers("S1-4")
def test_attempts_back_off_exponentially_from_one_second_to_fifteen_minutes() -> None:
    world = live(random=0.999999)
    world.mono += 1000
    world.lose_socket()
    waits = [world.opens[-1].delay_s]
    for _ in range(12):
        world.mono += waits[-1]
        world.tell(ConnectFailed(world.mono, "refused"))
        waits.append(world.opens[-1].delay_s)
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900], rel=1e-4)


def test_the_wait_is_fully_random() -> None:
    values = itertools.cycle([0.0, 0.25, 0.75])
    assert [full_jitter(3, lambda: next(values)) for _ in range(3)] == [0.0, 2.0, 6.0]
    assert full_jitter(10_000, lambda: 0.5) == BACKOFF_CAP_S / 2


@pytest.mark.conforms("BN-12")
def test_attempts_are_never_closer_than_a_second() -> None:
    world = live(random=0.0)
    world.lose_socket()
    world.tell(ConnectFailed(world.mono, "refused"))
    assert world.opens[-1].delay_s >= 1.0


def test_data_ends_the_row_of_attempts() -> None:
    world = live(random=0.9)
    world.lose_socket()
    for _ in range(6):
        world.mono += 1000
        world.tell(ConnectFailed(world.mono, "refused"))
    world.connect()
    world.answer()
    world.mono += 1000
    world.lose_socket()
    assert world.opens[-1].delay_s > 50, "a socket without data proves nothing"
    world.connect()
    world.answer()
    world.tell(Alive(world.mono, world.conn))
    world.mono += 1000
    world.lose_socket()
    assert world.opens[-1].delay_s == pytest.approx(0.9)


def test_the_venues_own_wait_is_obeyed() -> None:
    world = live()
    world.lose_socket()
    world.tell(ConnectFailed(world.mono, "refused with HTTP 429", retry_after_s=300))
    assert world.opens[-1].delay_s == 300


@pytest.mark.covers("S1-5b")
def test_an_open_but_silent_socket_is_down() -> None:
    world = live(silence_timeout_s=15.0)
    world.tick(14)
    assert world.statuses == []
    world.tick(2)
    assert world.closes == [Close(1, "silent for 15 s")]
    assert world.statuses == [Status(False, "silent for 15 s")]
    world.tick(60)
    assert len(world.statuses) == 1
    assert len(world.opens) == 2


def test_forming_candles_are_signs_of_life() -> None:
    world = live(silence_timeout_s=15.0)
    for _ in range(10):
        world.mono += 10
        world.tell(Alive(world.mono, world.conn))
        world.tell(Tick(world.mono))
    assert world.closes == []


def test_silence_is_no_fault_where_time_stands_still() -> None:
    world = live(silence_timeout_s=None)
    world.tick(3600)
    assert world.closes == []


def test_down_and_up_are_said_once_each_and_not_at_a_start_that_works() -> None:
    world = live()
    assert world.statuses == []
    world.lose_socket("connection broke")
    for _ in range(5):
        world.tell(ConnectFailed(world.mono, "refused"))
    world.connect()
    assert world.statuses == [Status(False, "connection broke")]
    world.close_minute()
    world.close_minute()
    assert world.statuses == [Status(False, "connection broke"), Status(True, "market data is back")]


def test_a_start_that_fails_is_told() -> None:
    world = World(FeedState(MARKET, lambda: 0.5))
    world.resume(high=0)
    world.tell(ConnectFailed(world.mono, "no connection"))
    assert world.statuses == [Status(False, "no connection")]


@pytest.mark.conforms("BN-11")
def test_a_planned_replacement_waits_for_data_before_the_old_socket_closes() -> None:
    world = live(silence_timeout_s=None)
    world.mono += 5
    world.tell(Retiring(world.mono, 1, "shutdown"))
    world.tell(Retiring(world.mono, 1, "shutdown"))
    assert len(world.opens) == 2
    world.connect()
    assert world.closes == []
    world.answer()
    world.now = 2
    world.tell(Final(world.mono, 1, minute(1)))
    assert world.closes == [], "the new socket has brought nothing yet"
    world.tell(Final(world.mono, 2, minute(1)))
    assert world.closes == [Close(1, "replaced")]
    world.tell(Disconnected(world.mono, 1, "we closed it"))
    assert world.statuses == []
    assert world.state.high_water_ms == at(2)


def test_a_replacement_that_cannot_be_opened_leaves_the_old_socket_at_work() -> None:
    world = live(silence_timeout_s=None)
    world.tell(Retiring(world.mono, 1, "connection is old"))
    world.tell(ConnectFailed(world.mono, "refused"))
    assert world.statuses == []
    world.close_minute()
    assert world.state.high_water_ms == at(2)
    assert isinstance(world.opens[-1], Open)


def test_a_feed_whose_predecessor_was_told_as_down_tells_that_data_is_back() -> None:
    world = World(FeedState(MARKET, lambda: 0.5))
    world.state.links.recall_down()
    world.resume(high=0)
    world.connect()
    world.answer()
    world.close_minute()
    assert [status.up for status in world.statuses] == [True]
