"""The scripted half of the crash matrix; ``test_recorded`` runs the other cells of the same choice."""

import pytest

from tests.manta.conftest import Place
from tests.manta.crash.verdicts import green


@pytest.mark.slow
@pytest.mark.long(6)
def test_the_scripted_half_of_the_matrix_is_green(place: Place) -> None:
    result = green(place, "--cells", "170", "--seed", "2", "--stretch", "scripted")
    assert {row["stretch"] for row in result["rows"]} == {"scripted"}
    assert result["cells"] == 81
