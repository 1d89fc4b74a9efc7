"""Price gaps as a feature: the gaps of the detector, at the close of their third candle, until they are filled."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.trading.features.samples import real, sample
from tests.trading.series import MARKET, at
from trading.candles import UNIT, Candle
from trading.features.contract import Feature, FeatureTrack
from trading.features.price_gap import price_gap
from trading.gaps.detector import GapMode, GapType
from trading.gaps.life import GapBook
from trading.intervals import MINUTE_MS

NOON = at("2025-06-02 12:00")
OUTPUTS = ("formed", "side", "low", "high", "age")


def bars(*prices: tuple[float, float, float, float]) -> list[Candle]:
    """Candles of open, high, low and close."""
    return [
        Candle(
            MARKET,
            "1m",
            NOON + n * MINUTE_MS,
            NOON + (n + 1) * MINUTE_MS,
            *(round(price * UNIT) for price in bar),
            UNIT,
        )
        for n, bar in enumerate(prices)
    ]


def outputs(feature: Feature, candles: list[Candle]) -> list[tuple[float | None, ...]]:
    tracks = [FeatureTrack(feature[name]) for name in OUTPUTS]
    return [tuple(track.update(candle) for track in tracks) for candle in candles]


UP = [(10, 11, 9, 10), (10, 14, 10, 14), (14, 15, 12, 14)]  # leaves 11 … 12 below


def test_a_gap_is_told_with_its_third_candle_and_stays_until_its_far_edge_is_reached() -> None:
    told = outputs(price_gap(), bars(*UP, (14, 14, 11.5, 13), (13, 13, 11, 12), (12, 12, 11.5, 12)))
    assert told == [
        (None,) * 5,
        (None,) * 5,
        (1.0, 1.0, 11.0, 12.0, 0.0),
        (0.0, 1.0, 11.0, 12.0, 1.0),
        (0.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ]


def test_a_gap_downwards_has_the_other_sign() -> None:
    mirrored = [tuple(30 - price for price in (bar[0], bar[2], bar[1], bar[3])) for bar in UP]
    assert outputs(price_gap(), bars(*mirrored))[-1] == (-1.0, -1.0, 18.0, 19.0, 0.0)  # type: ignore[arg-type]


def test_a_gap_below_the_least_size_does_not_count() -> None:
    assert outputs(price_gap(min_percent=7.1), bars(*UP))[-1] == (1.0, 1.0, 11.0, 12.0, 0.0)
    assert outputs(price_gap(min_percent=7.2), bars(*UP))[-1] == (0.0,) * 5


def test_a_gap_is_forgotten_after_memory_candles() -> None:
    later = [(14, 15, 13, 14)] * 4
    told = outputs(price_gap(memory=3), bars(*UP, *later))
    assert [row[4] for row in told[2:]] == [0.0, 1.0, 2.0, 0.0, 0.0]
    assert [row[1] for row in told[2:]] == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_the_nearest_of_two_is_told() -> None:
    candles = bars(*UP, (14, 18, 14, 18), (18, 19, 16, 18), (18, 18, 15.4, 15.5), (15.5, 15.5, 12.5, 12.6))
    told = [row[1:4] for row in outputs(price_gap(), candles)]
    assert told[-3:] == [(1.0, 15.0, 16.0), (1.0, 15.0, 16.0), (1.0, 11.0, 12.0)]


def jumping(seed: int, kind: str) -> list[Candle]:
    """The series with every third candle moved up or down, so that gaps of every mode come and go."""
    source = random.Random(seed)
    result = []
    for n, candle in enumerate(sample(kind)[:1500]):
        by = source.randint(-20, 20) * UNIT // 8 if n % 3 == 0 else 0
        moved = {name: getattr(candle, name) + by for name in ("open", "high", "low", "close")}
        result.append(candle._replace(**moved))
    return result


CASES = [
    *((kind, mode) for kind in ("random", "absent minutes") for mode in GapMode),
    ("real", GapMode.B2DIR),
]


@pytest.mark.covers("S1-14")
@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_what_is_told_is_what_the_book_of_gaps_knows_so_far(shared_data: Path, kind: str, mode: GapMode) -> None:
    candles = list(real(shared_data)[:1500]) if kind == "real" else jumping(3, kind)
    book = GapBook(mode)
    tracks = {name: FeatureTrack(price_gap(mode.value, memory=10_000)[name]) for name in OUTPUTS}
    seen = 0
    for candle in candles:
        made = [item for item in book.handle(candle) if type(item).__name__ == "Found"]
        told = {name: track.update(candle) for name, track in tracks.items()}
        sizes = [(gap.zone.high - gap.zone.low) / UNIT * (1 if gap.zone.type is GapType.UP else -1) for gap in made]
        assert (told["formed"] or 0.0) == (sizes[0] if sizes else 0.0)
        if told["side"]:
            near = min(
                book.live,
                key=lambda gap: (max(gap.zone.low - candle.close, candle.close - gap.zone.high, 0), -gap.key.start_ms),
            )
            assert (told["low"], told["high"]) == (near.zone.low / UNIT, near.zone.high / UNIT)
            seen += 1
        else:
            assert not book.live
    assert seen > 20
