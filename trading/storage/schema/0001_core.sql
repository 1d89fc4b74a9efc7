-- Times are timestamptz; Python and the API speak epoch milliseconds. These two functions are the only bridge.
create function ms(moment timestamptz) returns bigint
    language sql immutable strict parallel safe
    return (extract(epoch from moment) * 1000)::bigint;

create function at_ms(epoch_ms bigint) returns timestamptz
    language sql immutable strict parallel safe
    return timestamptz '1970-01-01 00:00:00+00' + epoch_ms * interval '1 millisecond';

create table database_info (
    key text primary key,
    value text not null
);

create table markets (
    id int generated always as identity primary key,
    venue text not null,
    symbol text not null,
    kind text not null check (kind in ('spot', 'perp')),
    base text not null,
    quote text not null,
    price_decimals smallint not null,
    size_decimals smallint not null,
    tick_size numeric not null,
    lot_size numeric not null,
    min_notional numeric not null,
    unique (venue, symbol)
);

create table candles (
    market_id int not null references markets,
    interval text not null,
    open_time timestamptz not null,
    close_time timestamptz not null,
    open float8 not null,
    high float8 not null,
    low float8 not null,
    close float8 not null,
    volume float8 not null,
    quote_volume float8,
    trade_count bigint,
    taker_buy_volume float8,
    source text not null check (source in ('live', 'rest', 'import', 'derived', 'native')),
    complete boolean not null default true,
    revision int not null default 0,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (market_id, interval, open_time)
);

-- Holes (kind 'hole': reason absent or missing) and anomalies (kind 'anomaly': malformed, duplicate, out_of_order, insane, revised).
create table data_quality (
    id bigint generated always as identity primary key,
    market_id int not null references markets,
    interval text not null default '1m',
    kind text not null check (kind in ('hole', 'anomaly')),
    reason text not null,
    from_time timestamptz not null,
    to_time timestamptz not null,
    detail jsonb not null default '{}',
    resolved boolean not null default false,
    resolution text,
    found_at timestamptz not null default clock_timestamp(),
    resolved_at timestamptz
);
create unique index data_quality_hole on data_quality (market_id, from_time, to_time, reason) where kind = 'hole';
create index data_quality_open on data_quality (market_id, kind, resolved, from_time);

create table features (
    market_id int not null references markets,
    interval text not null,
    name text not null,
    open_time timestamptz not null,
    value float8,
    params jsonb not null default '{}',
    primary key (market_id, interval, name, open_time)
);

create table books (
    book text primary key,
    mode text not null check (mode in ('backtest', 'paper', 'testnet', 'live')),
    capital numeric not null,
    currency text not null,
    config jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp()
);

-- An instance decides from live_from on; candles that closed before are warm-up.
create table instances (
    instance_id text primary key,
    name text not null,
    strategy text not null,
    params jsonb not null,
    profile text not null,
    book text not null references books,
    markets text[] not null,
    intervals text[] not null,
    live_from timestamptz not null,
    active boolean not null default true,
    created_at timestamptz not null default clock_timestamp()
);

create table signals (
    instance_id text not null,
    market_id int not null references markets,
    interval text not null,
    open_time timestamptz not null,
    close_time timestamptz not null,
    target text not null check (target in ('LONG', 'FLAT', 'SHORT', 'HOLD')),
    confidence float8 not null,
    status text not null check (status in ('ready', 'warming', 'hole')),
    warm_have int not null,
    warm_need int not null,
    price float8 not null,
    features jsonb not null,
    candle_revision int not null default 0,
    received_ns bigint not null default 0,
    primary key (instance_id, market_id, interval, open_time)
);
create index signals_close on signals (market_id, close_time);

create table decisions (
    decision_id text primary key,
    book text not null references books,
    instance_id text not null,
    market_id int not null references markets,
    interval text not null,
    open_time timestamptz not null,
    close_time timestamptz not null,
    actions text[] not null,
    target text not null,
    confidence float8 not null,
    outcome text not null check (outcome in ('acted', 'hold', 'warming', 'hole', 'late', 'stale', 'risk')),
    reason text not null default '',
    price numeric not null,
    position_before numeric not null,
    features jsonb not null,
    candle_revision int not null default 0,
    received_ns bigint not null default 0,
    decided_at timestamptz not null default clock_timestamp(),
    unique (book, instance_id, market_id, interval, open_time)
);
create index decisions_time on decisions (book, close_time);

create table orders (
    order_id text primary key,
    decision_id text references decisions,
    leg smallint not null,
    book text not null references books,
    instance_id text not null,
    market_id int not null references markets,
    interval text not null,
    action text not null,
    side text not null check (side in ('BUY', 'SELL')),
    type text not null default 'MARKET',
    quantity numeric,
    quote_amount numeric,
    status text not null check (status in ('intent', 'filled', 'rejected')),
    reason text not null default '',
    created_time timestamptz not null,
    updated_time timestamptz not null,
    unique (decision_id, leg)
);
create index orders_open on orders (book) where status = 'intent';

