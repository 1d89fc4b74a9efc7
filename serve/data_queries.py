"""What is known of the data itself, as SQL: markets and how fresh and complete they are, holes, anomalies, months.

A minute is *present*, *absent* (the venue has later ones but not this one, or says why it has none) or *missing*
(unknown to us). What has neither candle nor hole counts as missing too, so the three always add up to the expected.
"""

from __future__ import annotations

from collections.abc import Sequence

from serve.paging import Key, Listing
from serve.parameters import Span
from trading.condition import STALE_AFTER_S

__all__ = ["LAST_CLOSE", "PERIODS", "holes", "market_rows", "quality_rows", "revisions"]

_MARKET = "m.venue || ':' || m.symbol"
# A hole that was healed, or cut into smaller ones, tells of the past only (trading.storage.quality).
_IN_FORCE = "(not q.resolved or q.reason = 'absent' and q.resolution = 'absent')"
# Missing minutes for which there is a reason (an outage, a horizon that has passed) are explained as absent ones are.
_EXPLAINED = "(q.reason <> 'missing' or q.detail ? 'why')"

# Every interval of a market, found by leaps along the index rather than by reading all candles.
_SERIES = """
    with recursive known(interval) as (
        (select c.interval from candles c where c.market_id = m.id order by c.interval limit 1)
        union all
        select (select c.interval from candles c where c.market_id = m.id and c.interval > known.interval
            order by c.interval limit 1) from known where known.interval is not null)
    select json_agg(json_build_object('interval', k.interval, 'first_open', ms(f.open_time), 'last_close',
        ms(l.close_time)) order by l.close_time - l.open_time, k.interval) as json
    from known k
    cross join lateral (select open_time from candles c where c.market_id = m.id and c.interval = k.interval
        order by c.open_time limit 1) f
    cross join lateral (select open_time, close_time from candles c where c.market_id = m.id
        and c.interval = k.interval order by c.open_time desc limit 1) l
"""
_DAY = f"""
    select json_build_object('from', ms(w.from_time), 'to', ms(w.to_time), 'expected', w.expected, 'present', p.present,
        'absent', a.absent, 'missing', greatest(0, w.expected - p.present - a.absent),
        'completeness', round((p.present + a.absent)::numeric / nullif(w.expected, 0), 6)::float8,
        'sources', p.sources) as json
    from (select from_time, to_time, (extract(epoch from to_time - from_time) / 60)::int as expected from (
        select to_time, greatest(to_time - interval '24 hours', first_open) as from_time from (
            select case when c.live then greatest(c.now, l.close_time) else l.close_time end as to_time,
                f.open_time as first_open
            from (select open_time from candles where market_id = m.id and interval = '1m' order by open_time limit 1) f
            cross join (select close_time from candles where market_id = m.id and interval = '1m'
                order by open_time desc limit 1) l) b) s) w
    cross join lateral (
        select coalesce(sum(n), 0)::int as present, coalesce(json_object_agg(source, n), '{{}}') as sources from (
            select coalesce('from ' || origin, source) as source, count(*) as n from candles
            where market_id = m.id and interval = '1m' and open_time >= w.from_time and open_time < w.to_time
            group by 1) by_source) p
    cross join lateral (
        select coalesce(sum(extract(epoch from least(q.to_time, w.to_time)
            - greatest(q.from_time, w.from_time)) / 60), 0)::int as absent
        from data_quality q where q.market_id = m.id and q.kind = 'hole' and q.interval = '1m' and {_IN_FORCE}
        and {_EXPLAINED} and q.from_time < w.to_time and q.to_time > w.from_time) a
"""  # noqa: S608 - constants of this module

LAST_CLOSE = """
select ms(close_time) from candles where market_id = $1 and interval = '1m' order by open_time desc limit 1
"""

