"""Whether a TimescaleDB does all that Manta asks of it: every migration, then weeks of data through its compression.

Works in a database of its own beside the one that is named, and drops it at the end, whatever happened.
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import asyncpg

from trading.candle_columns import columns_of
from trading.candles import Candle
from trading.errors import ConfigError
from trading.fold import fold
from trading.intervals import DAY_MS, MINUTE, MINUTE_MS
from trading.markets import Market
from trading.storage.bulk import store_columns
from trading.storage.candles import read_candles, upsert_candles
from trading.storage.database import Connection, connect
from trading.storage.fold import bucket_sql, fold_minutes
from trading.storage.holes import scan_holes
from trading.storage.inspection import Suspect, drop_candles
from trading.storage.markets import upsert_market
from trading.storage.migrate import Migration, migrate
from trading.storage.records import StoredFeature, insert_features, read_features
from trading.storage.revisions import read_revisions, revise
from trading.storage.series import read_series
from trading.storage.settings import DatabaseTarget
from trading.storage.timescale import CHUNK, HYPERTABLES

__all__ = ["Check", "Found", "check_timescale"]

_OLDEST = (2, 11)
_DAYS = 35
_UNIT = 10**8
_MARKET = Market("check", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))
_COMPRESSED = """
select count(*) filter (where is_compressed) as packed, count(*) as chunks from timescaledb_information.chunks
where hypertable_name = $1 and range_end < now() - interval '7 days'
"""
_SIZES = """
select before_compression_total_bytes, after_compression_total_bytes from hypertable_compression_stats('candles')
"""


class Check(NamedTuple):
    """One thing that was tried; ``detail`` says what came of it."""

    name: str
    ok: bool
    detail: str


class Found(NamedTuple):
    """What was tried on which server; bytes a row are of candles with their indexes, None where none was compressed."""

    postgres: str
    timescaledb: str
    migrations: int
    checks: tuple[Check, ...]
    plain_bytes_a_row: float | None
    compressed_bytes_a_row: float | None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


async def check_timescale(target: DatabaseTarget, *, migrations: tuple[Migration, ...] | None = None) -> Found:
    """Try everything on the server of ``target``, whose databases stay as they are.

    Raises ConfigError when the server has no TimescaleDB that Manta can use, or the user may not make a database.
    """
    scratch = f"manta_check_{secrets.token_hex(4)}"
    main = await connect(target, application_name="manta check")
    try:
        await _require_extension(main, target)
        await _create(main, target, scratch)
        try:
            return await _try(target.with_database(scratch), migrations)
        finally:
            await main.execute(f"drop database if exists {scratch} with (force)")
    finally:
        await main.close(timeout=5)


async def _require_extension(connection: Connection, target: DatabaseTarget) -> None:
    version = await connection.fetchval(
        "select default_version from pg_available_extensions where name = 'timescaledb'"
    )
    if version is None:
        raise ConfigError(
            f"The server of {target} has no TimescaleDB.",
            field="dsn",
            value=str(target),
            fix="Nothing needs it: without it the same tables are plain. To use it, install the extension there, "
            "or run the image timescale/timescaledb.",
        )


async def _create(connection: Connection, target: DatabaseTarget, scratch: str) -> None:
    try:
        await connection.execute(f"create database {scratch} template template0")
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"{target.user} may not make a database to check in.",
            field="dsn",
            value=str(target),
            fix=f'As an administrator: alter user "{target.user}" createdb. Or give the DSN of an administrator.',
        ) from error


async def _try(scratch: DatabaseTarget, migrations: tuple[Migration, ...] | None) -> Found:
    applied = await migrate(scratch, "simulator", migrations=migrations)
    connection = await connect(scratch, application_name="manta check")
    try:
        version = await connection.fetchval("select extversion from pg_extension where extname = 'timescaledb'")
        _require_usable(version, scratch)
        trial = _Trial(connection)
        await trial.run()
        return Found(
            postgres=await connection.fetchval("show server_version"),
            timescaledb=version,
            migrations=len(applied),
            checks=tuple(trial.checks),
            plain_bytes_a_row=trial.plain,
            compressed_bytes_a_row=trial.packed,
        )
    finally:
        await connection.close(timeout=5)


def _require_usable(version: str | None, scratch: DatabaseTarget) -> None:
    if version is None:
        raise ConfigError(
            f"TimescaleDB is installed, but {scratch.user} may not create the extension.",
            field="dsn",
            value=str(scratch),
            fix="Give the DSN of an administrator. In the database that Manta uses, an administrator creates it once: "
            "create extension timescaledb.",
        )
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < _OLDEST:
        raise ConfigError(
            f"TimescaleDB {version} is older than 2.11.", field="dsn", value=version, fix="Update the extension."
        )


class _DiffersError(Exception):
    """Something is not as it must be; the text says what."""


class _Trial:
    """The checks one after the other, on one connection: each builds upon what those before it have stored."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection
        self.checks: list[Check] = []
        self.plain: float | None = None
        self.packed: float | None = None
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        self._end_ms = now_ms // DAY_MS * DAY_MS
        self._start_ms = self._end_ms - _DAYS * DAY_MS
        self._minutes = _walk(self._start_ms, self._end_ms)

    async def run(self) -> None:
        """Try all, also after one has failed: what else works is worth knowing."""
        await upsert_market(self._db, _MARKET)
        steps: Sequence[tuple[str, Callable[[], Awaitable[str]]]] = (
            ("hypertables with chunks of 7 days", self._hypertables),
            ("compression by segment", self._segments),
            ("compressed after 7 days, nothing ever dropped", self._policies),
            ("candles written", self._write),
            ("old chunks compressed by their job", self._compress),
            ("candles read from compressed chunks", self._read),
            ("intervals folded from compressed chunks", self._fold),
            ("time_bucket agrees with date_bin", self._buckets),
            ("holes found in compressed chunks", self._holes),
            ("a repair in a compressed chunk", self._repair),
            ("a late minute in a compressed chunk", self._late),
            ("a row removed from a compressed chunk", self._drop),
            ("features rewritten in compressed chunks", self._features),
            ("compressed again, and the same candles", self._again),
        )
        for name, step in steps:
            try:
                self.checks.append(Check(name, True, await step()))
            except (_DiffersError, asyncpg.PostgresError) as error:
                self.checks.append(Check(name, False, str(error)))

    async def _hypertables(self) -> str:
        rows = await self._db.fetch(
            "select hypertable_name, column_name, time_interval from timescaledb_information.dimensions"
        )
        found = {(row[0], row[1]): row[2].total_seconds() * 1000 for row in rows}
        _same(found, {(each.table, each.time): 7 * DAY_MS for each in HYPERTABLES}, "hypertables")
        return ", ".join(each.table for each in HYPERTABLES)

    async def _segments(self) -> str:
        rows = await self._db.fetch(
            "select hypertable_name, string_agg(attname, ', ' order by segmentby_column_index)"
            " from timescaledb_information.compression_settings where segmentby_column_index is not null group by 1"
        )
        _same(dict(map(tuple, rows)), {each.table: each.segment_by for each in HYPERTABLES}, "segments")
        return f"{len(rows)} tables"

    async def _policies(self) -> str:
        rows = await self._db.fetch(
            "select hypertable_name, proc_name, config ->> 'compress_after' from timescaledb_information.jobs"
            " where hypertable_name is not null"
        )
        wanted = {(each.table, "policy_compression", CHUNK) for each in HYPERTABLES}
        _same({tuple(row) for row in rows}, wanted, "jobs")
        return f"{len(rows)} jobs"

    async def _write(self) -> str:
        whole = [row for row in self._minutes if row.trade_count]
        stored = await store_columns(self._db, columns_of(whole), "import")
        _same(stored.inserted, len(whole), "rows")
        self._minutes = [row._replace(source="import") for row in whole]
        self.plain = await self._bytes_a_row()
        return f"{stored.inserted:,} rows"

    async def _compress(self) -> str:
        await self._run_jobs()
        ((packed, chunks),) = await self._db.fetch(_COMPRESSED, "candles")
        _require(chunks >= 3, f"only {chunks} chunks are older than a week")
        _same(packed, chunks, "compressed chunks")
        before, after = await self._db.fetchrow(_SIZES) or (0, 0)
        _require(before > 0 and after > 0, "no size is told of what was compressed")
        self.packed = (self.plain or 0.0) * after / before
        return f"{packed} chunks, {before / after:.1f} times smaller"

    async def _read(self) -> str:
        _same(await read_candles(self._db, _MARKET.key, "1m"), self._minutes, "candles")
        return f"{len(self._minutes):,} rows, to the last bit"

    async def _fold(self) -> str:
        counts = []
        for interval in ("37m", "1h", "1d", "1w"):
            told = await fold_minutes(self._db, _MARKET.key, interval, self._start_ms, self._end_ms)
            wanted = fold(self._minutes, interval, start_ms=self._start_ms, end_ms=self._end_ms)
            _same(told, wanted, interval)
            counts.append(f"{len(told)} of {interval}")
        return ", ".join(counts)

    async def _buckets(self) -> str:
        buckets = f"time_bucket(interval '37 minutes', open_time, at_ms(0)) <> {bucket_sql('37m')}"
        different = await self._db.fetchval(f"select count(*) from candles where {buckets}")  # noqa: S608 - constants
        _same(different, 0, "buckets")
        return "37m from the Unix epoch"

    async def _holes(self) -> str:
        found = await scan_holes(self._db, _MARKET.key, "1m")
        opens = [row.open_time_ms for row in self._minutes]
        wanted = [(a + MINUTE_MS, b) for a, b in itertools.pairwise(opens) if b - a > MINUTE_MS]
        _same([(hole.from_ms, hole.to_ms) for hole in found], wanted, "holes")
        return f"{len(found)} holes"

    async def _repair(self) -> str:
        old = self._minutes[100]
        async with self._db.transaction():
            _require(await revise(self._db, old._replace(high=old.high + 1), "check"), "nothing was changed")
        self._minutes[100] = old._replace(high=old.high + 1, revision=1)
        _same(await read_candles(self._db, _MARKET.key, "1m"), self._minutes, "candles")
        _same(len(await read_revisions(self._db, _MARKET.key)), 1, "logged revisions")
        return "one row changed, its revision logged"

    async def _late(self) -> str:
        at = next(n for n in range(200, 5000) if self._gap_after(n))
        late = self._minutes[at]._replace(open_time_ms=self._minutes[at].close_time_ms)
        late = late._replace(close_time_ms=late.open_time_ms + MINUTE_MS)
        for wanted in (1, 0):
            async with self._db.transaction():
                _same((await upsert_candles(self._db, [late]))[0], wanted, "stored rows")
        self._minutes.insert(at + 1, late)
        _same(await read_candles(self._db, _MARKET.key, "1m"), self._minutes, "candles")
        return "stored once, its repeat passed over"

    def _gap_after(self, number: int) -> bool:
        return self._minutes[number + 1].open_time_ms > self._minutes[number].close_time_ms

    async def _drop(self) -> str:
        row = self._minutes.pop(300)
        bad = Suspect(row.open_time_ms, row.open, row.high, row.low, row.close, row.volume, row.source, "check")
        async with self._db.transaction():
            _same(await drop_candles(self._db, _MARKET.key, MINUTE, [bad]), 1, "dropped rows")
        _same(await read_candles(self._db, _MARKET.key, "1m"), self._minutes, "candles")
        return "one row, noted with its values"

    async def _features(self) -> str:
        values = [
            StoredFeature(_MARKET.key, "1m", "sma", row.open_time_ms, row.close / _UNIT, {"period": 3})
            for row in self._minutes[::37]
        ]
        await insert_features(self._db, values)
        await self._run_jobs()
        newer = [value._replace(value=n / 3) for n, value in enumerate(values)]
        await insert_features(self._db, newer)
        _same(await read_features(self._db), newer, "features")
        return f"{len(newer)} values"

    async def _again(self) -> str:
        await self._run_jobs()
        _same(await read_candles(self._db, _MARKET.key, "1m"), self._minutes, "candles")
        return f"{len(self._minutes):,} rows"

    async def _run_jobs(self) -> None:
        """What the server's own scheduler would do within a day, now."""
        jobs = await self._db.fetch(
            "select job_id from timescaledb_information.jobs where proc_name = 'policy_compression' order by 1"
        )
        for job in jobs:
            await self._db.execute(f"call run_job({job['job_id']:d})")

    async def _bytes_a_row(self) -> float:
        (series,) = await read_series(self._db)
        return series.bytes / series.rows


