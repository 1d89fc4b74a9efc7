"""The export of a long history, seen from outside: what the serving process holds of it at a time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.serve.conftest import MARKET, START_MS, Records
from trading.intervals import MINUTE_MS
from trading.storage.settings import DatabaseTarget

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1_200_000
MB = 1_000_000


@contextmanager
def serving(target: DatabaseTarget) -> Iterator[tuple[str, psutil.Process]]:
    """The address and the process of a server of its own."""
    command = [sys.executable, "-m", "tests.serve.server_process", json.dumps(asdict(target))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", psutil.Process(process.pid)
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.covers("S1-27e")
async def test_more_than_a_million_rows_are_streamed_in_constant_memory(
    database: DatabaseTarget, records: Records
) -> None:
    await records.connection.execute(
        "insert into candles (market_id, interval, open_time, close_time, open, high, low, close, volume, source)"
        " select $1, '1m', t, t + interval '1 minute', 104000.125, 104000.25, 103999.75, 104000.5, 1.5, 'import'"
        " from generate_series(at_ms($2), at_ms($2) + ($3 - 1) * interval '1 minute', interval '1 minute') t",
        records.ids[MARKET],
        START_MS,
        ROWS,
    )
    rows = size = highest = 0
    tail = b""
    with serving(database) as (url, process):
        async with aiohttp.ClientSession() as client:
            asked = {"symbol": "BTC", "to": str(START_MS + 20_000 * MINUTE_MS)}
            async with client.get(f"{url}/api/v1/export/csv", params=asked) as short:
                await short.read()
            before = process.memory_info().rss
            async with client.get(f"{url}/api/v1/export/csv", params={"symbol": "BTC"}) as response:
                async for chunk in response.content.iter_chunked(1 << 20):
                    rows += chunk.count(b"\n")
                    size += len(chunk)
                    tail = (tail + chunk)[-300:]
                    highest = max(highest, process.memory_info().rss)
    assert rows == ROWS + 1, "the head and every candle"
    assert tail.split(b"\n")[-2].startswith(str(START_MS + (ROWS - 1) * MINUTE_MS).encode())
    assert size > 90 * MB
    assert highest - before < 15 * MB, f"{(highest - before) / MB:.0f} MB more than for 20,000 rows"
    assert highest < 250 * MB
