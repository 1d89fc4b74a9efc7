"""A piece of a sweep as it travels to whoever does it, and the doing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backtest.honesty.trials import Job, Outcome, run_job
from backtest.provenance import code_fingerprint
from backtest.requests import BacktestRequest
from backtest.sources import Source
from backtest.sweep.evaluator import ComboScore, Evaluator, Number, evaluator_for
from backtest.sweep.objective import with_own
from trading.errors import ConfigError

__all__ = ["Batch", "Work", "check_code", "do_batch", "do_job", "work_of"]

_MOST_WINDOWS = 8
"""Windows whose evaluators a process keeps: each holds its candles, and batches of one window come in a row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sets of parameters to be scored one after another, from ``start_ms`` to ``end_ms``; None: as far as there is."""

    start_ms: int | None
    end_ms: int | None
    combos: tuple[dict[str, Number], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What all batches of a sweep share. ``code`` is the fingerprint of the code that they have to be done with,
    ``objective`` the text of the user's own function, if there is one. With ``keeps_returns`` daily returns are part of
    the scores.

    The candles of ``source`` are a series, whose columns processes of one machine share without a copy.
    """

    key: str
    code: str
    request: BacktestRequest
    source: Source
    objective: str = ""
    keeps_returns: bool = False


def work_of(key: str, request: BacktestRequest, source: Source, objective: str = "", *, keeps_returns: bool) -> Work:
    """The work of this process's code; ``key`` is that of nothing else."""
    sent = replace(source, candles=source.series)
    return Work(key, code_fingerprint(), request, sent, objective, keeps_returns)


def check_code(expected: str, own: str) -> None:
    """ConfigError unless this process runs the code that the sweep was started with."""
    if own != expected:
        raise ConfigError(
            f"A worker of this sweep runs other code ({own}) than the sweep was started with ({expected}): its scores"
            " could differ.",
            field="code",
            value=own,
            fix="Install the same version of Manta on every machine, restart Manta there, and resume the sweep.",
        )


class Evaluators:
    """The evaluators of one sweep by their range, made when first wanted and kept: a process does many batches."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._made: dict[tuple[int | None, int | None], Evaluator] = {}

    def of(self, work: Work, start_ms: int | None, end_ms: int | None) -> Evaluator:
        if self._key != work.key:
            self._key, self._made = work.key, {}
        window = start_ms, end_ms
        if window not in self._made:
            while len(self._made) >= _MOST_WINDOWS:
                del self._made[next(iter(self._made))]
            bounds = {"start_ms": start_ms, "end_ms": end_ms}
            given = {name: value for name, value in bounds.items() if value is not None}
            self._made[window] = evaluator_for(work.request.model_copy(update=given), work.source)
        return self._made[window]


_evaluators = Evaluators()


def do_batch(work: Work, batch: Batch) -> list[ComboScore]:
    """Score ``batch``; ConfigError when this process runs other code than the sweep."""
    check_code(work.code, code_fingerprint())
    scores = _evaluators.of(work, batch.start_ms, batch.end_ms).evaluate(batch.combos)
    if work.objective:
        scores = [with_own(work.objective, score) for score in scores]
    # Two years of them are some kilobytes a set, most of what would travel.
    return scores if work.keeps_returns else [replace(score, returns=None) for score in scores]


def do_job(work: Work, job: Job) -> Outcome:
    """One run in the reference engine; ConfigError as ``do_batch``."""
    check_code(work.code, code_fingerprint())
    return run_job(work.source, job)
