"""Files come in the order of how long they take, the longest first.

The mark ``long(minutes)`` on a test or a module says how long its file takes; files without it come last, as they come.
So none of them keeps one worker busy alone at the end.
"""

from collections import defaultdict
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    minutes: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        for mark in item.iter_markers("long"):
            minutes[item.path] = max(minutes[item.path], float(mark.args[0]))
    items.sort(key=lambda item: -minutes[item.path])
