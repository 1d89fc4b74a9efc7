"""What ``manta status`` says of a data directory on which nothing runs: since when, and why."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from manta.run_file import note_end, note_run, read_run_file, stale_run
from tests.manta.conftest import Place


def log(place: Place, *records: dict[str, Any]) -> None:
    folder = place.data_dir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "host.log").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def line(level: str, event: str, *, ago_s: float = 0.0, **more: Any) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - ago_s))
    return {"timestamp": f"{moment}.000000Z", "level": level, "logger": "host", "event": event, **more}


def end(**facts: Any) -> dict[str, Any]:
    usual = {"pid": 1, "session_id": "s", "started_at": time.time() - 60, "why": "told to", "flushed": True}
    return usual | {"seconds": 1.5} | facts


@pytest.fixture
def ran(place: Place) -> Place:
    place.data_dir.mkdir()
    return place


def test_a_folder_that_never_ran_says_so(place: Place) -> None:
    answer = place.run("status")
    assert (answer.status, "It has never run there." in answer.out) == (1, True)
    assert place.run("status", "--json").value["ended"]["how"] == "never ran"


def test_an_end_in_order_says_when_why_and_whether_all_was_flushed(ran: Place) -> None:
    note_end(ran.data_dir, end())
    words = ran.run("status").out
    assert "It ended in order 0 s ago (told to), in 1.5 s, everything flushed." in words
    note_end(ran.data_dir, end(why="Ray at 127.0.0.1:6399 has ended.", flushed=False))
    words = ran.run("status").out
    assert (
        "(Ray at 127.0.0.1:6399 has ended.), in 1.5 s, not everything flushed: the next start pulls the rest." in words
    )


def test_a_killed_host_is_told_from_one_that_ended(ran: Place) -> None:
    note_end(ran.data_dir, end(session_id="before"))
    gone = {"pid": os.getpid(), "birth": "another boot/1", "session_id": "s", "started_at": time.time() - 60}
    (ran.data_dir / "run.json").write_text(json.dumps(gone), encoding="utf-8")
    log(ran, line("info", "ready", ago_s=5))
    facts = ran.run("status", "--json").value["ended"]
    assert (facts["how"], facts["last_error"]) == ("killed", None)
    assert "It was killed, or its machine went down" in ran.run("status").out
    assert stale_run(ran.data_dir) is not None


def test_the_last_error_of_that_run_is_told_and_none_of_an_earlier_one(ran: Place) -> None:
    note_end(ran.data_dir, end())
    log(ran, line("error", "old trouble", ago_s=3600), line("info", "ready", ago_s=30))
    assert ran.run("status", "--json").value["ended"]["last_error"] is None
    log(ran, line("error", "actors did not stop in order", error="TimeoutError", ago_s=5), line("info", "ended"))
    assert "actors did not stop in order: TimeoutError" in ran.run("status").out


def test_the_run_file_belongs_to_the_process_that_wrote_it(ran: Place) -> None:
    note_run(ran.data_dir, {"session_id": "s"})
    facts = read_run_file(ran.data_dir)
    assert facts is not None
    assert (facts["pid"], stale_run(ran.data_dir)) == (os.getpid(), None)
    note_end(ran.data_dir, end(), keep_run=True)
    assert read_run_file(ran.data_dir) is not None
    note_end(ran.data_dir, end())
    assert read_run_file(ran.data_dir) is None
    assert not Path(ran.data_dir / "run.json").exists()
