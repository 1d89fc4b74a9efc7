"""Prices that disagree, as rows of data_quality: one row from when it began, resolved when it is over."""

from __future__ import annotations

from trading.cross_check import Finding
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["open_findings", "store_finding"]


async def open_findings(connection: Connection) -> set[tuple[str, str, str]]:
    """Market, what it was compared with, and reason, of everything that is not over."""
    rows = await connection.fetch(
        """
        select m.venue || ':' || m.symbol, q.detail->>'against', q.reason
        from data_quality q join markets m on m.id = q.market_id
        where q.kind = 'anomaly' and not q.resolved and q.reason in ('deviation', 'unchecked')
        """
    )
    return {(row[0], row[1], row[2]) for row in rows}


async def store_finding(connection: Connection, finding: Finding) -> None:
    """Store that ``finding`` began, or that it is over; call it in the transaction of its alert."""
    number = await market_id(connection, finding.market)
    if finding.over:
        await connection.execute(
            """
            update data_quality set resolved = true, resolution = 'back', resolved_at = clock_timestamp(),
                to_time = greatest(to_time, at_ms($4))
            where market_id = $1 and kind = 'anomaly' and not resolved and reason = $2 and detail->>'against' = $3
            """,
            number,
            finding.reason,
            finding.against,
            finding.to_ms,
        )
        return
    await connection.execute(
        """
        insert into data_quality (market_id, kind, reason, from_time, to_time, detail)
        values ($1, 'anomaly', $2, at_ms($3), at_ms($4), $5)
        """,
        number,
        finding.reason,
        finding.from_ms,
        finding.to_ms,
        {"against": finding.against, "text": f"{finding.title}. {finding.message}".strip()},
    )
