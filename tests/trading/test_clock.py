"""The venue's present time, whatever is done to the host's clock."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.clock import ReplayClock, SystemClock, TimeSample, VenueClock, steady_ns

VENUE_MS = 1_752_624_000_000
HOUR_S = 3600.0


def observed(rate: float = 1.0, *, offset_ms: int = 0) -> tuple[VenueClock, ReplayClock]:
    """A clock that heard the venue just now; the host's wall clock is off by ``offset_ms``."""
    host = ReplayClock(now_ns=5_000_000_000_000, wall_offset_ns=(VENUE_MS + offset_ms) * 1_000_000)
    clock = VenueClock(rate, clock=host)
    clock.observe(TimeSample(VENUE_MS, host.now()))
    return clock, host


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 10.0, -10.0, 365 * 24 * HOUR_S])
def test_a_step_of_the_hosts_clock_changes_nothing(step_s: float) -> None:
    clock, host = observed()
    host.advance(30)
    host.step_wall(step_s)
    assert clock.now_ms(0) == VENUE_MS + 30_000
    host.advance(0.5)
    assert clock.now_ms(0) == VENUE_MS + 30_500


@given(
    st.lists(
        st.tuples(st.floats(0, 1000), st.floats(-1e6, 1e6)),
        max_size=20,
    )
)
def test_only_steady_time_counts(turns: list[tuple[float, float]]) -> None:
    clock, host = observed()
    seen = [clock.now_ms(0)]
    for seconds, step_s in turns:
        host.advance(seconds)
        host.step_wall(step_s)
        seen.append(clock.now_ms(0))
    assert seen == sorted(seen)
    assert abs(seen[-1] - VENUE_MS - sum(seconds for seconds, _ in turns) * 1000) <= 1


@pytest.mark.parametrize("ppm", [11.6, -11.6])
def test_a_smeared_leap_second_is_not_noticed(ppm: float) -> None:
    """The host's clocks run slow or fast for a day so that a second fits in; the venue is asked every minute."""
    clock, host = observed()
    worst = 0.0
    for minute in range(1, 1441):
        host.advance(60 * (1 + ppm / 1e6))
        now_ms = VENUE_MS + minute * 60_000
        worst = max(worst, abs(clock.now_ms(0) - now_ms))
        clock.observe(TimeSample(now_ms, host.now()))
    assert worst < 2
    # Even if the venue said nothing for the whole day, the error is the second itself.
    for _ in range(1440):
        host.advance(60 * (1 + ppm / 1e6))
    assert abs(clock.now_ms(0) - (VENUE_MS + 2 * 86_400_000)) <= 1003


def test_a_sample_of_another_host_is_aged_by_wall_time_and_then_by_our_own_clock() -> None:
    other = ReplayClock(now_ns=77, wall_offset_ns=VENUE_MS * 1_000_000, boot="other")
    sample = TimeSample(VENUE_MS, other.now())
    host = ReplayClock(now_ns=9_000_000_000, wall_offset_ns=VENUE_MS * 1_000_000 - 9_000_000_000)
    clock = VenueClock(clock=host)
    host.advance(2)
    clock.observe(sample)
    assert clock.now_ms(0) == VENUE_MS + 2_000
    host.step_wall(-HOUR_S)
    host.advance(5)
    assert clock.now_ms(0) == VENUE_MS + 7_000


def test_a_sample_of_another_host_that_is_ahead_of_us_counts_as_of_now() -> None:
    other = ReplayClock(wall_offset_ns=(VENUE_MS + 60_000) * 1_000_000, boot="other")
    host = ReplayClock(wall_offset_ns=VENUE_MS * 1_000_000)
    clock = VenueClock(clock=host)
    clock.observe(TimeSample(VENUE_MS, other.now()))
    assert clock.now_ms(0) == VENUE_MS


def test_a_replay_runs_at_its_own_rate_and_stands_still_in_lockstep() -> None:
    fast, host = observed(600.0)
    host.advance(2)
    assert fast.now_ms(0) == VENUE_MS + 1_200_000
    still, host = observed(0.0)
    host.advance(2)
    assert still.now_ms(123) == 123
    assert VenueClock().now_ms(123) == 123


def test_all_processes_of_this_host_read_the_same_steady_clock() -> None:
    before = steady_ns()
    code = "from trading.clock import SystemClock; now = SystemClock().now(); print(now.steady_ns, now.boot)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert before < int(told[0]) < steady_ns()
    assert told[1] == SystemClock().now().boot