create table fills (
    fill_id text primary key,
    order_id text not null references orders,
    book text not null references books,
    instance_id text not null,
    market_id int not null references markets,
    interval text not null,
    trade_no int not null,
    role text not null check (role in ('entry', 'exit')),
    side text not null check (side in ('BUY', 'SELL')),
    price numeric not null,
    quantity numeric not null,
    fee numeric not null,
    fee_asset text not null,
    slippage numeric not null,
    realized_pnl numeric not null,
    reason text not null,
    time timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp()
);
create index fills_sleeve on fills (book, instance_id, market_id, interval, trade_no);
create index fills_time on fills (book, time);

-- A sleeve is one instance on one market and interval: the unit that holds a position and its share of the book's cash.
create table positions (
    book text not null references books,
    instance_id text not null,
    market_id int not null references markets,
    interval text not null,
    quantity numeric not null,
    entry_price numeric,
    entry_time timestamptz,
    cash numeric not null,
    mark numeric,
    equity numeric not null,
    as_of timestamptz not null,
    primary key (book, instance_id, market_id, interval)
);

-- Marked at each closed 1m candle: what the book's sleeves on this market are worth together.
create table equity (
    book text not null references books,
    market_id int not null references markets,
    time timestamptz not null,
    cash numeric not null,
    position_value numeric not null,
    equity numeric not null,
    primary key (book, market_id, time)
);

create table transfers (
    transfer_id text primary key,
    book text not null references books,
    instance_id text not null,
    market_id int not null references markets,
    interval text not null,
    kind text not null check (kind in ('deposit', 'withdrawal', 'funding')),
    amount numeric not null,
    currency text not null,
    time timestamptz not null
);

create table events (
    seq bigint generated by default as identity primary key,
    kind text not null,
    v smallint not null default 1,
    event_time timestamptz not null,
    received_ns bigint not null default 0,
    cause_id text not null default '',
    stream text not null,
    payload jsonb not null,
    recorded_at timestamptz not null default clock_timestamp()
);

create table outbox (
    id bigint generated always as identity primary key,
    channel text not null,
    dedupe_key text not null,
    kind text not null,
    body jsonb not null,
    state text not null default 'pending' check (state in ('pending', 'sending', 'sent', 'dead')),
    attempts int not null default 0,
    next_at timestamptz not null default clock_timestamp(),
    maybe_duplicate boolean not null default false,
    last_error text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    unique (channel, dedupe_key)
);
create index outbox_due on outbox (channel, next_at) where state in ('pending', 'sending');

create table cursors (
    name text primary key,
    position bigint not null,
    updated_at timestamptz not null default clock_timestamp()
);

create table leases (
    name text primary key,
    owner text not null,
    epoch bigint not null,
    acquired_at timestamptz not null default clock_timestamp()
);

create table backtest_runs (
    run_id uuid primary key,
    book text not null,
    strategy text not null,
    market text not null,
    intervals text[] not null,
    config jsonb not null,
    status text not null check (status in ('queued', 'running', 'done', 'failed')),
    progress float8 not null default 0,
    results jsonb,
    error text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);

create view trades as
select
    f.book,
    f.instance_id,
    f.market_id,
    f.interval,
    f.trade_no,
    case when max(f.side) filter (where f.role = 'entry') = 'BUY' then 'LONG' else 'SHORT' end as direction,
    min(f.time) filter (where f.role = 'entry') as entry_time,
    sum(f.price * f.quantity) filter (where f.role = 'entry')
        / sum(f.quantity) filter (where f.role = 'entry') as entry_price,
    max(f.time) filter (where f.role = 'exit') as exit_time,
    sum(f.price * f.quantity) filter (where f.role = 'exit')
        / nullif(sum(f.quantity) filter (where f.role = 'exit'), 0) as exit_price,
    sum(f.quantity) filter (where f.role = 'entry') as quantity,
    sum(f.realized_pnl) as pnl,
    sum(f.fee) as fees,
    sum(f.quantity) filter (where f.role = 'entry')
        = coalesce(sum(f.quantity) filter (where f.role = 'exit'), 0) as closed
from fills f
group by f.book, f.instance_id, f.market_id, f.interval, f.trade_no;

create view data_health as
select
    m.venue || ':' || m.symbol as market,
    (select max(c.close_time) from candles c where c.market_id = m.id and c.interval = '1m') as last_close,
    (select count(*) from data_quality q where q.market_id = m.id and q.kind = 'hole' and not q.resolved) as open_holes,
    (select count(*) from data_quality q where q.market_id = m.id and q.kind = 'anomaly') as anomalies
from markets m;
