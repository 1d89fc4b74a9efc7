-- With TimescaleDB: seven-day chunks, compressed when older than seven days. Without it: nothing, the tables stay plain.
-- Rows in compressed chunks stay writable (upserts work since 2.11), so late repairs need no second code path.
do $$
begin
    if not exists (select from pg_available_extensions where name = 'timescaledb') then
        return;
    end if;
    begin
        create extension if not exists timescaledb;
    exception when others then
        raise notice 'TimescaleDB is installed but cannot be used: %', sqlerrm;
        return;
    end;

    perform create_hypertable('candles', 'open_time', chunk_time_interval => interval '7 days', if_not_exists => true, migrate_data => true);
    alter table candles set (
        timescaledb.compress,
        timescaledb.compress_segmentby = 'market_id, interval',
        timescaledb.compress_orderby = 'open_time desc'
    );
    perform add_compression_policy('candles', interval '7 days', if_not_exists => true);

    perform create_hypertable('features', 'open_time', chunk_time_interval => interval '7 days', if_not_exists => true, migrate_data => true);
    alter table features set (
        timescaledb.compress,
        timescaledb.compress_segmentby = 'market_id, interval, name',
        timescaledb.compress_orderby = 'open_time desc'
    );
    perform add_compression_policy('features', interval '7 days', if_not_exists => true);

    perform create_hypertable('equity', 'time', chunk_time_interval => interval '7 days', if_not_exists => true, migrate_data => true);
    alter table equity set (
        timescaledb.compress,
        timescaledb.compress_segmentby = 'book, market_id',
        timescaledb.compress_orderby = 'time desc'
    );
    perform add_compression_policy('equity', interval '7 days', if_not_exists => true);
end
$$;
