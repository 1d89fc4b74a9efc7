"""What the migrations ask of TimescaleDB, without one: run against stand-ins with the signatures of 2.11."""

import re

import asyncpg
import pytest

from trading.storage.migrate import known_migrations
from trading.storage.timescale import HYPERTABLES, script, statements

SCRIPTS = {migration.number: migration.sql for migration in known_migrations()}
# As documented for 2.11; what is left out there has a default.
STAND_INS = """
create table called (what text, relation regclass, detail text);
create function create_hypertable(relation regclass, time_column_name name, partitioning_column name default null,
    number_partitions int default null, associated_schema_name name default null,
    associated_table_prefix name default null, chunk_time_interval anyelement default null::bigint,
    create_default_indexes boolean default true, if_not_exists boolean default false,
    partitioning_func regproc default null, migrate_data boolean default false) returns void language sql as
    $$ insert into called values ('hypertable', relation, time_column_name || ' ' || chunk_time_interval::text) $$;
create function add_compression_policy(hypertable regclass, compress_after anyelement,
    if_not_exists boolean default false) returns int language sql as
    $$ insert into called values ('policy', hypertable, compress_after::text); select 1 $$;
"""
OPTIONS = re.compile(r"alter table (\w+) set \((.*?)\);", re.DOTALL)


def plain(sql: str) -> str:
    return re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")")


def test_migrations_hold_the_statements_that_are_made() -> None:
    for each in HYPERTABLES:
        for statement in statements(each):
            assert plain(statement.replace("select ", "perform ", 1)) in plain(SCRIPTS[each.since])
    later = [each for each in HYPERTABLES if each.since > 2]
    assert script(later) in SCRIPTS[later[0].since]


@pytest.mark.covers("S1-30", "S2-4")
async def test_hypertables_have_seven_day_chunks_compressed_after_seven_days(connection: asyncpg.Connection) -> None:
    await connection.execute(STAND_INS)
    block = script(HYPERTABLES)
    body = block[block.index("    perform create_hypertable") : block.index("end\n$$")]
    await connection.execute(f"do $$ begin {OPTIONS.sub('', body)} end $$")
    called = await connection.fetch("select what, relation::text, detail from called order by 1, 2")
    assert [tuple(row) for row in called] == [
        ("hypertable", "candles", "open_time 7 days"),
        ("hypertable", "equity", "time 7 days"),
        ("hypertable", "features", "open_time 7 days"),
        ("hypertable", "signals", "open_time 7 days"),
        ("policy", "candles", "7 days"),
        ("policy", "equity", "7 days"),
        ("policy", "features", "7 days"),
        ("policy", "signals", "7 days"),
    ]


async def test_compression_options_name_real_columns(connection: asyncpg.Connection) -> None:
    """TimescaleDB reads segmentby as a GROUP BY list and orderby as an ORDER BY list."""
    found = OPTIONS.findall(script(HYPERTABLES))
    assert [table for table, _ in found] == [each.table for each in HYPERTABLES]
    for table, text in found:
        options = dict(re.findall(r"timescaledb\.(\w+) = '([^']*)'", text))
        assert "timescaledb.compress," in text
        await connection.execute(
            f"select {options['compress_segmentby']} from {table} group by {options['compress_segmentby']}"
        )
        await connection.execute(f"select from {table} order by {options['compress_orderby']}")


async def test_every_unique_key_of_a_hypertable_holds_its_time_column(connection: asyncpg.Connection) -> None:
    times = {each.table: each.time for each in HYPERTABLES}
    keys = await connection.fetch(
        """
        select c.relname, array_agg(a.attname::text) as columns from pg_index i
        join pg_class c on c.oid = i.indrelid
        join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
        where i.indisunique and c.relname = any($1) group by c.relname, i.indexrelid
        """,
        list(times),
    )
    assert len(keys) >= len(times)
    for row in keys:
        assert times[row["relname"]] in row["columns"]


async def test_nothing_refers_to_a_hypertable(connection: asyncpg.Connection) -> None:
    """TimescaleDB refuses foreign keys to one."""
    tables = [each.table for each in HYPERTABLES]
    assert not await connection.fetch(
        "select conname from pg_constraint where contype = 'f' and confrelid::regclass::text = any($1)", tables
    )