# $1 market, $2 day or month, $3 and $4 epoch ms or null, $5 up to when minutes are due at least, or null. Periods are
# cut in UTC; those without any minute count too.
PERIODS = f"""
with bounds as (
    select greatest(at_ms($3), (select open_time from candles where market_id = $1 and interval = '1m'
            order by open_time limit 1)) as first_open,
        least(at_ms($4), greatest(at_ms($5), (select close_time from candles where market_id = $1 and interval = '1m'
            order by open_time desc limit 1))) as last_close
), periods as (
    select at as begin, greatest(at at time zone 'UTC', first_open) as from_time,
        least((at + ('1 ' || $2)::interval) at time zone 'UTC', last_close) as to_time
    from bounds cross join generate_series(date_trunc($2, first_open at time zone 'UTC'),
        last_close at time zone 'UTC', ('1 ' || $2)::interval) at
), counted as (
    select date_trunc($2, c.open_time at time zone 'UTC') as begin, count(*) as present
    from candles c, bounds where c.market_id = $1 and c.interval = '1m' and c.open_time >= first_open
    and c.open_time < last_close group by 1
), lost as (
    select p.at as begin,
        sum(extract(epoch from least(q.to_time, (p.at + ('1 ' || $2)::interval) at time zone 'UTC', last_close)
        - greatest(q.from_time, p.at at time zone 'UTC', first_open)) / 60)::int as absent
    from data_quality q cross join bounds cross join lateral generate_series(
        date_trunc($2, greatest(q.from_time, first_open) at time zone 'UTC'),
        least(q.to_time, last_close) at time zone 'UTC' - interval '1 second', ('1 ' || $2)::interval) p(at)
    where q.market_id = $1 and q.kind = 'hole' and q.interval = '1m' and {_IN_FORCE} and {_EXPLAINED}
    and q.from_time < last_close and q.to_time > first_open group by 1
)
select to_char(p.begin, case $2 when 'month' then 'YYYY-MM' else 'YYYY-MM-DD' end) as period, ms(p.from_time) as "from",
    ms(p.to_time) as "to", n.expected, coalesce(c.present, 0)::int as present, coalesce(l.absent, 0) as absent,
    greatest(0, n.expected - coalesce(c.present, 0) - coalesce(l.absent, 0))::int as missing
from periods p cross join lateral (select (extract(epoch from p.to_time - p.from_time) / 60)::int as expected) n
left join counted c using (begin) left join lost l using (begin)
where p.to_time > p.from_time order by p.begin
"""  # noqa: S608


def market_rows(configured: Sequence[str], now_ms: int) -> Listing:
    """Every market by its name; the day of one that is ``configured`` ends now, that of any other with its data."""
    item = f"""json_build_object('market', {_MARKET}, 'venue', m.venue, 'symbol', m.symbol, 'kind', m.kind,
        'base', m.base, 'quote', m.quote, 'price_decimals', m.price_decimals, 'size_decimals', m.size_decimals,
        'tick_size', trim_scale(m.tick_size)::text, 'lot_size', trim_scale(m.lot_size)::text,
        'min_notional', trim_scale(m.min_notional)::text, 'live', c.live,
        'stale', case when c.live then coalesce(f.stale, false) or b.silent end,
        'freshness_reason', case when b.silent and f.stale is not true then 'no closed minute' else f.reason end,
        'freshness_since', ms(case when b.silent and f.stale is not true then b.last_close else f.since end),
        'disagreements', x.json, 'series', coalesce(s.json, '[]'),
        'last_day', d.json)::text"""
    listing = Listing("markets", "", item, [Key("m.venue"), Key("m.symbol")])
    listing.match("{}", list(configured))
    listing.match("{}", now_ms)
    listing.where.clear()
    listing.filters.clear()  # The present moves on between two pages.
    listing.source = f"""from markets m
        cross join lateral (select {_MARKET} = any($1::text[]) as live, at_ms($2) as now) c
        left join freshness f on f.market_id = m.id
        left join lateral (select close_time as last_close,
            c.live and close_time < c.now - interval '{STALE_AFTER_S} seconds' as silent
            from candles where market_id = m.id and interval = '1m' order by open_time desc limit 1) n on true
        cross join lateral (select n.last_close, coalesce(n.silent, false) as silent) b
        cross join lateral (
            select coalesce(json_agg(json_build_object('against', q.detail ->> 'against', 'reason', q.reason,
                'since', ms(q.from_time), 'text', coalesce(q.detail ->> 'text', '')) order by q.id), '[]') as json
            from data_quality q where q.market_id = m.id and q.kind = 'anomaly' and not q.resolved
            and q.reason in ('deviation', 'unchecked')) x
        left join lateral ({_SERIES}) s on true left join lateral ({_DAY}) d on true"""  # noqa: S608
    return listing


