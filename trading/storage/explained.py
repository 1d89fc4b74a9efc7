"""All that is stored about a decision, read together: who was asked, the candle, and the orders and fills it led to."""

from __future__ import annotations

import json
from typing import Any

from trading.storage.database import Connection

__all__ = ["known_books", "newest_close", "read_decision", "read_decisions_at"]

_FILLS = """(select coalesce(json_agg(json_build_object('fill_id', f.fill_id, 'role', f.role, 'side', f.side,
    'trade_no', f.trade_no, 'price', trim_scale(f.price)::text, 'quantity', trim_scale(f.quantity)::text,
    'fee', trim_scale(f.fee)::text, 'fee_asset', f.fee_asset, 'slippage', trim_scale(f.slippage)::text,
    'realized_pnl', trim_scale(f.realized_pnl)::text, 'reason', f.reason, 'time', ms(f.time))
    order by f.time, f.fill_id), '[]') from fills f where f.order_id = o.order_id)"""
_ORDERS = f"""(select coalesce(json_agg(json_build_object('order_id', o.order_id, 'decision_id', o.decision_id,
    'leg', o.leg, 'book', o.book, 'mode', b.mode, 'instance_id', o.instance_id, 'market', m.venue || ':' || m.symbol,
    'interval', o.interval, 'action', o.action, 'side', o.side, 'type', o.type,
    'quantity', trim_scale(o.quantity)::text, 'quote_amount', trim_scale(o.quote_amount)::text, 'status', o.status,
    'reason', o.reason, 'created_time', ms(o.created_time), 'updated_time', ms(o.updated_time),
    'price', trim_scale(o.price)::text, 'expires_time', ms(o.expires_time), 'fills', {_FILLS})
    order by o.leg, o.order_id), '[]') from orders o where o.decision_id = d.decision_id)"""  # noqa: S608 - all of it stands here
# A backtest's instance is not among the instances: what it was is in the run's request.
_ASKED = """coalesce(
    (select json_build_object('instance', i.name, 'strategy', i.strategy, 'params', i.params, 'source', '')
        from instances i where i.instance_id = d.instance_id),
    (select json_build_object('instance', x ->> 'name', 'strategy', x ->> 'strategy', 'params', x -> 'params',
        'source', coalesce(x ->> 'source', ''))
        from backtest_runs r, jsonb_array_elements(r.report -> 'instances') x
        where r.book = d.book and r.config -> 'strategies' is not null and x ->> 'instance_id' = d.instance_id limit 1),
    (select json_build_object('instance', null, 'strategy', r.strategy, 'params', r.config -> 'params',
        'source', coalesce(r.config ->> 'source', '')) from backtest_runs r where r.book = d.book limit 1))"""
_CANDLE = """(select json_build_object('open', c.open, 'high', c.high, 'low', c.low, 'close', c.close,
    'volume', c.volume, 'complete', c.complete, 'revision', c.revision) from candles c
    where c.market_id = d.market_id and c.interval = d.interval and c.open_time = d.open_time)"""
_QUERY = f"""select json_build_object('decision_id', d.decision_id, 'book', d.book, 'mode', b.mode,
    'instance_id', d.instance_id, 'market', m.venue || ':' || m.symbol, 'interval', d.interval,
    'open_time', ms(d.open_time), 'close_time', ms(d.close_time), 'actions', d.actions, 'target', d.target,
    'confidence', d.confidence, 'outcome', d.outcome, 'reason', d.reason, 'price', trim_scale(d.price)::text,
    'position_before', trim_scale(d.position_before)::text, 'features', d.features,
    'candle_revision', d.candle_revision, 'decided_at', ms(d.decided_at), 'plan', d.plan, 'asked', {_ASKED},
    'candle', {_CANDLE}, 'orders', {_ORDERS})::text
from decisions d join books b using (book) join markets m on m.id = d.market_id"""  # noqa: S608 - all of it stands here
# Of one book, or of all that are no backtest.
_WHICH = """(case when $1::text is null then b.mode <> 'backtest' else d.book = $1 end)
    and ($2::text is null or m.venue || ':' || m.symbol = $2) and ($3::text is null or d.interval = $3)"""
_FROM = "from decisions d join books b using (book) join markets m on m.id = d.market_id"


async def read_decision(connection: Connection, decision_id: str) -> dict[str, Any] | None:
    """The decision with this id, None when there is none. Money is decimal text, times are epoch ms."""
    text = await connection.fetchval(f"{_QUERY} where d.decision_id = $1", decision_id)
    return None if text is None else dict(json.loads(text))


async def read_decisions_at(
    connection: Connection, close_ms: int, *, book: str | None, market: str | None, interval: str | None
) -> list[dict[str, Any]]:
    """The decisions made at the close at ``close_ms``, in the order of book, market, interval and instance."""
    rows = await connection.fetch(
        f"{_QUERY} where {_WHICH} and d.close_time = at_ms($4::bigint)"
        " order by d.book, m.venue, m.symbol, d.interval, d.instance_id",
        book,
        market,
        interval,
        close_ms,
    )
    return [json.loads(row[0]) for row in rows]


async def newest_close(
    connection: Connection, at_ms: int, *, book: str | None, market: str | None, interval: str | None
) -> tuple[int | None, int | None]:
    """The newest close of a decision at or before ``at_ms``, and the first one of all; None where there is none."""
    row = await connection.fetchrow(
        f"select ms(max(d.close_time) filter (where d.close_time <= at_ms($4::bigint))), ms(min(d.close_time))"
        f" {_FROM} where {_WHICH}",
        book,
        market,
        interval,
        at_ms,
    )
    return (row[0], row[1]) if row is not None else (None, None)


async def known_books(connection: Connection) -> list[str]:
    """The books that are no backtest."""
    rows = await connection.fetch("select book from books where mode <> 'backtest' order by book")
    return [row[0] for row in rows]
