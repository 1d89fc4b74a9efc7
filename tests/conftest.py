"""Fixtures and session plugins shared by all tests."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast examples are made and run says something of the machine, not of what is tested.
settings.register_profile("manta", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("manta")

pytest_plugins = [
    "pytester",
    "tests.plugins.covers",
    "tests.plugins.leftovers",
    "tests.plugins.longest_first",
    "tests.plugins.named_at_once",
    "tests.plugins.postgres",
    "tests.plugins.lived",
]

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real market data beside the checkout; without it the test is skipped."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"NO REAL DATA: {folder} is absent, so nothing here was tested against a real market")
    return folder
