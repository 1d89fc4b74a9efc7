"""Gaps that only a file knows, such as the first gap monitor's own, taken into table price_gaps with their ids."""

from __future__ import annotations

from collections.abc import Iterable

from trading.candles import from_units
from trading.gaps.gaps_file import GapRow, number_of
from trading.intervals import parse_interval
from trading.storage.database import Connection
from trading.storage.markets import market_keys
from trading.storage.price_gaps import keep_ids_above

__all__ = ["adopt_rows"]


async def adopt_rows(connection: Connection, rows: Iterable[GapRow]) -> int:
    """Insert the gaps of ``rows`` that the table lacks, those of known markets only; returns how many.

    They keep their ids where these are free; others get the next ones. No number that a file holds is given out later.
    """
    told = list(rows)
    if not told:
        return 0
    await connection.fetchval("select last from price_gap_ids for update")
    await keep_ids_above(connection, max(number_of(row.id) for row in told))
    numbers = {key: number for number, key in (await market_keys(connection)).items()}
    stored = await connection.fetch("select market_id, interval, mode, ms(start_time), gap_type from price_gaps")
    known = {tuple(row) for row in stored}
    adopted = 0
    for row in told:
        number = numbers.get(row.market)
        if number is None or (number, row.interval, row.mode, *row.key[4]) in known:
            continue
        taken = await connection.fetchval("select exists (select from price_gaps where id = $1)", row.id)
        identity = row.id if not taken and len(row.id) > 5 else None
        status = await connection.execute(
            """
            with fresh as (
                select 1 where not exists (
                    select from price_gaps where market_id = $2 and interval = $3 and mode = $4
                        and start_time = at_ms($5) and gap_type = $6)
            ), next as (
                update price_gap_ids set last = last + 1 from fresh where $1::text is null returning last
            )
            insert into price_gaps (id, market_id, interval, mode, source_interval, start_time, gap_type, gap_low,
                gap_high, status, found_time, closed_time, close_price, detail)
            select coalesce($1, (select 'G' || lpad(last::text, greatest(5, length(last::text)), '0') from next)),
                $2, $3, $4, $3, at_ms($5), $6, $7, $8, case when $9::bigint is null then 'open' else 'filled' end,
                at_ms($10), at_ms($9), $11, '{"from": "file"}'
            from fresh
            """,
            identity,
            number,
            row.interval,
            row.mode,
            row.start_ms,
            row.type,
            from_units(row.low),
            from_units(row.high),
            *_ends(row),
        )
        adopted += int(status.rsplit(" ", 1)[1])
    return adopted


def _ends(row: GapRow) -> tuple[object, object, object]:
    """Closed (ms), found (ms) and close price of a row, as the table wants them."""
    found = row.found_ms if row.found_ms is not None else parse_interval(row.interval).close_of(row.start_ms)
    if not row.closed:
        return None, found, None
    edge = row.low if row.type == "up" else row.high
    price = row.close_price if row.close_price is not None else edge
    return row.closed_ms if row.closed_ms is not None else found, found, from_units(price)
