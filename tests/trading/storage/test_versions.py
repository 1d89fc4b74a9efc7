"""The same SQL on the oldest Postgres served: the tests of storage and of the API's queries, run again on 15.

On 18, the bundled one, they run anyway.
"""

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from tests.plugins.postgres import BINARIES
from trading.storage.binaries import find_binaries

pytestmark = pytest.mark.long(1)

ROOT = Path(__file__).resolve().parents[3]
FIFTEEN = Path("/usr/lib/postgresql/15/bin")
STORAGE = (
    "bulk", "candles", "cursors", "events", "fold", "folded", "gap_rebuild", "migrate", "outbox", "price_gaps",
    "quality", "rebuilds", "records", "rederive", "revisions", "versions",
)  # fmt: skip
API = ("account", "data", "gaps")
# What takes long by its amount of data asks nothing of Postgres that the others do not.
LONG = "not two_sessions and not long_past"


async def test_the_server_is_of_the_version_that_was_asked_for(connection: asyncpg.Connection, tmp_path: Path) -> None:
    wanted = os.environ.get(BINARIES)
    major = find_binaries(tmp_path, Path(wanted) if wanted else None).major
    assert major == (15 if wanted else 18)
    assert await connection.fetchval("select current_setting('server_version_num')::int / 10000") == major


@pytest.mark.slow
@pytest.mark.covers("S1-30")
def test_storage_and_queries_hold_on_postgres_15(tmp_path: Path) -> None:
    if not (FIFTEEN / "initdb").exists():
        pytest.skip("NO POSTGRES 15: install Debian's postgresql-15; nothing here was run on the oldest version served")
    files = [f"tests/trading/storage/test_{name}.py" for name in STORAGE]
    files += [f"tests/serve/test_{name}.py" for name in API]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    options = ["-q", "-m", "not slow", "-k", LONG, "-p", "no:cacheprovider", "--basetemp", tmp_path / "t"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=ROOT, env=environment | {BINARIES: str(FIFTEEN)}, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
