"""The lists of the API as SQL. Postgres writes each row's JSON text: no row passes through Python objects.

Candle prices are JSON numbers (the shortest text of the float, which is n / 1e8 exactly); money is text, so that
no client rounds it. Times are epoch milliseconds.
"""

from __future__ import annotations

from uuid import UUID

from serve.paging import Key, Listing
from serve.parameters import Span
from trading.storage.searches import STATUS

__all__ = [
    "CANDLE_CSV",
    "CSV_HEADER",
    "backtest_trades",
    "backtests",
    "candles",
    "decisions",
    "equity",
    "features",
    "gaps",
    "instances",
    "orders",
    "parity",
    "positions",
    "sweeps",
    "trades",
    "walkforwards",
]

_MARKET = "m.venue || ':' || m.symbol"
# date_part works in float8, which is exact for whole milliseconds and far cheaper than the numeric of ms().
_CANDLE = """'{"open_time":' || (date_part('epoch', c.open_time) * 1000)::bigint
    || ',"close_time":' || (date_part('epoch', c.close_time) * 1000)::bigint || ',"open":' || c.open
    || ',"high":' || c.high
    || ',"low":' || c.low || ',"close":' || c.close || ',"volume":' || c.volume
    || coalesce(',"quote_volume":' || c.quote_volume, '') || coalesce(',"trade_count":' || c.trade_count, '')
    || coalesce(',"origin":"' || c.origin || '"', '')
    || ',"source":"' || c.source || '","complete":' || c.complete || ',"revision":' || c.revision || '}'"""

CSV_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,complete,source,origin\n"
)
# close_time as venues and public archives write it: the last millisecond of the candle.
CANDLE_CSV = """
select ms(max(open_time)) as last, count(*) as rows, string_agg(
    concat_ws(',', ms(open_time), open, high, low, close, volume, ms(close_time) - 1, coalesce(quote_volume::text, ''),
        coalesce(trade_count::text, ''), coalesce(taker_buy_volume::text, ''), complete, source,
        coalesce(origin, '')),
        e'\\n' order by open_time) as text
from (
    select * from candles where market_id = $1 and interval = $2 and open_time > at_ms($3) and open_time < at_ms($4)
    order by open_time limit $5
) page
"""


def candles(market_id: int, interval: str, span: Span) -> Listing:
    listing = Listing("candles", "from candles c", _CANDLE, [Key("c.open_time", is_time=True)])
    listing.match("c.market_id = {}", market_id)
    listing.match("c.interval = {}", interval)
    _within(listing, "c.open_time", span)
    return listing


def features(market_id: int, interval: str, name: str | None, span: Span) -> Listing:
    item = """'{"open_time":' || ms(f.open_time) || ',"name":' || to_json(f.name) || ',"value":' ||
    coalesce(f.value::text, 'null')
        || ',"params":' || f.params || '}'"""
    listing = Listing("features", "from features f", item, [Key("f.open_time", is_time=True), Key("f.name")])
    listing.match("f.market_id = {}", market_id)
    listing.match("f.interval = {}", interval)
    listing.match("f.name = {}", name)
    _within(listing, "f.open_time", span)
    return listing


def gaps(market_id: int | None, interval: str | None, mode: str | None, status: str | None, span: Span) -> Listing:
    """Price gaps by the open time of their third candle; prices are exact JSON numbers."""
    item = f"""json_build_object('id', g.id, 'market', {_MARKET}, 'interval', g.interval, 'mode', g.mode,
        'source_interval', g.source_interval, 'type', g.gap_type, 'low', trim_scale(g.gap_low),
        'high', trim_scale(g.gap_high), 'status', g.status, 'start_time_ms', ms(g.start_time),
        'found_time_ms', ms(g.found_time), 'touched_time_ms', ms(g.touched_time),
        'closed_time_ms', ms(g.closed_time), 'close_price', trim_scale(g.close_price), 'detail', g.detail)::text"""
    source = "from price_gaps g join markets m on m.id = g.market_id"
    listing = Listing("gaps", source, item, [Key("g.start_time", is_time=True), Key("g.id")])
    listing.match("g.market_id = {}", market_id)
    listing.match("g.interval = {}", interval)
    listing.match("g.mode = {}", mode)
    listing.match("g.status = {}", status)
    _within(listing, "g.start_time", span)
    return listing


