"""Work that can wait is below live actors: every thread of it, and its session where Linux groups by sessions."""

import json
import subprocess
import sys

import pytest

from backtest.background import NICENESS, grouped_by_session

# A thread from before, as Ray's workers have dozens, and a group of its own, as raylet gives each of them.
WORKER = """
import json, os, sys, threading
from pathlib import Path
from backtest.background import step_back
leads = sys.argv[1] == "leads"
if leads:
    os.setpgid(0, 0)
hold = threading.Event()
old = threading.Thread(target=hold.wait)
old.start()
session, ours = os.getsid(0), os.getpid()
for _ in range(2):
    step_back(own_session=sys.argv[2] == "apart")
new = threading.Thread(target=hold.wait)
new.start()
nice = [os.getpriority(os.PRIO_PROCESS, int(name)) for name in os.listdir("/proc/self/task")]
group = Path("/proc/self/autogroup")
print(json.dumps({
    "left": os.getsid(0) == ours != session,
    "leads": os.getpgrp() == ours,
    "nice": nice,
    "group": group.read_text() if group.exists() else "",
}))
hold.set()
"""


@pytest.mark.parametrize(("group", "session"), [("leads", "apart"), ("follows", "apart"), ("leads", "shared")])
def test_every_thread_is_lowered_and_the_session_if_it_is_to_be(group: str, session: str) -> None:
    done = subprocess.run([sys.executable, "-c", WORKER, group, session], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert len(told["nice"]) == 3
    assert set(told["nice"]) == {NICENESS}
    apart = session == "apart" and grouped_by_session()
    assert told["left"] == apart
    assert told["leads"] == (group == "leads" or apart)
    # Nothing is told of a process whose control group comes before its session.
    if told["group"]:
        assert (told["group"].split()[1:] == ["nice", str(NICENESS)]) == apart
