"""Sweeps, and their scores in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from trading.storage.database import Connection
from trading.storage.searches import Searches

__all__ = ["JOBS", "Filter", "read_page"]

JOBS = Searches("sweeps", "sweep_results", "sweep", stages=True)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which results count, and their order: ``bounds`` are metric, sign and number; ``metric`` may also be trades."""

    metric: str
    descending: bool
    min_trades: int = 0
    bounds: tuple[tuple[str, str, float], ...] = ()


async def read_page(
    connection: Connection, run_id: UUID, stage: int, wanted: Filter, *, limit: int | None, offset: int = 0
) -> list[Any]:
    """The results of ``stage`` that count, the best first and those without the metric last."""
    given: list[Any] = [run_id, stage, wanted.min_trades]

    def value(metric: str) -> str:
        if metric == "trades":
            return "trades"
        given.append(metric)
        return f"(metrics ->> ${len(given)})::float8"

    where = "run_id = $1 and stage = $2 and trades >= $3"
    for metric, sign, bound in wanted.bounds:
        if sign not in ("<=", ">=", "<", ">"):
            raise ValueError(f"{sign} is no comparison")
        left = value(metric)
        given.append(bound)
        where += f" and {left} {sign} ${len(given)}"
    order = f"{value(wanted.metric)} {'desc' if wanted.descending else 'asc'} nulls last, number"
    given += [limit, offset]
    text = (
        f"select stage, number, params, metrics, trades from sweep_results where {where}"  # noqa: S608 - values are arguments
        f" order by {order} limit ${len(given) - 1} offset ${len(given)}"
    )
    return await connection.fetch(text, *given)
