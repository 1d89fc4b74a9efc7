"""Processes are told apart by what they do."""

import pytest

from bench.kinds import kind_of_command


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["ray::FeedActor.push"], "ray::FeedActor"),
        (["ray::IDLE", "", ""], "ray::IDLE"),
        (["postgres: btc_bot btc_data [local] idle"], "postgres sessions and helpers"),
        (["/somewhere/bin/postgres", "-D", "/data"], "postgres"),
        (["/usr/bin/python3", "-u", "/lib/ray/dashboard/agent.py", "--port=1"], "agent.py"),
        (["/usr/bin/python3", "-m", "ray.scripts.scripts", "start"], "ray.scripts.scripts"),
        (["/lib/ray/raylet/raylet", "--store=1"], "raylet"),
        ([], "ended"),
    ],
)
def test_a_kind_leaves_out_what_differs_from_run_to_run(command: list[str], kind: str):
    assert kind_of_command(command) == kind
