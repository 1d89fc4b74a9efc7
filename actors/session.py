"""What every actor is told at birth. Plain data: it is pickled into actor arguments, so it holds no secret."""

from __future__ import annotations

from dataclasses import dataclass, field

from trading.config.model import Config
from trading.storage.settings import DatabaseTarget

__all__ = ["ACTOR_OPTIONS", "CrashPoint", "Session", "actor_name"]

# Measured: a restart that retries calls by itself would repeat effects; every edge repeats on its own terms instead.
ACTOR_OPTIONS = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "lifetime": "detached"}


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """Where a simulator session is to be hurt, once: ``victim`` (self or postgres) gets SIGKILL when ``actor`` passes
    ``boundary`` with a position at or after ``at_ms``. ``marker`` is the file that says it happened."""

    actor: str
    boundary: str
    at_ms: int
    victim: str
    marker: str


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the actor graph.

    ``origin`` is ``venue`` or ``simulator``; ``time_rate`` how fast venue time runs against host time (0: lockstep).
    ``start_ms`` is the venue's time when the graph was built: instances that are new decide on candles closing after
    it. ``secrets_path`` and ``token_path`` name 0600 files.
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
    crash_points: tuple[CrashPoint, ...] = field(default=())

    @property
    def lockstep(self) -> bool:
        return self.time_rate == 0


def actor_name(role: str, subject: str = "") -> str:
    """The name of an actor within its namespace: ``feed:binance:BTCUSDT``, ``execution:paper``, ``notifier``."""
    return f"{role}:{subject}" if subject else role
