-- Minutes that changed after features had been made of them: the market's brain makes the stored values anew.
create table rebuilds (
    id bigint generated always as identity primary key,
    market_id int not null references markets,
    from_time timestamptz not null,
    to_time timestamptz not null,
    why text not null,
    noted_at timestamptz not null default clock_timestamp()
);
create index rebuilds_market on rebuilds (market_id, id);

-- Made by trading.storage.timescale.
do $$
begin
    if not exists (select from pg_extension where extname = 'timescaledb') then
        return;
    end if;
    perform create_hypertable('signals', 'open_time', chunk_time_interval => interval '7 days', if_not_exists => true, migrate_data => true);
    alter table signals set (timescaledb.compress, timescaledb.compress_segmentby = 'instance_id, market_id, interval', timescaledb.compress_orderby = 'open_time desc');
    perform add_compression_policy('signals', interval '7 days', if_not_exists => true);
end
$$;
