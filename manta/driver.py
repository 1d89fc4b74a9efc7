"""One order to the short-lived process that puts up or takes down the actor graph, ``manta.graph``."""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manta.graph import Order
from manta.output import error_from
from manta.processes import die_with_parent
from trading.errors import MantaError

__all__ = ["drive"]


async def drive(order: Order, environment: Mapping[str, str], log_dir: Path, within_s: float) -> dict[str, Any]:
    """Carry out ``order`` and return the answer; what the driver said before it failed is kept in ``log_dir``.

    Raises the driver's own error, or MantaError when it ended without one or was not done ``within_s``.
    """
    driver = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "manta.graph",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        preexec_fn=die_with_parent(signal.SIGKILL),
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(driver.communicate(pickle.dumps(order)), within_s)
    except TimeoutError:
        raise MantaError(f"The driver did not finish {order.verb} in {within_s:.0f} s.") from None
    finally:
        if driver.returncode is None:
            driver.kill()
            await driver.wait()
    if driver.returncode != 0 or not out:
        log_dir.mkdir(exist_ok=True)
        (log_dir / f"driver-{order.verb}.log").write_bytes(err)
        tail = err.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise MantaError(f"The driver failed to {order.verb} the actors: {tail[0][:500]}", fix=f"See {log_dir}.")
    answer: dict[str, Any] = json.loads(out)
    if "failed" in answer:
        raise error_from(answer["failed"])
    return answer
