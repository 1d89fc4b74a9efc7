"""The trades of a report as csv."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

__all__ = ["COLUMNS", "trades_csv"]

COLUMNS = (
    "market", "interval", "trade_no", "direction", "tag", "entry_time", "entry_price", "exit_time", "exit_price",
    "quantity", "pnl", "return", "fees", "exit_reason", "adverse", "favourable", "instance",
)  # fmt: skip


def trades_csv(document: dict[str, Any]) -> str:
    """One line a trade under a header; times in ISO 8601, money exact, what is unknown empty.

    Trades of runs from before instances had names have none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for trade in document["trades"]:
        row = {
            **trade,
            "entry_time": _time(trade["entry_ms"]),
            "exit_time": _time(trade["exit_ms"]),
            "return": trade["return_"],
            "instance": trade.get("instance"),
        }
        writer.writerow("" if row[name] is None else _safe(str(row[name])) for name in COLUMNS)
    return text.getvalue()


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


def _safe(text: str) -> str:
    """A spreadsheet must not take a strategy's tag for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "@")) else text
