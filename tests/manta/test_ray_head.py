"""How much of a machine backtests get where something trades."""

import os

import pytest

from manta.ray_head import cpus_for_backtests
from trading.config.model import RaySettings


@pytest.mark.parametrize("asked", [1, 7])
def test_the_configuration_says_how_many_cores_backtests_have(asked: int) -> None:
    assert cpus_for_backtests(RaySettings(num_cpus=asked)) == asked


def test_one_core_is_left_to_what_trades_where_there_is_another() -> None:
    cores = os.cpu_count() or 1
    assert cpus_for_backtests(RaySettings()) == (cores - 1 if cores > 1 else 1)
