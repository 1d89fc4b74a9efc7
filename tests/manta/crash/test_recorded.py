"""The half of the crash matrix over recorded candles; ``test_scripted`` runs the other cells of the same choice."""

import pytest

from tests.manta.conftest import Place
from tests.manta.crash.verdicts import green


@pytest.mark.slow
@pytest.mark.long(6)
def test_the_recorded_half_of_the_matrix_is_green(place: Place) -> None:
    result = green(place, "--cells", "170", "--seed", "2", "--stretch", "real")
    assert {row["stretch"] for row in result["rows"]} == {"real"}
    assert result["cells"] == 89
