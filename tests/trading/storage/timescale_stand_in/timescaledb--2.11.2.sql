-- Names, parameters and columns as documented for 2.11. A chunk is a week of a table; to compress it is to note it.
create schema timescaledb_information;
create table timescaledb_information.dimensions (
    hypertable_schema name, hypertable_name name, dimension_number bigint, column_name name, column_type regtype,
    dimension_type text, time_interval interval);
create table timescaledb_information.compression_settings (
    hypertable_schema name, hypertable_name name, attname name, segmentby_column_index smallint,
    orderby_column_index smallint, orderby_asc boolean, orderby_nullsfirst boolean);
create table timescaledb_information.jobs (
    job_id int generated always as identity, proc_name name, scheduled boolean, config jsonb,
    hypertable_schema name, hypertable_name name);
create table packed_chunks (hypertable_name name, chunk timestamptz, primary key (hypertable_name, chunk));
create view timescaledb_information.chunks as
select distinct 'public'::name as hypertable_schema, 'candles'::name as hypertable_name, w as range_start,
    w + interval '7 days' as range_end,
    exists (select from packed_chunks p where p.hypertable_name = 'candles' and p.chunk = w) as is_compressed
from (select date_bin('7 days', open_time, timestamptz '1970-01-01 00:00+00') as w from candles) c;

create function create_hypertable(relation regclass, time_column_name name, partitioning_column name default null,
    number_partitions int default null, associated_schema_name name default null,
    associated_table_prefix name default null, chunk_time_interval anyelement default null::bigint,
    create_default_indexes boolean default true, if_not_exists boolean default false,
    partitioning_func regproc default null, migrate_data boolean default false) returns void language sql as
$$
    insert into timescaledb_information.dimensions (hypertable_schema, hypertable_name, column_name, time_interval)
    values ('public', relation::text, time_column_name, chunk_time_interval::text::interval)
$$;
create function add_compression_policy(hypertable regclass, compress_after anyelement,
    if_not_exists boolean default false) returns int language sql as
$$
    insert into timescaledb_information.jobs (proc_name, scheduled, config, hypertable_schema, hypertable_name)
    values ('policy_compression', true, jsonb_build_object('compress_after', compress_after::text), 'public',
        hypertable::text) returning job_id
$$;
create procedure run_job(job_id int) language sql as
$$
    insert into packed_chunks
    select c.hypertable_name, c.range_start from timescaledb_information.chunks c
    join timescaledb_information.jobs j using (hypertable_name)
    where j.job_id = $1 and c.range_end < now() - (j.config ->> 'compress_after')::interval
    on conflict do nothing
$$;
create function hypertable_size(hypertable regclass) returns bigint language sql as
$$ select pg_total_relation_size(hypertable) $$;
create function hypertable_compression_stats(hypertable regclass) returns table (
    total_chunks bigint, number_compressed_chunks bigint, before_compression_total_bytes bigint,
    after_compression_total_bytes bigint) language sql as
$$ select 5, (select count(*) from packed_chunks), 400, 100 $$;
create function time_bucket(bucket_width interval, ts timestamptz, origin timestamptz) returns timestamptz
language sql immutable as $$ select date_bin(bucket_width, ts, origin) $$;
