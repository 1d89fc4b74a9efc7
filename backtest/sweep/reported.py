"""What is read of a stored sweep: its scores in order, and all that its report shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from backtest.report.sweep_page import MOST_ROWS, sweep_page
from backtest.sweep.objective import Constraint, more_is_better
from trading.storage import sweeps
from trading.storage.database import Connection

__all__ = ["Reported", "filter_of", "read_report"]


class Reported(NamedTuple):
    """A finished sweep; ``rows`` are the scores that count, the best first."""

    config: dict[str, Any]
    results: dict[str, Any]
    provenance: dict[str, Any] | None
    rows: list[dict[str, Any]]

    def page(self, run_id: str) -> str:
        """Its report, which stands alone."""
        return sweep_page(self.config, self.results, self.rows, self.provenance, run_id)


def filter_of(config: Mapping[str, Any], metric: str) -> sweeps.Filter:
    """The scores that count for a stored request, the best by ``metric`` first."""
    bounds = [Constraint.parse(text) for text in config["constraints"]]
    return sweeps.Filter(
        metric,
        more_is_better(metric),
        config["min_trades"],
        tuple((item.metric, item.sign, item.bound) for item in bounds),
    )


async def read_report(connection: Connection, run_id: UUID) -> Reported | None:
    """None when there is no such sweep, or it has not found anything yet."""
    row = await connection.fetchrow(
        "select config, results, provenance, final_stage from sweeps where run_id = $1", run_id
    )
    if row is None or row["results"] is None:
        return None
    config, results, provenance = (_plain(row[name]) for name in ("config", "results", "provenance"))
    wanted = filter_of(config, results["objective"])
    found = await sweeps.read_page(connection, run_id, row["final_stage"], wanted, limit=MOST_ROWS)
    names = ("number", "params", "metrics", "trades")
    return Reported(config, results, provenance, [{name: _plain(item[name]) for name in names} for item in found])


def _plain(value: Any) -> Any:
    """A connection of the API gives JSON as its text."""
    return json.loads(value) if isinstance(value, str) else value
