"""Time for stopping: shared out so that no step and no stage can take what others need."""

from hypothesis import given
from hypothesis import strategies as st

from actors.stages import stage_seconds, stages
from manta.deadline import Deadline


def test_steps_use_what_earlier_ones_left_and_never_what_later_ones_need() -> None:
    now = [100.0]
    deadline = Deadline(lambda: now[0])
    assert deadline.left(5) == 5
    now[0] += 2
    assert (deadline.left(5), deadline.left(7), deadline.spent) == (3, 5, 2)
    now[0] += 60
    assert deadline.left(9.5) == 0


@given(st.floats(0, 10), st.lists(st.booleans(), min_size=1, max_size=12))
def test_stages_that_hang_leave_time_for_all_that_follow(total_s: float, hangs: list[bool]) -> None:
    left = total_s
    for place, hung in enumerate(hangs):
        seconds = stage_seconds(left, len(hangs) - place)
        assert 0 <= seconds <= left
        assert seconds >= total_s / 2 ** len(hangs) or total_s == 0
        left -= seconds if hung else 0
    assert left >= 0


def test_actors_of_one_role_stop_together_in_the_order_of_the_data() -> None:
    names = ["feed:a:X", "feed:a:Y", "recorder", "timeframe:a:X", "timeframe:a:Y", "brain", "execution:p", "notifier"]
    assert stages(names) == [
        ["feed:a:X", "feed:a:Y"],
        ["recorder"],
        ["timeframe:a:X", "timeframe:a:Y"],
        ["brain"],
        ["execution:p"],
        ["notifier"],
    ]
    assert stages([]) == []
    assert stages(["feeds:1", "feed:a:Z", "recorder"]) == [["feeds:1", "feed:a:Z"], ["recorder"]]