def decisions(
    book: str | None, market_id: int | None, interval: str | None, outcome: str | None, acting: bool | None, span: Span
) -> Listing:
    """Decisions of one book, or of every book that is no backtest; ``acting``: only those to open or close, or only
    holds.
    """
    item = f"""json_build_object('decision_id', d.decision_id, 'book', d.book, 'mode', b.mode, 'instance_id',
    d.instance_id,
        'market', {_MARKET}, 'interval', d.interval, 'open_time', ms(d.open_time), 'close_time', ms(d.close_time),
        'actions', d.actions, 'target', d.target, 'confidence', d.confidence, 'outcome', d.outcome, 'reason', d.reason,
        'price', trim_scale(d.price)::text, 'position_before', trim_scale(d.position_before)::text, 'features',
        d.features,
        'candle_revision', d.candle_revision, 'decided_at', ms(d.decided_at))::text"""
    source = "from decisions d join books b using (book) join markets m on m.id = d.market_id"
    listing = Listing("decisions", source, item, [Key("d.close_time", is_time=True), Key("d.decision_id")])
    _of_book(listing, "d", book)
    listing.match("d.market_id = {}", market_id)
    listing.match("d.interval = {}", interval)
    listing.match("d.outcome = {}", outcome)
    listing.match("({} = (d.actions && '{{OPEN_LONG,CLOSE_LONG,OPEN_SHORT,CLOSE_SHORT}}'))", acting)
    _within(listing, "d.close_time", span)
    return listing


def orders(book: str | None, market_id: int | None, interval: str | None, finished: bool | None, span: Span) -> Listing:
    """Orders by the event time they were made at; ``finished``: only those with a final outcome, or only the others."""
    item = f"""json_build_object('order_id', o.order_id, 'decision_id', o.decision_id, 'leg', o.leg, 'book', o.book,
        'mode', b.mode, 'instance_id', o.instance_id, 'market', {_MARKET}, 'interval', o.interval, 'action', o.action,
        'side', o.side, 'type', o.type, 'quantity', trim_scale(o.quantity)::text,
        'quote_amount', trim_scale(o.quote_amount)::text, 'status', o.status, 'reason', o.reason,
        'created_time', ms(o.created_time), 'updated_time', ms(o.updated_time), 'price', trim_scale(o.price)::text,
        'expires_time', ms(o.expires_time))::text"""
    source = "from orders o join books b using (book) join markets m on m.id = o.market_id"
    listing = Listing("orders", source, item, [Key("o.created_time", is_time=True), Key("o.order_id")])
    _of_book(listing, "o", book)
    listing.match("o.market_id = {}", market_id)
    listing.match("o.interval = {}", interval)
    listing.match("{} = (o.status in ('filled', 'rejected', 'canceled'))", finished)
    _within(listing, "o.created_time", span)
    return listing


def trades(book: str | None, market_id: int | None, interval: str | None, span: Span) -> Listing:
    """Open and closed trades by their entry time."""
    item = f"""json_build_object('book', t.book, 'mode', b.mode, 'instance_id', t.instance_id, 'market', {_MARKET},
        'interval', t.interval, 'trade_no', t.trade_no, 'direction', t.direction, 'entry_time', ms(t.entry_time),
        'entry_price', trim_scale(round(t.entry_price, 12))::text, 'exit_time',
        case when t.closed then ms(t.exit_time) end,
        'exit_price', trim_scale(round(t.exit_price, 12))::text, 'quantity', trim_scale(t.quantity)::text,
        'pnl', trim_scale(t.pnl)::text, 'fees', trim_scale(t.fees)::text, 'closed', t.closed)::text"""
    source = "from trades t join books b using (book) join markets m on m.id = t.market_id"
    key = [
        Key("t.entry_time", is_time=True),
        *(Key(f"t.{name}") for name in ("book", "instance_id", "market_id", "interval")),
    ]
    listing = Listing("trades", source, item, [*key, Key("t.trade_no")])
    _of_book(listing, "t", book)
    listing.match("t.market_id = {}", market_id)
    listing.match("t.interval = {}", interval)
    _within(listing, "t.entry_time", span)
    return listing


# Whether an instance has the sleeve; if none, what becomes of what it holds. A backtest's instances are not kept.
_SLEEVE_STATE = f"""case
    when b.mode = 'backtest' or i.active and i.book = p.book and p.interval = any(i.intervals)
        and {_MARKET} = any(i.markets) then 'active'
    when p.quantity = 0 then 'removed' when b.config ->> 'on_removed' = 'keep' then 'kept' else 'closing' end"""


