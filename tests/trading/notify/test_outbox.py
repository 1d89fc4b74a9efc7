"""What becomes of a message, for every kind of answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.notify.outbox import Answer, Fate, Verdict, decide

FAILED = Answer(Verdict.FAILED, "HTTP 500", may_have_arrived=True)


def highest(_low: float, high: float) -> float:
    return high


def lowest(low: float, _high: float) -> float:
    return low


def test_an_accepted_message_is_sent_and_the_channel_s_own_pause_is_kept() -> None:
    assert decide(Answer(Verdict.ACCEPTED, wait_s=1.5), 1, 20, highest) == Fate(sent=True, pause_s=1.5)


def test_waits_double_from_one_second_to_five_minutes() -> None:
    waits = [decide(FAILED, attempt, 100, highest).retry_s for attempt in range(1, 13)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_the_jitter_is_full() -> None:
    assert decide(FAILED, 8, 100, lowest).retry_s == 0


def test_the_channel_rests_while_its_message_waits_so_that_messages_stay_in_order() -> None:
    fate = decide(FAILED, 4, 100, highest)
    assert fate.pause_s == fate.retry_s == 8


def test_a_wait_that_the_channel_asked_for_is_never_shortened() -> None:
    limited = Answer(Verdict.FAILED, "HTTP 429", wait_s=1336.57)
    assert decide(limited, 1, 20, lowest).retry_s == 1336.57
    assert decide(limited, 9, 20, highest).retry_s == 1337.57


@pytest.mark.parametrize("arrived", [True, False])
def test_only_a_try_that_may_have_arrived_marks_the_next_one(arrived: bool) -> None:
    answer = Answer(Verdict.FAILED, "no answer", may_have_arrived=arrived)
    assert decide(answer, 1, 20, highest).maybe_duplicate is arrived


def test_after_the_last_try_it_is_a_dead_letter_and_somebody_is_told() -> None:
    assert decide(FAILED, 19, 20, highest).retry_s is not None
    fate = decide(FAILED, 20, 20, highest)
    assert (fate.dead, fate.retry_s, fate.disable) == (True, None, False)
    assert "after 20 tries: HTTP 500" in fate.alert


def test_a_message_that_is_refused_dies_alone() -> None:
    fate = decide(Answer(Verdict.BAD_MESSAGE, "HTTP 400"), 1, 20, highest)
    assert (fate.dead, fate.disable) == (True, False)
    assert "HTTP 400" in fate.alert


def test_a_refused_channel_is_disabled_and_keeps_its_message_even_on_the_last_try() -> None:
    fate = decide(Answer(Verdict.BAD_CHANNEL, "HTTP 404"), 20, 20, highest)
    assert (fate.dead, fate.disable, fate.retry_s) == (False, True, 0.0)
    assert "HTTP 404" in fate.alert


@given(
    st.builds(Answer, st.sampled_from(Verdict), st.text(), st.floats(), st.booleans()),
    st.integers(1, 2000),
    st.integers(1, 1000),
    st.sampled_from([lowest, highest]),
)
def test_every_answer_leads_to_exactly_one_fate_within_a_day(answer, attempts, most, jitter) -> None:
    fate = decide(answer, attempts, most, jitter)
    assert [fate.sent, fate.dead, fate.retry_s is not None].count(True) == 1
    assert 0 <= (fate.retry_s or 0) <= 86_700
    assert 0 <= fate.pause_s <= 86_700
    assert bool(fate.alert) == (fate.dead or fate.disable)
