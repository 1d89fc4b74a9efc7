"""``kill -9`` of the host: everything it started ends by itself, and the next start goes on from the last commit."""

import signal

import pytest

from tests.manta.conftest import Place, living, nothing_left, of_place, popen_replay, start_replay, wait_for


@pytest.mark.slow
def test_a_killed_host_takes_everything_along_and_the_next_start_recovers(place: Place) -> None:
    with nothing_left(place):
        first = start_replay(place, minutes=30)
        ray_dir = (place.data_dir / "ray_dir").read_text(encoding="utf-8")
        first.process.kill()
        first.process.communicate(timeout=120)
        wait_for(lambda: not of_place(place), "the end of what the killed host started")
        wait_for(lambda: not living(first.facts["started"]), "the end of the rest")
        assert place.run("status", "--json").value["running"] is False
        assert place.run("down", "--json").value == {"stopped": False}

        second = start_replay(place, minutes=90)
        assert second.facts["reached_ms"] > first.facts["reached_ms"]
        assert (place.data_dir / "ray_dir").read_text(encoding="utf-8") != ray_dir
        assert not place.folder.joinpath(ray_dir).exists()
        second.stop()


@pytest.mark.slow
def test_a_host_killed_while_it_starts_takes_everything_along(place: Place) -> None:
    process, _ = popen_replay(place)
    wait_for(lambda: any("manta.graph" in line for line in of_place(place)), "the driver")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    wait_for(lambda: not of_place(place), "the end of what the killed host started")
    with nothing_left(place):
        start_replay(place).stop()
