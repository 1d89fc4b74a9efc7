"""Walk-forwards, what each set of parameters scored in the search of each fold and over all days, and their tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from trading.storage.database import Connection
from trading.storage.searches import Searches

__all__ = ["JOBS", "TestRow", "read_tests", "store_tests"]

JOBS = Searches("walkforwards", "walkforward_results", "walk-forward")


@dataclass(frozen=True, slots=True)
class TestRow:
    """The test of one fold, counted from 0: of which parameters, and its ``outcome`` as JSON."""

    fold: int
    params: Mapping[str, int | float]
    outcome: str


async def store_tests(connection: Connection, run_id: UUID, rows: Sequence[TestRow]) -> None:
    """Keep ``rows``, in the transaction of a ``beat``; of a fold whose test is kept, the one that is kept stays."""
    await connection.executemany(
        "insert into walkforward_tests (run_id, fold, params, outcome) values ($1, $2, $3::text::jsonb, $4)"
        " on conflict do nothing",
        [(run_id, row.fold, json.dumps(row.params), row.outcome) for row in rows],
    )


async def read_tests(connection: Connection, run_id: UUID) -> list[TestRow]:
    """Every test that is kept, in order."""
    rows: list[Any] = await connection.fetch(
        "select fold, params, outcome from walkforward_tests where run_id = $1 order by fold", run_id
    )
    return [TestRow(row["fold"], row["params"], row["outcome"]) for row in rows]
