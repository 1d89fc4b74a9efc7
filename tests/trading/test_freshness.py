"""A market is told as stale once, and once as fresh again, whatever happens in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.freshness import LINE_DOWN_S, Freshness, Standing, Turn, silence_limit_ms, turn_event
from trading.intervals import MINUTE_MS

BTC = "binance:BTCUSDT"
START = 1_752_624_000_000


def watch(newest_ms: int = START, known: Standing | None = None) -> Freshness:
    told = {} if known is None else {BTC: known}
    return Freshness({BTC: newest_ms}, START, silence_limit_ms(1), told)


def said(freshness: Freshness, minutes: float, mono: float = 0.0) -> list[tuple[bool, str]]:
    turns = freshness.look(mono, {BTC: START + round(minutes * MINUTE_MS)})
    return [(turn.stale, turn.reason) for turn in turns]


def test_two_silent_intervals_are_told_once_and_so_is_the_end() -> None:
    freshness = watch()
    assert said(freshness, 1.99) == []
    assert said(freshness, 2) == [(True, "no closed minute for 2 min")]
    assert said(freshness, 9) == []
    freshness.closed(BTC, START + 9 * MINUTE_MS)
    assert said(freshness, 9.1) == [(False, "was stale for 7 min")]
    assert said(freshness, 9.2) == []


def test_a_start_that_catches_up_is_not_silent_however_long_it_takes() -> None:
    freshness = watch(START - 5_000 * MINUTE_MS)
    for minute in range(20):
        freshness.closed(BTC, START - (4_000 - 150 * minute) * MINUTE_MS)
        assert said(freshness, minute) == said(freshness, minute + 0.9) == []
    assert said(freshness, 20.9) == []
    assert said(freshness, 21) == [(True, "no closed minute for 19.5 h")]


def test_a_start_that_gets_nothing_is_silent() -> None:
    freshness = watch(START - 5_000 * MINUTE_MS)
    assert said(freshness, 1.9) == []
    assert said(freshness, 2) == [(True, "no closed minute for 3.5 days")]


def test_before_the_first_minute_there_is_time_to_get_it() -> None:
    freshness = watch(0)
    assert said(freshness, 1) == []
    assert said(freshness, 2.1) == [(True, "no closed minute yet")]


def test_while_it_catches_up_after_silence_it_stays_stale() -> None:
    freshness = watch()
    said(freshness, 60)
    freshness.closed(BTC, START + 30 * MINUTE_MS)
    assert said(freshness, 60) == []
    freshness.closed(BTC, START + 60 * MINUTE_MS)
    assert said(freshness, 60.5) == [(False, "was stale for 30 s")]


def test_a_connection_that_is_back_at_once_is_no_news_and_one_that_stays_away_is() -> None:
    freshness = watch(START)
    freshness.line(100.0, BTC, up=False, reason="connection broke")
    assert said(freshness, 0.5, 100 + LINE_DOWN_S - 0.1) == []
    freshness.line(109.9, BTC, up=True, reason="market data is back")
    assert said(freshness, 0.6, 120.0) == []
    freshness.line(130.0, BTC, up=False, reason="silent for 15 s")
    # Candles that REST brings meanwhile do not hide that the venue's signs of life are missed.
    freshness.closed(BTC, START + MINUTE_MS)
    assert said(freshness, 1.1, 140.0) == [(True, "its feed is down: silent for 15 s")]
    freshness.line(150.0, BTC, up=False, reason="refused")
    assert said(freshness, 1.2, 160.0) == []
    freshness.line(161.0, BTC, up=True, reason="market data is back")
    assert said(freshness, 1.3, 161.0) == [(False, "was stale for 12 s")]


def test_one_message_when_the_connection_goes_and_the_candles_with_it() -> None:
    freshness = watch()
    freshness.line(0.0, BTC, up=False, reason="silent for 15 s")
    assert len(said(freshness, 0.5, 30.0)) == 1
    assert said(freshness, 30, 1_800.0) == []
    freshness.line(1_810.0, BTC, up=True, reason="market data is back")
    assert said(freshness, 30.1, 1_810.0) == []
    freshness.closed(BTC, START + 30 * MINUTE_MS)
    assert len(said(freshness, 30.2, 1_811.0)) == 1


@pytest.mark.parametrize(
    ("known", "minutes", "news"),
    [
        (Standing(True, "no closed minute for 2 min", START - 9 * MINUTE_MS), 1, []),
        (Standing(True, "no closed minute for 2 min", START - 9 * MINUTE_MS), -4, [(False, "was stale for 5 min")]),
        (Standing(False, "was stale for 7 min", START - 9 * MINUTE_MS), 1, []),
    ],
)
def test_a_restart_tells_nothing_again(known: Standing, minutes: float, news: list[tuple[bool, str]]) -> None:
    assert said(watch(START - 5 * MINUTE_MS, known), minutes) == news


def test_at_speed_a_pause_of_the_host_is_no_silence() -> None:
    assert silence_limit_ms(1) == 2 * MINUTE_MS
    assert silence_limit_ms(600) == MINUTE_MS + 600 * 15_000


def test_each_occurrence_has_a_key_of_its_own() -> None:
    turns = [Turn(BTC, stale, "", at_ms) for stale in (True, False) for at_ms in (START, START + 1)]
    assert len({turn_event(turn, 0).cause_id for turn in turns}) == 4
    assert {turn_event(turn, 0).kind for turn in turns} == {"stale", "fresh"}


steps = st.lists(st.tuples(st.sampled_from(["look", "close", "down", "up"]), st.integers(0, 5)), max_size=60)


@given(steps, st.sampled_from([None, Standing(True, "x", START), Standing(False, "x", START)]))
def test_stale_and_fresh_alternate(taken: list[tuple[str, int]], known: Standing | None) -> None:
    freshness, now, last = watch(known=known), START, bool(known and known.stale)
    for what, minutes in taken:
        now += minutes * MINUTE_MS
        if what == "close":
            freshness.closed(BTC, now)
        elif what != "look":
            freshness.line(now / 1000, BTC, up=what == "up", reason="x")
        for turn in freshness.look(now / 1000, {BTC: now}):
            assert turn.stale is not last
            last = turn.stale
