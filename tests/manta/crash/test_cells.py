"""Which cells there are, and what a smaller choice of them visits."""

import pytest

from manta.crash.cells import PLACES, choose, every_cell


def test_every_boundary_meets_every_victim() -> None:
    cells = every_cell(1)
    assert len(cells) == len(set(cells)) >= 150
    for victim in ("self", "postgres", "connection", "host", "raylet"):
        assert {(cell.actor, cell.boundary) for cell in cells if cell.victim == victim} == set(PLACES)
    for stretch in ("scripted", "real"):
        for victim in ("self", "postgres", "connection"):
            visited = {(c.actor, c.boundary) for c in cells if c.victim == victim and c.stretch == stretch}
            assert visited == set(PLACES)


def test_a_choice_is_made_by_the_seed() -> None:
    assert choose(40, 5) == choose(40, 5)
    assert choose(40, 5) != choose(40, 6)
    assert len(set(choose(40, 5))) == 40
    assert sorted(map(str, choose(10_000, 5))) == sorted(map(str, every_cell(5)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_there_are_as_many_as_were_asked_for(count: int) -> None:
    assert len(choose(count, 5)) == count


def test_a_small_choice_visits_many_places_and_ends_hosts_rarely() -> None:
    cells = choose(70, 3)
    assert {(cell.actor, cell.boundary) for cell in cells if cell.victim in ("self", "postgres", "connection")} == set(
        PLACES
    )
    assert sum(cell.victim in ("host", "raylet") for cell in cells) == 7
