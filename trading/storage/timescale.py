"""What TimescaleDB is asked for: seven-day chunks, compressed when older than seven days, kept for ever.

The statements of the migrations are made here, and a test holds the two together. All of them exist in 2.11. Rows of
compressed chunks stay writable, so late repairs need no second code path. There is no retention policy: nothing is ever
dropped. Continuous aggregates are not used, for 2.11 knows none with an anchor of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["CHUNK", "HYPERTABLES", "Hypertable", "script", "statements"]

CHUNK = "7 days"


class Hypertable(NamedTuple):
    """A table, its time column, the columns by which compressed rows stay together, and since which migration."""

    table: str
    time: str
    segment_by: str
    since: int


HYPERTABLES = (
    Hypertable("candles", "open_time", "market_id, interval", 2),
    Hypertable("features", "open_time", "market_id, interval, name", 2),
    Hypertable("equity", "time", "book, market_id", 2),
    Hypertable("signals", "open_time", "instance_id, market_id, interval", 12),
)


def statements(each: Hypertable) -> tuple[str, str, str]:
    """The hypertable, its compression, and the policy that compresses it."""
    return (
        f"select create_hypertable('{each.table}', '{each.time}', chunk_time_interval => interval '{CHUNK}', "
        "if_not_exists => true, migrate_data => true)",
        f"alter table {each.table} set (timescaledb.compress, "
        f"timescaledb.compress_segmentby = '{each.segment_by}', timescaledb.compress_orderby = '{each.time} desc')",
        f"select add_compression_policy('{each.table}', interval '{CHUNK}', if_not_exists => true)",
    )


def script(tables: Iterable[Hypertable]) -> str:
    """The block of a migration: nothing happens where the extension is not in use."""
    lines = [
        "do $$",
        "begin",
        "    if not exists (select from pg_extension where extname = 'timescaledb') then",
        "        return;",
        "    end if;",
    ]
    for each in tables:
        lines += [f"    {_inside(statement)};" for statement in statements(each)]
    return "\n".join([*lines, "end", "$$;"]) + "\n"


def _inside(statement: str) -> str:
    """``statement`` as plpgsql has it, where a result must be taken or thrown away."""
    return statement.replace("select ", "perform ", 1) if statement.startswith("select ") else statement
