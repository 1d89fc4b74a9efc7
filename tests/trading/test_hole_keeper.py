"""What is done about missing minutes: asked for, given up, lent, explained."""

import pytest

from trading.hole_keeper import HORIZON, OUTAGE, HoleKeeper
from trading.intervals import MINUTE_MS

MARKET = "pionex:BTC_USDT"
NOW = 1_000_000 * MINUTE_MS


def span(first: int, last: int) -> tuple[int, int]:
    """Minutes before now."""
    return NOW - first * MINUTE_MS, NOW - last * MINUTE_MS


@pytest.mark.covers("S2-5")
def test_a_new_hole_is_asked_for_and_lent_only_when_it_is_still_there_at_the_next_look() -> None:
    keeper = HoleKeeper(MARKET)
    first = keeper.look([span(20, 10)], now_ms=NOW)
    assert (first.ask, first.forget, first.lend) == ((span(20, 10),), (), ())
    # A part was told meanwhile, and another hole came.
    second = keeper.look([span(20, 15), span(5, 3)], now_ms=NOW)
    assert (second.ask, second.lend) == ((span(20, 15), span(5, 3)), (span(20, 15),))


def test_what_the_venue_shows_no_more_is_lent_at_once_and_not_asked_for() -> None:
    look = HoleKeeper(MARKET).look([span(120, 90), span(50, 40)], now_ms=NOW + 1, horizon_ms=100 * MINUTE_MS)
    assert look.forget == look.lend == (span(120, 100),)
    assert look.ask == (span(100, 90), span(50, 40))


@pytest.mark.covers("W15")
def test_each_hole_has_its_reason_and_a_change_is_told_once() -> None:
    keeper = HoleKeeper(MARKET)

    def told(rest_error: str | None = None) -> list[tuple[int, str]]:
        look = keeper.look(
            [span(300, 200), span(120, 90)], now_ms=NOW, horizon_ms=100 * MINUTE_MS, rest_error=rest_error
        )
        return [(each.from_ms, each.why) for each in look.why]

    old, new = span(300, 200)[0], span(120, 90)[0]
    assert told() == [(old, HORIZON), (new, "")], "one that reaches into what the venue shows may still be told"
    assert told("HTTP 503") == [(new, OUTAGE)]
    assert told("HTTP 502") == []
    assert told() == [(new, "")]