def holes(
    market_id: int | None,
    interval: str | None,
    reason: str | None,
    explained: bool | None,
    least_minutes: int | None,
    span: Span,
) -> Listing:
    """Holes in force, newest first; ``explained``: only those whose minutes are absent, or only those missing."""
    item = f"""json_build_object('id', q.id, 'market', {_MARKET}, 'interval', q.interval, 'from', ms(q.from_time),
        'to', ms(q.to_time), 'minutes', (extract(epoch from q.to_time - q.from_time) / 60)::int, 'reason',
        coalesce(q.detail ->> 'why', q.reason), 'explained', {_EXPLAINED}, 'detail', coalesce(q.detail ->> 'text', ''),
        'found_at', ms(q.found_at))::text"""
    source = "from data_quality q join markets m on m.id = q.market_id"
    listing = Listing("holes", source, item, [Key("q.from_time", is_time=True), Key("q.id")])
    listing.where += ["q.kind = 'hole'", _IN_FORCE]
    listing.match("q.market_id = {}", market_id)
    listing.match("q.interval = {}", interval)
    listing.match("coalesce(q.detail ->> 'why', q.reason) = {}", reason)
    listing.match(f"{{}} = {_EXPLAINED}", explained)
    listing.match("q.to_time - q.from_time >= {}::int * interval '1 minute'", least_minutes)
    _overlapping(listing, span)
    return listing


def quality_rows(
    market_id: int | None,
    kind: str | None,
    not_kind: str | None,
    reason: str | None,
    resolved: bool | None,
    span: Span,
) -> Listing:
    """Everything that was ever noted of the data, newest first, healed holes too."""
    item = f"""json_build_object('id', q.id, 'market', {_MARKET}, 'interval', q.interval, 'kind', q.kind,
        'reason', q.reason, 'from', ms(q.from_time), 'to', ms(q.to_time), 'detail', q.detail, 'resolved', q.resolved,
        'resolution', q.resolution, 'found_at', ms(q.found_at), 'resolved_at', ms(q.resolved_at))::text"""
    source = "from data_quality q join markets m on m.id = q.market_id"
    listing = Listing("quality", source, item, [Key("q.id")])
    listing.match("q.market_id = {}", market_id)
    listing.match("q.kind = {}", kind)
    listing.match("q.kind <> {}", not_kind)
    listing.match("q.reason = {}", reason)
    listing.match("q.resolved = {}", resolved)
    _overlapping(listing, span)
    return listing


def revisions(market_id: int | None, interval: str | None, span: Span) -> Listing:
    """Closed candles that were changed, newest change first, by the candles' open times."""
    item = f"""json_build_object('id', r.id, 'market', {_MARKET}, 'interval', r.interval, 'open_time', ms(r.open_time),
        'revision', r.revision, 'old', r.old, 'new', r.new, 'why', r.why, 'at', ms(r.at))::text"""
    source = "from candle_revisions r join markets m on m.id = r.market_id"
    listing = Listing("revisions", source, item, [Key("r.id")])
    listing.match("r.market_id = {}", market_id)
    listing.match("r.interval = {}", interval)
    listing.match("r.open_time >= at_ms({}::bigint)", span.start_ms)
    listing.match("r.open_time < at_ms({}::bigint)", span.end_ms)
    return listing


def _overlapping(listing: Listing, span: Span) -> None:
    listing.match("q.to_time > at_ms({}::bigint)", span.start_ms)
    listing.match("q.from_time < at_ms({}::bigint)", span.end_ms)
