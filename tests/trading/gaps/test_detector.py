"""What is a price gap: the worked example, each mode's edges, mirror and scale, and a brute-force reading."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.gaps.reference import HOUR_MS, MARKET, bar, gap_of, walks
from trading.candle_files import load_candles
from trading.candles import Candle, Hole, to_units
from trading.errors import BadInput
from trading.gaps.detector import GapMode, GapType, Seams, Zone, examine, parse_mode, windows

MODES = list(GapMode)


def priced(n: int, o: str, h: str, low: str, c: str) -> Candle:
    return bar(n, *map(to_units, (o, h, low, c)))


EXAMPLE = (
    priced(0, "88400.00", "88433.64", "88306.00", "88387.93"),
    priced(1, "88387.93", "88390.00", "88000.00", "88011.84"),
    priced(2, "88011.84", "88149.99", "87990.00", "88100.00"),
)


@pytest.mark.covers("S0-14")
def test_the_worked_example_is_a_down_gap() -> None:
    zone = Zone(GapType.DOWN, to_units("88149.99"), to_units("88306.00"))
    assert examine(*EXAMPLE).zone == zone
    assert zone.size == to_units("156.01")


@pytest.mark.covers("S0-16b")
@pytest.mark.parametrize(
    ("mode", "bars", "zone"),
    [
        # Touching counts as overlap, and every inequality beyond is strict.
        ("strict", [(5, 10, 1, 6), (11, 12, 10, 11), (14, 15, 13, 14)], ("up", 12, 13)),
        ("strict", [(5, 9, 1, 6), (11, 12, 10, 11), (14, 15, 13, 14)], None),
        ("strict", [(5, 10, 1, 6), (11, 12, 10, 11), (14, 15, 12, 14)], None),
        ("strict", [(5, 10, 4, 6), (5, 8, 4, 5), (2, 3, 1, 2)], ("down", 3, 4)),
        ("body", [(5, 20, 1, 6), (6, 20, 1, 7), (8, 20, 1, 9)], ("up", 7, 8)),
        ("body", [(5, 20, 1, 6), (7, 20, 1, 8), (9, 20, 1, 10)], None),
        ("body", [(6, 20, 1, 5), (5, 20, 1, 4), (3, 20, 1, 2)], ("down", 3, 4)),
        ("open", [(1, 2, 1, 2), (5, 8, 4, 6), (9, 9, 3, 4)], ("up", 8, 9)),
        ("open", [(1, 2, 1, 2), (5, 8, 4, 6), (8, 9, 3, 4)], None),
        ("open", [(1, 2, 1, 2), (5, 8, 4, 6), (3, 9, 3, 4)], ("down", 3, 4)),
        ("b2dir", [(5, 6, 4, 5), (5, 9, 5, 9), (9, 9, 7, 8)], ("up", 6, 7)),
        ("b2dir", [(5, 6, 4, 5), (5, 9, 5, 9), (9, 9, 6, 8)], None),
        # A doji, and a red candle before a gap up, have no direction to confirm.
        ("b2dir", [(5, 6, 4, 5), (7, 9, 5, 7), (9, 9, 7, 8)], None),
        ("b2dir", [(5, 6, 4, 5), (9, 9, 5, 7), (9, 9, 7, 8)], None),
    ],
)
def test_edges_of_each_mode(mode: str, bars: list[tuple[int, ...]], zone: tuple[str, int, int] | None) -> None:
    window = [bar(n, *values) for n, values in enumerate(bars)]
    assert examine(*window, GapMode(mode)).zone == (zone and Zone(GapType(zone[0]), zone[1], zone[2]))


@pytest.mark.parametrize("mode", MODES)
def test_across_a_hole_the_answer_is_unknown(mode: GapMode) -> None:
    b1, b2, b3 = EXAMPLE
    late = b3._replace(open_time_ms=b3.open_time_ms + HOUR_MS, close_time_ms=b3.close_time_ms + HOUR_MS)
    for window in ((b1, b2, late), (b1._replace(complete=False), b2, b3), (b1, b2, b3._replace(complete=False))):
        verdict = examine(*window, mode)
        assert (verdict.zone, verdict.known) == (None, False)
        assert "unknown" in verdict.reason


@pytest.mark.parametrize(
    ("start_minute", "minutes", "known"),
    [
        (110, 10, False),
        (119, 2, False),
        (120, 5, False),
        (60, 1, False),
        (20, 200, False),
        (65, 50, True),
        (0, 9, True),
    ],
)
def test_a_hole_at_a_seam_is_no_gap_even_if_both_candles_are_there(
    start_minute: int, minutes: int, known: bool
) -> None:
    hole = Hole(MARKET, start_minute * 60_000, (start_minute + minutes) * 60_000, "absent")
    derived = [candle._replace(source="derived") for candle in EXAMPLE]
    verdict = examine(*derived, seams=Seams([hole]))
    assert verdict.known is known
    assert examine(*EXAMPLE, seams=Seams([hole])).known, "a native candle knows better"
    assert (verdict.zone is not None) is known


def test_a_minimum_size_leaves_small_zones_out() -> None:
    assert examine(*EXAMPLE, min_size=to_units("156.01")).zone is not None
    verdict = examine(*EXAMPLE, min_size=to_units("156.02"))
    assert verdict.zone is None
    assert "156.01" in verdict.reason


def test_an_unknown_mode_names_the_others() -> None:
    assert parse_mode("B2DIR") is GapMode.B2DIR
    with pytest.raises(BadInput, match="strict, body, open, b2dir"):
        parse_mode("fuzzy")


def mirrored(candle: Candle, about: int) -> Candle:
    return candle._replace(
        open=about - candle.open, close=about - candle.close, high=about - candle.low, low=about - candle.high
    )


@given(walks(), st.sampled_from(MODES))
def test_mirrored_prices_give_mirrored_gaps(bars: list[Candle], mode: GapMode) -> None:
    other = {GapType.UP: GapType.DOWN, GapType.DOWN: GapType.UP}
    for window in windows(bars):
        zone = examine(*window, mode).zone
        image = examine(*(mirrored(candle, 100) for candle in window), mode).zone
        assert image == (zone and Zone(other[zone.type], 100 - zone.high, 100 - zone.low))


@given(walks(), st.sampled_from(MODES), st.integers(1, 10**9))
def test_scaled_prices_give_scaled_gaps(bars: list[Candle], mode: GapMode, by: int) -> None:
    for window in windows(bars):
        scaled = [b._replace(open=b.open * by, high=b.high * by, low=b.low * by, close=b.close * by) for b in window]
        zone = examine(*window, mode).zone
        assert examine(*scaled, mode).zone == (zone and Zone(zone.type, zone.low * by, zone.high * by))


@given(walks(), st.sampled_from(MODES))
def test_agrees_with_the_specification_read_word_by_word(bars: list[Candle], mode: GapMode) -> None:
    for window in windows(bars):
        zone = examine(*window, mode).zone
        assert (zone and (zone.type.value, zone.low, zone.high)) == gap_of(*window, mode.value)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name", ["candles_1h/binance_spot_BTCUSDT_1h_to20251031", "candles_4h/binance_spot_ETHUSDT_4h_to20251031"]
)
def test_agrees_on_real_candles_and_never_spans_a_hole(shared_data: Path, name: str, mode: GapMode) -> None:
    bars = load_candles(shared_data / f"{name}.csv.gz", MARKET)
    width = bars[0].close_time_ms - bars[0].open_time_ms
    count = 0
    for window in windows(bars):
        zone = examine(*window, mode).zone
        assert (zone and (zone.type.value, zone.low, zone.high)) == gap_of(*window, mode.value)
        if zone is not None:
            assert window[2].open_time_ms - window[0].open_time_ms == 2 * width
            count += 1
    assert count > 100 or mode in (GapMode.STRICT, GapMode.OPEN)
