"""Whose cores a sweep uses: this process's, those of the Ray that Manta runs on, or those of a Ray of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from backtest.sweep.pool import HerePool, Pool
from manta.deadline import Deadline
from manta.processes import MARK, birth_mark, free_port, new_session_id
from manta.ray_head import RayHead
from manta.run_file import read_run_file
from trading.config.loading import data_dir, load_config
from trading.config.model import Config
from trading.errors import MantaError

__all__ = ["own_ray", "sweep_workers"]

_STOP_S = 5.0
_STORE_MB = 512
"""A million candles are 60 MB, and they are there once."""


@asynccontextmanager
async def sweep_workers(config_path: Path | None, count: int | None) -> AsyncIterator[Pool]:
    """``count`` workers: with one, a thread of this process; without a number, as many as there are cores.

    They are tasks on the Ray of the Manta that runs on this data directory, or on the configured cluster. Without
    either a Ray of our own is started on loopback and ends with the block.
    """
    if count == 1:
        yield HerePool()
        return
    config, folder = load_config(config_path, os.environ), data_dir(config_path, os.environ)
    facts = read_run_file(folder)
    address: str | None = facts["ray"] if facts is not None else config.ray.address
    if address:
        ours = facts is not None and not facts["attached"]
        token = Path((folder / "ray_dir").read_text(encoding="utf-8")) / "token" if ours else None
        async with _connected(address, str(token) if token is not None else None) as pool_of:
            yield pool_of(count)
        return
    async with own_ray(config, folder, count or len(os.sched_getaffinity(0))) as pool:
        yield pool


@asynccontextmanager
async def own_ray(config: Config, data: Path, count: int) -> AsyncIterator[Pool]:
    """``count`` workers of a node that dies with this process, however that ends.

    What a killed one left in its folder is removed first. Ray can be begun once in a process.
    """
    notes = data / "sweeps"
    _clear_dead(notes)
    own = notes / f"{os.getpid()} {birth_mark(os.getpid())}".replace("/", "_")
    own.mkdir(parents=True, exist_ok=True)
    session = new_session_id()
    head = RayHead(own, session)
    try:
        head.prepare()
        port = free_port()
        settings = config.ray.model_copy(
            update={"num_cpus": count, "object_store_mb": max(_STORE_MB, config.ray.object_store_mb)}
        )
        await head.start(settings, port, _environment(head.token_path) | {MARK: session})
        await asyncio.to_thread(head.shed)
        async with _connected(f"127.0.0.1:{port}", head.token_path) as pool_of:
            yield pool_of(trading=False)
    finally:
        await asyncio.to_thread(head.end, Deadline(), _STOP_S)
        shutil.rmtree(own, ignore_errors=True)


@asynccontextmanager
async def _connected(address: str, token_path: str | None) -> AsyncIterator[Any]:
    if token_path is not None:
        # Ray reads them when it is first imported.
        os.environ.update(_environment(token_path))
    import ray

    try:
        await asyncio.to_thread(
            ray.init, address=address, namespace="manta-sweep", log_to_driver=False, logging_level=logging.ERROR
        )
    except (ConnectionError, RuntimeError) as error:
        raise MantaError(
            f"The Ray at {address} cannot be used: {' '.join(str(error).split())[:300]}",
            field="ray.address",
            value=address,
            fix="See `manta status`; or sweep in this process alone with --workers 1.",
        ) from error
    from backtest.sweep.ray_pool import RayPool

    try:
        yield RayPool
    finally:
        await asyncio.to_thread(ray.shutdown)


def _environment(token_path: str) -> dict[str, str]:
    from actors.cluster import ray_environment

    return ray_environment(token_path)


def _clear_dead(notes: Path) -> None:
    """Remove the folders of sweeps whose process was killed."""
    for folder in notes.glob("*") if notes.is_dir() else ():
        pid, _, birth = folder.name.partition(" ")
        if pid.isdigit() and str(birth_mark(int(pid))).replace("/", "_") != birth:
            RayHead(folder, "").clear_predecessor()
            shutil.rmtree(folder, ignore_errors=True)