def instances(book: str | None) -> Listing:
    """The instances that run, by name, each with its sleeves: what they hold and what they decided last."""
    decided = """select json_build_object('decision_id', d.decision_id, 'close_time', ms(d.close_time), 'actions',
        d.actions, 'target', d.target, 'confidence', d.confidence, 'outcome', d.outcome, 'reason', d.reason) as newest
        from decisions d where d.book = i.book and d.instance_id = i.instance_id and d.market_id = m.id
        and d.interval = w.interval order by d.open_time desc limit 1"""
    sleeves = f"""select coalesce(json_agg(json_build_object('market', k.market, 'interval', w.interval,
        'quantity', trim_scale(p.quantity)::text, 'entry_price', trim_scale(p.entry_price)::text,
        'entry_time', ms(p.entry_time), 'mark', trim_scale(p.mark)::text, 'equity', trim_scale(p.equity)::text,
        'as_of', ms(p.as_of), 'decision', d.newest) order by k.n, w.n), '[]')
        from unnest(i.markets) with ordinality k (market, n) cross join unnest(i.intervals) with ordinality
        w (interval, n) left join markets m on {_MARKET} = k.market
        left join positions p on (p.book, p.instance_id, p.market_id, p.interval) =
        (i.book, i.instance_id, m.id, w.interval) left join lateral ({decided}) d on true"""  # noqa: S608
    item = f"""json_build_object('instance_id', i.instance_id, 'name', i.name, 'strategy', i.strategy,
        'params', i.params, 'profile', i.profile, 'book', i.book, 'mode', b.mode, 'live_from', ms(i.live_from),
        'sleeves', ({sleeves}))::text"""
    listing = Listing(
        "instances", "from instances i join books b using (book)", item, [Key("i.name"), Key("i.instance_id")]
    )
    listing.where.append("i.active")
    _of_book(listing, "i", book)
    return listing


def positions(book: str | None, market_id: int | None) -> Listing:
    """Every sleeve, flat ones too: what each holds and what it is worth."""
    item = f"""json_build_object('book', p.book, 'mode', b.mode, 'instance_id', p.instance_id, 'market', {_MARKET},
        'interval', p.interval, 'state', {_SLEEVE_STATE}, 'quantity', trim_scale(p.quantity)::text, 'entry_price',
        trim_scale(p.entry_price)::text,
        'entry_time', ms(p.entry_time), 'cash', trim_scale(p.cash)::text, 'mark', trim_scale(p.mark)::text,
        'equity', trim_scale(p.equity)::text, 'as_of', ms(p.as_of))::text"""
    source = (
        "from positions p join books b using (book) join markets m on m.id = p.market_id"
        " left join instances i using (instance_id)"
    )
    listing = Listing(
        "positions", source, item, [Key(f"p.{name}") for name in ("book", "instance_id", "market_id", "interval")]
    )
    _of_book(listing, "p", book)
    listing.match("p.market_id = {}", market_id)
    return listing


def equity(book: str, market_id: int | None, span: Span, step_ms: int) -> Listing:
    """A book's value at each 1m close, summed over its markets (of one market if given), or every ``step_ms`` only.

    A market whose minute is late or a hole counts with its last known value; before its first value it counts nothing.
    """
    item = """json_build_object('time', ms(e.time), 'cash', trim_scale(e.cash)::text,
        'position_value', trim_scale(e.position_value)::text, 'equity', trim_scale(e.equity)::text)::text"""
    listing = Listing("equity", "", item, [Key("e.time", is_time=True)])
    listing.match("{}", book)
    listing.match("{}", step_ms)
    one_market = "" if market_id is None else "and market_id = $3"
    listing.match("{}", market_id)
    listing.where.clear()
    listing.source = f"""from (
        select t.time, sum(v.cash) as cash, sum(v.position_value) as position_value, sum(v.equity) as equity
        from (select distinct time from equity where book = $1
            and (date_part('epoch', time) * 1000)::bigint % $2 = 0 {one_market}) t
        cross join (select distinct market_id from equity where book = $1 {one_market}) k
        cross join lateral (
            select cash, position_value, equity from equity q
            where q.book = $1 and q.market_id = k.market_id and q.time <= t.time order by q.time desc limit 1
        ) v group by t.time) e"""  # noqa: S608
    _within(listing, "e.time", span)
    return listing


def backtests(status: str | None) -> Listing:
    item = """json_build_object('run_id', r.run_id, 'book', r.book, 'strategy', r.strategy, 'market', r.market,
        'intervals', r.intervals, 'status', r.status, 'progress', r.progress, 'error', r.error, 'config', r.config,
        'results', r.results, 'created_at', ms(r.created_at), 'finished_at', ms(r.finished_at))::text"""
    listing = Listing(
        "backtests",
        "from backtest_runs r",
        item,
        [Key("date_trunc('milliseconds', r.created_at)", is_time=True), Key("r.run_id::text")],
    )
    listing.match("r.status = {}", status)
    return listing


