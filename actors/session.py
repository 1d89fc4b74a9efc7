"""What every actor is told at birth. Plain data: it is pickled into actor arguments, so it holds no secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.cluster import HEAD_ONLY
from trading.clock import TimeSample
from trading.config.model import Config
from trading.storage.settings import DatabaseTarget
from trading.venues.paper.faults import BrokerFault

__all__ = ["ACTOR_OPTIONS", "Session", "SlowPoint", "actor_name"]

# Measured: a restart that retries calls by itself would repeat effects; every edge repeats on its own terms instead.
ACTOR_OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "resources": HEAD_ONLY,
    "max_restarts": -1,
    "max_task_retries": 0,
    "lifetime": "detached",
}


@dataclass(frozen=True, slots=True)
class SlowPoint:
    """Makes ``actor`` of a simulator session take ``seconds`` longer for each message."""

    actor: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the actor graph.

    ``origin`` is ``venue`` or ``simulator``; ``time_rate`` how fast venue time runs against host time (0: lockstep).
    ``start_ms`` is the venue's time when the graph was built: instances that are new decide on candles closing after
    it; ``clock`` is the pair of clocks that this was told with, None in lockstep. ``secrets_path`` names a 0600 file.
    ``crash_dir``, only of a simulator session, holds what is to be hurt; ``host_pid`` is the host's process, which puts
    backups of the database into ``backup_dir`` (None: it makes none).
    """

    session_id: str
    namespace: str
    origin: str
    time_rate: float
    start_ms: int
    config: Config
    target: DatabaseTarget
    secrets_path: str
    log_dir: str
    postgres_pid_file: str | None = None
    host_pid: int | None = None
    crash_dir: str | None = None
    slow_points: tuple[SlowPoint, ...] = ()
    broker_faults: tuple[BrokerFault, ...] = ()
    clock: TimeSample | None = None
    backup_dir: str | None = None

    @property
    def lockstep(self) -> bool:
        return self.time_rate == 0


def actor_name(role: str, subject: str = "") -> str:
    """The name of an actor within its namespace: ``feed:binance:BTCUSDT``, ``execution:paper``, ``notifier``."""
    return f"{role}:{subject}" if subject else role
