"""The simulated cluster: bound by its workers while the head is idle, by the head beyond that."""

import pytest

from bench.scale import Costing, rate

BATCH = 96


def test_one_worker_is_never_idle_while_its_next_batch_waits():
    assert rate(Costing(compute=0.5, head=0.01, latency=0.002), 1) == pytest.approx(BATCH / 0.5, rel=0.01)


def test_workers_add_up_until_the_head_is_busy():
    costing = Costing(compute=0.5, head=0.01, latency=0.002)

    assert rate(costing, 16) == pytest.approx(16 * BATCH / 0.5, rel=0.05)
    assert rate(costing, 200) == pytest.approx(BATCH / 0.01, rel=0.05)


def test_a_head_that_costs_nothing_is_no_limit():
    assert rate(Costing(0.1, 0.0, 0.0), 64) == pytest.approx(64 * BATCH / 0.1, rel=0.05)


def test_waiting_for_the_network_shows_when_batches_are_short():
    assert rate(Costing(compute=0.001, head=0.0, latency=0.01), 1) < 0.2 * BATCH / 0.001
