"""``manta verify crash``: what a user runs to see that any crash leaves the books as they would have been."""

from pathlib import Path

import pytest

from manta.crash.cells import choose
from manta.crash.stretches import STRETCHES
from tests.manta.conftest import Place
from tests.manta.crash.verdicts import green


@pytest.mark.covers("S1-39")
def test_a_slice_of_the_matrix_is_green_and_written_as_a_page(place: Place, tmp_path: Path) -> None:
    page = tmp_path / "matrix.md"
    result = green(place, "--cells", "15", "--seed", "4", "--stretch", "scripted", "--write", str(page))
    assert result["cells"] == 8
    assert "8 cells" in page.read_text(encoding="utf-8")
    assert "--cells 15 --stretch scripted --seed 4" in page.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.long(3)
def test_a_short_soak_is_green(place: Place) -> None:
    answer = place.call("verify", "crash", "--soak", "90s", "--seed", "3", "--json", timeout_s=900)
    assert answer.status == 0, answer.value
    assert answer.value["failed"] == answer.value["missing"] == answer.value["doubled"] == 0
    assert sum(answer.value["faults"].values()) > 5


def test_a_soak_takes_no_cells(place: Place) -> None:
    answer = place.run("verify", "crash", "--soak", "1m", "--cells", "3", "--json")
    assert answer.status != 0
    assert answer.value["field"] == "soak"


def test_a_real_stretch_that_is_too_short_says_so(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "short.csv"
    rows = [f"{1_740_787_200_000 + minute * 60_000},1,1,1,1,1" for minute in range(60)]
    file.write_text("\n".join(["open_time,open,high,low,close,volume", *rows]), encoding="utf-8")
    answer = place.call("verify", "crash", "--cells", "4", "--file", str(file), "--json")
    assert answer.status != 0
    assert "too short" in answer.value["message"]


def test_a_stretch_that_is_not_there_is_refused_by_name(place: Place) -> None:
    answer = place.run("verify", "crash", "--stretch", "imagined", "--json")
    assert answer.status != 0
    assert (answer.value["field"], answer.value["value"]) == ("stretch", "imagined")
    assert "scripted, real" in answer.value["fix"]


def test_a_choice_without_a_cell_of_the_stretch_is_refused(place: Place) -> None:
    (chosen,) = choose(1, 2)
    (other,) = {*STRETCHES} - {chosen.stretch}
    answer = place.run("verify", "crash", "--cells", "1", "--seed", "2", "--stretch", other, "--json")
    assert answer.status != 0
    assert (answer.value["field"], answer.value["value"]) == ("cells", "1")