def _walk(start_ms: int, end_ms: int) -> list[Candle]:
    """Minutes as a market has them, with all eight decimals in use; those without a trade are to be left out."""
    source = random.Random(1)
    price, rows = 64_000 * _UNIT, []
    for open_ms in range(start_ms, end_ms, MINUTE_MS):
        opened, price = price, price + source.randrange(-(10**10), 10**10)
        high, low = max(opened, price) + source.randrange(10**9), min(opened, price) - source.randrange(10**9)
        volume = source.randrange(1, 10**11)
        trades = 0 if source.random() < 0.002 else source.randrange(1, 5000)
        rows.append(
            Candle(
                _MARKET.key, "1m", open_ms, open_ms + MINUTE_MS, opened, high, low, price, volume, volume * 3, trades,
                volume // 2,
            )
        )  # fmt: skip
    return rows


def _same(found: object, wanted: object, what: str) -> None:
    if found == wanted:
        return
    if isinstance(found, list) and isinstance(wanted, list):
        first = next((pair for pair in zip(found, wanted, strict=False) if pair[0] != pair[1]), None)
        raise _DiffersError(f"{len(found)} {what} instead of {len(wanted)}; the first that differ: {first}")
    raise _DiffersError(f"{what}: {found} instead of {wanted}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _DiffersError(otherwise)
