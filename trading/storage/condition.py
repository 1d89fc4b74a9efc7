"""Reading the facts of one moment, from which ``trading.condition`` says how the whole stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trading.clock import VenueClock
from trading.condition import (
    ActorState,
    ChannelState,
    Condition,
    CursorState,
    HeldPosition,
    InstanceState,
    MarketState,
    OpenOrder,
    ParityState,
)
from trading.markets import split_market
from trading.storage.clocks import read_clock
from trading.storage.database import Connection

__all__ = ["read_condition", "read_now"]

_MARKETS = """
select w.key, ms(l.close_time) as last_close_ms, coalesce(f.kind, '') as kind, coalesce(f.why, '') as why, (
        -- What nobody can explain, of the day that ends with the last candle: older holes are history.
        select count(*) from data_quality q
        where q.market_id = m.id and q.kind = 'hole' and not q.resolved and q.reason <> 'absent'
            and not q.detail ? 'why' and q.to_time > l.close_time - interval '24 hours'
    ) as holes, coalesce(s.reason, '') as stale, ms(s.since) as stale_since_ms
from unnest($1::text[]) with ordinality as w(key, place)
left join markets m on m.venue || ':' || m.symbol = w.key
left join freshness s on s.market_id = m.id and s.stale
left join lateral (
    select c.close_time from candles c where c.market_id = m.id and c.interval = '1m' order by c.open_time desc limit 1
) l on true
left join lateral (
    select e.kind, e.payload ->> 'reason' as why from events e
    where e.stream = w.key and e.kind in ('feed_up', 'feed_down') order by e.seq desc limit 1
) f on true
order by w.place
"""
_CURSORS = """
select c.name, c.position, extract(epoch from clock_timestamp() - c.updated_at)::float8 as moved_s
from cursors c
where c.position > 0 and split_part(c.name, ':', 1) in ('recorder', 'timeframe', 'brain') or exists (
    select from instances i where i.active and starts_with(c.name, 'execution:' || i.book || ':')
)
order by c.name
"""
_INSTANCES = """
select i.name, i.book, w.market, w.interval, coalesce(s.status, 'none') as status,
    coalesce(s.warm_have, 0) as have, coalesce(s.warm_need, 0) as need
from instances i
cross join lateral (
    select market, interval from unnest(i.markets) as market cross join unnest(i.intervals) as interval
) w
left join markets m on m.venue || ':' || m.symbol = w.market
left join lateral (
    select * from signals s where s.instance_id = i.instance_id and s.market_id = m.id and s.interval = w.interval
    order by s.open_time desc limit 1
) s on true
where i.active and w.market = any($1)
order by i.name, w.market, w.interval
"""
_ORDERS = """
select o.order_id, o.book, m.venue || ':' || m.symbol as market, o.action, o.status, o.reason,
    ms(o.created_time) as since_ms
from orders o join markets m on m.id = o.market_id
where o.status not in ('filled', 'rejected', 'canceled') order by o.created_time limit 100
"""
_CHANNELS = """
select channel, count(*) filter (where state <> 'dead') as waiting, count(*) filter (where state = 'dead') as dead,
    greatest(0, coalesce(max(extract(epoch from clock_timestamp() - created_at))
        filter (where state <> 'dead'), 0))::float8 as oldest_s,
    coalesce((array_agg(last_error order by id desc) filter (where last_error <> '' and state <> 'dead'))[1], '')
        as last_error
from outbox where state <> 'sent' group by channel order by channel
"""
_ACTORS = """
select actor, state, pid, restarts, detail,
    extract(epoch from clock_timestamp() - since)::float8 as since_s,
    extract(epoch from clock_timestamp() - checked_at)::float8 as checked_s
from actor_health order by place
"""
_PARITY = """
select distinct on (book) book, day::text as day, status, explained, unexplained, error
from parity_runs order by book, day desc
"""
_HELD = """
select coalesce(i.name, p.instance_id) as name, p.book, m.venue || ':' || m.symbol as market, p.interval,
    trim_scale(p.quantity)::text as quantity, coalesce(b.config ->> 'on_removed', 'close') = 'close' as closing
from positions p join markets m on m.id = p.market_id join books b on b.book = p.book
left join instances i on i.instance_id = p.instance_id
where p.quantity <> 0 and b.mode <> 'backtest' and not coalesce(
    i.active and i.book = p.book and p.interval = any(i.intervals)
    and m.venue || ':' || m.symbol = any(i.markets), false
)
order by p.book, name, market, p.interval
"""
_BOOKS = """
select book, mode, currency, trim_scale(capital)::text as capital from books where mode <> 'backtest' order by book
"""
_FEEDS = {"feed_up": "up", "feed_down": "down"}


async def read_condition(connection: Connection, markets: Sequence[str]) -> Condition:
    """The facts of now. Ages of database rows are told by the clock that stamped them."""
    found = [
        MarketState(
            row["key"],
            row["last_close_ms"],
            _FEEDS.get(row["kind"], "unknown"),
            row["why"],
            row["holes"],
            row["stale"],
            row["stale_since_ms"],
        )
        for row in await connection.fetch(_MARKETS, list(markets))
    ]
    simulated, now_ms = await read_now(connection, markets[0], [market.last_close_ms for market in found])
    has_parity = await connection.fetchval("select to_regclass('parity_runs') is not null")
    return Condition(
        now_ms=now_ms,
        simulated=simulated,
        markets=found,
        cursors=[CursorState(*row) for row in await connection.fetch(_CURSORS)],
        instances=[InstanceState(*row) for row in await connection.fetch(_INSTANCES, list(markets))],
        orders=[OpenOrder(*row) for row in await connection.fetch(_ORDERS)],
        channels=[ChannelState(*row) for row in await connection.fetch(_CHANNELS)],
        actors=[ActorState(*row) for row in await connection.fetch(_ACTORS)],
        parity=[ParityState(*row) for row in await connection.fetch(_PARITY)] if has_parity else (),
        held=[HeldPosition(*row) for row in await connection.fetch(_HELD)],
        books=[dict(row) for row in await connection.fetch(_BOOKS)],
    )


async def read_now(connection: Connection, market: str, last_closes: Sequence[int | None]) -> tuple[bool, int]:
    """(simulated, the venue's present time in ms). A replay's time is that of its newest event or candle."""
    origin = await connection.fetchval("select value from database_info where key = 'origin'")
    if origin != "simulator":
        clock = VenueClock()
        clock.observe(await read_clock(connection, split_market(market)[0]))
        # Before the venue has told its time there is only the host's.
        return False, clock.now_ms(clock.clock.time_ns() // 1_000_000)
    # Alerts tell of the host, in its time.
    newest: Any = await connection.fetchval(
        "select ms(max(event_time)) from (select event_time, kind from events order by seq desc limit 200) recent"
        " where kind <> 'alert'"
    )
    return True, max(moment for moment in (newest, *last_closes, 0) if moment is not None)
