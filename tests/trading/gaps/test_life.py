"""What becomes of a gap: touched, filled at its edge, met by every later candle in order, over holes and restarts."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.gaps.reference import MARKET, bar, lives, walks
from tests.trading.gaps.test_detector import EXAMPLE, MODES, priced
from trading.candle_files import load_candles
from trading.candles import Candle, to_units
from trading.gaps.detector import GapMode, GapType
from trading.gaps.life import Change, Filled, Found, GapBook, GapKey, LiveGap, Noted, Touched


def told(book: GapBook, bars: list[Candle]) -> list[Change]:
    changes = [change for candle in bars for change in book.handle(candle)]
    book.validate()
    return changes


def outcome(changes: list[Change]) -> dict[tuple[int, str], tuple[int, int, int | None, int | None, int | None]]:
    """Every gap's life as ``reference.lives`` tells it."""
    found: dict[GapKey, list[int | None]] = {}
    for change in changes:
        if isinstance(change, Found):
            assert change.key not in found
            found[change.key] = [change.zone.low, change.zone.high, None, None, None]
        elif isinstance(change, Touched):
            assert found[change.key][2] is None
            found[change.key][2] = change.candle.open_time_ms
        elif isinstance(change, Filled):
            assert found[change.key][3] is None
            found[change.key][3:] = [change.candle.open_time_ms, change.price]
    return {(key.start_ms, key.type): tuple(life) for key, life in found.items()}  # type: ignore[misc]


@pytest.mark.covers("S0-14")
def test_the_worked_example_is_filled_by_the_first_candle_that_reaches_its_high() -> None:
    later = [
        priced(3, "88100.00", "88149.99", "88000.00", "88120.00"),
        priced(4, "88120.00", "88305.99", "88100.00", "88200.00"),
        priced(5, "88200.00", "88420.00", "88200.00", "88410.00"),
        priced(6, "88410.00", "88500.00", "88300.00", "88310.00"),
    ]
    changes = told(GapBook(), [*EXAMPLE, *later])
    key = GapKey(EXAMPLE[2].open_time_ms, "down")
    assert [type(change) for change in changes if getattr(change, "key", None) == key] == [Found, Touched, Filled]
    # Reaching only the near edge enters nothing.
    assert Touched(key, later[1]) in changes
    # At the edge of the gap, not at the candle's own high.
    assert Filled(key, later[2], to_units("88306.00")) in changes


def test_an_up_gap_is_filled_from_above_and_a_jump_across_fills_it_too() -> None:
    up = [bar(0, 5, 6, 4, 5), bar(1, 5, 9, 5, 9), bar(2, 9, 10, 8, 9)]
    key = GapKey(up[2].open_time_ms, "up")
    jumped = bar(3, 3, 4, 2, 3)
    assert told(GapBook(), [*up, jumped])[1:] == [Touched(key, jumped), Filled(key, jumped, 6)]
    edge = bar(3, 8, 9, 6, 7)
    assert Filled(key, edge, 6) in told(GapBook(), [*up, edge])


def test_a_hole_does_not_end_a_life_but_is_noted() -> None:
    up = [bar(0, 5, 6, 4, 5), bar(1, 5, 9, 5, 9), bar(2, 9, 10, 8, 9)]
    key = GapKey(up[2].open_time_ms, "up")
    after, partial = bar(5, 9, 10, 9, 9), bar(6, 9, 10, 9, 9, complete=False)
    filling = bar(7, 9, 9, 5, 5)
    changes = told(GapBook(), [*up, after, partial, filling])
    assert changes[1:] == [
        Noted((key,), up[2].close_time_ms, after.open_time_ms),
        Noted((key,), partial.open_time_ms, partial.close_time_ms),
        Touched(key, filling),
        Filled(key, filling, 6),
    ]


def test_only_one_type_may_be_wanted() -> None:
    assert told(GapBook(only=GapType.UP), list(EXAMPLE)) == []
    assert len(told(GapBook(only=GapType.DOWN), list(EXAMPLE))) == 1


def test_a_candle_that_is_not_next_is_refused() -> None:
    book = GapBook(tail=EXAMPLE[:2])
    with pytest.raises(ValueError, match="not after"):
        book.handle(EXAMPLE[1])


@given(walks(), st.sampled_from(MODES))
def test_agrees_with_reading_all_later_bars_for_each_gap(bars: list[Candle], mode: GapMode) -> None:
    assert outcome(told(GapBook(mode), bars)) == lives(bars, mode.value)


@given(walks(), st.sampled_from(MODES), st.data())
def test_a_restart_anywhere_changes_nothing(bars: list[Candle], mode: GapMode, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(bars)))
    again = data.draw(st.integers(0, cut))
    first = GapBook(mode)
    changes = told(first, bars[:cut])
    filled = [change.key for change in changes if isinstance(change, Filled)]
    # The second one also sees some candles again, as after a heal: only gaps since then are known anew.
    second = GapBook(mode, tail=bars[max(0, again - 2) : again], live=first.live, known=filled)
    changes += [change for change in told(second, bars[again:]) if not isinstance(change, Noted)]
    assert outcome(changes) == lives(bars, mode.value)


@pytest.mark.parametrize("mode", [GapMode.B2DIR, GapMode.BODY])
def test_agrees_on_real_candles(shared_data: Path, mode: GapMode) -> None:
    file = shared_data / "candles_4h/binance_spot_BTCUSDT_4h_to20251031.csv.gz"
    bars = load_candles(file, MARKET)[-3000:]
    expected = lives(bars, mode.value)
    assert outcome(told(GapBook(mode), bars)) == expected
    assert len(expected) > 200
    assert sum(life[3] is not None for life in expected.values()) > 100


@settings(max_examples=25)
@given(walks(most=25))
def test_live_gaps_are_those_found_and_not_filled(bars: list[Candle]) -> None:
    book = GapBook()
    told(book, bars)
    expected = {key: life for key, life in lives(bars, "b2dir").items() if life[3] is None}
    assert {(gap.key.start_ms, gap.key.type): gap.touched for gap in book.live} == {
        key: life[2] is not None for key, life in expected.items()
    }
    assert all(isinstance(gap, LiveGap) for gap in book.live)
