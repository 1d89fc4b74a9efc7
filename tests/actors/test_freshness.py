"""The recorder's watch: each market by its own venue's clock, and what a commit makes fresh."""

from actors.freshness import FreshnessWatch
from trading.clock import HostTime, ReplayClock, TimeSample, VenueClock
from trading.events import Event, EventKind
from trading.freshness import Freshness, silence_limit_ms
from trading.intervals import MINUTE_MS
from trading.recording import Portion

BTC, HYPE = "binance:BTCUSDT", "hyperliquid:BTC"
START = 1_752_624_000_000


def clock(host: ReplayClock, venue_ms: int | None) -> VenueClock:
    found = VenueClock(clock=host)
    if venue_ms is not None:
        found.observe(TimeSample(venue_ms, host.now()))
    return found


def portion(market: str, upto_ms: int, sample: TimeSample | None = None) -> Portion:
    return Portion(market, upto_ms - MINUTE_MS, upto_ms, (), (), sample)


def told(watch: FreshnessWatch, *portions: Portion) -> list[tuple[str, bool]]:
    accepted_ms = {each.market: each.upto_ms for each in portions}
    return [(turn.market, turn.stale) for turn in watch.turns(accepted_ms, portions)]


def test_each_market_is_judged_by_its_own_venue_and_a_commit_makes_it_fresh_at_once() -> None:
    host = ReplayClock()
    watched = Freshness({BTC: START, HYPE: START}, START, silence_limit_ms(1))
    # Hyperliquid has not told its time yet: nobody can say how old its candles are.
    watch = FreshnessWatch(watched, (BTC, HYPE), {"binance": clock(host, START), "hyperliquid": clock(host, None)})
    host.advance(119)
    assert told(watch) == []
    host.advance(1)
    assert told(watch) == [(BTC, True)]
    sample = TimeSample(START + 200_000, HostTime(*host.now()))
    assert told(watch, portion(HYPE, START + MINUTE_MS, sample)) == []
    host.advance(120)
    assert told(watch) == [(HYPE, True)]
    assert told(watch, portion(BTC, START + 4 * MINUTE_MS)) == [(BTC, False)]
    assert told(watch) == []


def test_minutes_that_wait_for_postgres_are_no_silence() -> None:
    host = ReplayClock()
    watched = Freshness({BTC: START}, START, silence_limit_ms(1))
    watch = FreshnessWatch(watched, (BTC,), {"binance": clock(host, START)})
    host.advance(600)
    assert watch.turns({BTC: START + 10 * MINUTE_MS}) == []
    host.advance(120)
    assert [turn.reason for turn in watch.turns({BTC: START + 10 * MINUTE_MS})] == ["no closed minute for 2 min"]


def test_it_hears_of_connections_and_of_nothing_else() -> None:
    host = ReplayClock()
    watch = FreshnessWatch(Freshness({BTC: START}, START, silence_limit_ms(1)), (BTC,), {"binance": clock(host, START)})
    payload = {"market": BTC, "reason": "silent for 15 s"}
    watch.heard([("anomaly", object()), ("event", Event(EventKind.FEED_DOWN, START, BTC, payload))])
    assert told(watch) == []
    watch.heard([("event", Event(EventKind.FEED_UP, START, BTC, payload))])
    assert told(watch) == []


def test_in_lockstep_nothing_is_stale() -> None:
    watch = FreshnessWatch(None, (), {})
    watch.heard([("event", Event(EventKind.FEED_DOWN, START, BTC, {"reason": "x"}))])
    assert told(watch, portion(BTC, START)) == []
