-- What a run needs to be made again, and what its report shows beside its results.
alter table backtest_runs add column provenance jsonb;
alter table backtest_runs add column report jsonb;

create table walkforwards (
    run_id uuid primary key,
    strategy text not null,
    market text not null,
    intervals text[] not null,
    config jsonb not null,
    status text not null check (status in ('queued', 'running', 'done', 'failed')),
    progress float8 not null default 0,
    results jsonb,
    provenance jsonb,
    error text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
create index walkforwards_created on walkforwards (created_at);
