"""``manta sim serve`` as a process: ready line, clean end, refusals."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trading.errors import BadInput
from trading.venues.simulator.command import ServeOptions, run
from trading.venues.simulator.control import SimulatorControl
from trading.venues.simulator.sample import SAMPLE_END_MS, SAMPLE_FILE, SESSION_START_MS

PROGRAM = "import asyncio; from trading.venues.simulator.command import *; asyncio.run(run(ServeOptions(speed=None)))"


@asynccontextmanager
async def served() -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, None])
async def test_one_line_when_ready_and_a_clean_end(ending: signal.Signals | None) -> None:
    async with served() as (process, ready):
        assert ready["start_ms"] == SESSION_START_MS
        assert ready["end_ms"] == SAMPLE_END_MS
        async with SimulatorControl(ready["control_url"]) as control:
            assert (await control.state())["position_ms"] == SESSION_START_MS
            if ending is None:
                await control.stop()
        if ending is not None:
            process.send_signal(ending)
        rest, errors = await asyncio.wait_for(process.communicate(), 60)

    assert (process.returncode, rest, errors) == (0, b"", b"")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (ServeOptions(files={"BTCUSDT": Path("none.csv")}), "file"),
        (ServeOptions(files={"btc/usdt": SAMPLE_FILE}), "symbol"),
        (ServeOptions(files={"BTCUSDT": SAMPLE_FILE}, start_ms=60_000), "start"),
        (ServeOptions(speed=0.0), "speed"),
        (ServeOptions(lead=0), "lead"),
    ],
)
async def test_refusals(options: ServeOptions, field: str) -> None:
    with pytest.raises(BadInput) as refusal:
        await run(options)
    assert refusal.value.field == field
    assert refusal.value.fix
