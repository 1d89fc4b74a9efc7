"""Every fault of the simulator, alone and in pairs: at the end the invariants I1, I2 and I3 hold.

``docs/candle-truth.md`` says what is hurt and how. A failure prints the cells and what does not hold in them.
"""

from __future__ import annotations

import random
from typing import get_args

import pytest

from tests.actors.fault_cells import FAULTS, garbage, pairs, play, singles
from trading.storage.settings import DatabaseTarget
from trading.venues.simulator.faults import How, Kind

pytestmark = pytest.mark.long(2)


def test_no_fault_of_the_simulator_is_left_out() -> None:
    orders = [order for fault in FAULTS.values() for order in fault]
    assert {order["kind"] for order in orders} == set(get_args(Kind))
    for kind in ("corrupt", "corrupt_rows"):
        assert {order["how"] for order in orders if order["kind"] == kind} == set(get_args(How))
    assert {each.faults[0] for each in singles()} == set(FAULTS)


async def test_garbage_is_refused_and_counted(database: DatabaseTarget) -> None:
    assert await play(garbage(), database) == {}


async def test_a_sample_of_faults_alone_and_in_pairs(database: DatabaseTarget) -> None:
    source = random.Random(4)
    alone = [cell for cell in singles() if cell not in garbage()]
    assert await play([*source.sample(alone, 12), *source.sample(pairs(), 16)], database) == {}


@pytest.mark.slow
async def test_every_fault_alone(database: DatabaseTarget) -> None:
    assert await play(singles(), database) == {}


@pytest.mark.slow
async def test_every_pair_of_faults(database: DatabaseTarget) -> None:
    assert await play(pairs(), database) == {}
