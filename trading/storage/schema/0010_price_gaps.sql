-- Price gaps (the three-candle pattern, never a hole in the data). start_time is the open time of the third candle,
-- closed_time that of the candle which filled the gap, found_time the close of the third candle; recorded_at is when
-- this database learnt of it.
create table price_gaps (
    id text primary key check (id ~ '^G[0-9]{5,}$'),
    market_id int not null references markets,
    interval text not null,
    mode text not null check (mode in ('strict', 'body', 'open', 'b2dir')),
    source_interval text not null,
    start_time timestamptz not null,
    gap_type text not null check (gap_type in ('up', 'down')),
    gap_low numeric not null,
    gap_high numeric not null,
    size numeric not null generated always as (gap_high - gap_low) stored,
    status text not null default 'open' check (status in ('open', 'touched', 'filled')),
    found_time timestamptz not null,
    touched_time timestamptz,
    closed_time timestamptz,
    close_price numeric,
    detail jsonb not null default '{}',
    recorded_at timestamptz not null default clock_timestamp(),
    unique (market_id, interval, mode, start_time, gap_type),
    check (gap_low < gap_high),
    check ((status = 'filled') = (closed_time is not null) and (closed_time is null) = (close_price is null))
);
create index price_gaps_unfilled on price_gaps (market_id, interval, mode) where status <> 'filled';
create index price_gaps_time on price_gaps (start_time, id);

-- The last number given out: ids follow the order of finding, without holes, and none is ever given twice.
create table price_gap_ids (
    only_row boolean primary key default true check (only_row),
    last bigint not null
);
insert into price_gap_ids (last) values (0);
