"""What tests of ``manta data`` share: a place whose database is one of the test session's server."""

import pytest

from tests.manta.conftest import Place
from trading.storage.settings import DatabaseTarget


@pytest.fixture
def stored(place: Place, empty_database: DatabaseTarget) -> Place:
    """A place with a database of its own, of the venue's origin once the first command has migrated it."""
    place.environ |= {
        "DB_HOST": empty_database.host,
        "DB_PORT": str(empty_database.port),
        "DB_NAME": empty_database.database,
        "DB_USER": empty_database.user,
        "DB_PASSWORD": empty_database.password() or "",
    }
    return place