def backtest_trades(run_id: UUID) -> Listing:
    """The trades of a run's report, the newest entry first."""
    item = """((t.value - '{return_,entry_ms,exit_ms}'::text[]) || jsonb_build_object('return', t.value -> 'return_',
        'entry_time', t.value -> 'entry_ms', 'exit_time', t.value -> 'exit_ms'))::text"""
    source = "from backtest_runs r, jsonb_array_elements(r.report -> 'trades') with ordinality t (value, n)"
    listing = Listing("backtest_trades", source, item, [Key("t.n")])
    listing.match("r.run_id = {}", run_id)
    return listing


def walkforwards(status: str | None, *, whole: bool) -> Listing:
    """Walk-forwards, newest first; the ``whole`` of their results, or what was out of sample."""
    results = (
        "s.results, 'provenance', s.provenance"
        if whole
        else "case when s.results is not null then json_build_object('out_of_sample', s.results -> 'out_of_sample') end"
    )
    item = f"""json_build_object('run_id', s.run_id, 'strategy', s.strategy, 'market', s.market,
        'intervals', s.intervals, 'status', {STATUS}, 'progress', s.progress, 'engine', s.engine, 'combos', s.combos,
        'tried', s.tried, 'error', s.error, 'config', s.config,
        'results', {results}, 'created_at', ms(s.created_at), 'finished_at', ms(s.finished_at))::text"""
    listing = Listing(
        "walkforwards",
        "from walkforwards s",
        item,
        [Key("date_trunc('milliseconds', s.created_at)", is_time=True), Key("s.run_id::text")],
    )
    listing.match(f"({STATUS}) = {{}}", status)
    return listing


def sweeps(status: str | None, *, whole: bool) -> Listing:
    """Sweeps, newest first; the ``whole`` of their results, or the best set and what to think of it."""
    results = (
        "s.results, 'provenance', s.provenance"
        if whole
        else "case when s.results is not null then json_build_object('best', s.results -> 'best', 'deflated_sharpe',"
        " s.results -> 'deflated_sharpe', 'held', s.results #> '{holdout,sets,0}') end"
    )
    item = f"""json_build_object('run_id', s.run_id, 'strategy', s.strategy, 'market', s.market,
        'intervals', s.intervals, 'status', {STATUS}, 'progress', s.progress, 'engine', s.engine, 'combos', s.combos,
        'tried', s.tried, 'runs', s.runs, 'refused', s.refused, 'error', s.error, 'config', s.config,
        'results', {results},
        'created_at', ms(s.created_at), 'finished_at', ms(s.finished_at))::text"""
    listing = Listing(
        "sweeps",
        "from sweeps s",
        item,
        [Key("date_trunc('milliseconds', s.created_at)", is_time=True), Key("s.run_id::text")],
    )
    listing.match(f"({STATUS}) = {{}}", status)
    return listing


def parity(book: str | None, status: str | None, *, with_differences: bool = False) -> Listing:
    """Results of nightly checks, ``with_differences`` those that are stored of each."""
    differences = """, 'differences', (select coalesce(json_agg(json_build_object('time', ms(d.time), 'kind', d.kind,
        'key', d.key, 'field', d.field, 'live', d.live, 'reference', d.reference, 'cause', d.cause, 'detail', d.detail,
        'explained', d.explained) order by d.n), '[]') from parity_differences d
        where d.book = r.book and d.day = r.day)"""
    item = f"""json_build_object('book', r.book, 'day', r.day, 'status', r.status, 'complete', r.complete,
        'reached', ms(r.reached), 'explained', r.explained, 'unexplained', r.unexplained, 'counts', r.counts,
        'error', r.error, 'code_version', r.code_version, 'started_at', ms(r.started_at),
        'finished_at', ms(r.finished_at){differences if with_differences else ""})::text"""
    listing = Listing("parity", "from parity_runs r", item, [Key("r.day::text"), Key("r.book")])
    listing.match("r.book = {}", book)
    listing.match("r.status = {}", status)
    return listing


def _of_book(listing: Listing, alias: str, book: str | None) -> None:
    if book is None:
        listing.where.append("b.mode <> 'backtest'")
    listing.match(f"{alias}.book = {{}}", book)


def _within(listing: Listing, column: str, span: Span) -> None:
    listing.match(f"{column} >= at_ms({{}}::bigint)", span.start_ms)
    listing.match(f"{column} < at_ms({{}}::bigint)", span.end_ms)
