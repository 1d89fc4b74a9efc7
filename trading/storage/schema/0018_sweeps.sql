-- A sweep: what was asked for, what it runs on, how far it is, and what it found. Its owner is the process that may
-- write; whoever resumes a sweep takes it over.
create table sweeps (
    run_id uuid primary key,
    strategy text not null,
    market text not null,
    intervals text[] not null,
    config jsonb not null,
    status text not null check (status in ('queued', 'running', 'stopped', 'done', 'failed')),
    progress float8 not null default 0,
    engine text not null default '',
    engine_why text not null default '',
    combos bigint,
    tried bigint not null default 0,
    refused bigint not null default 0,
    final_stage int not null default 0,
    results jsonb,
    provenance jsonb,
    error text not null default '',
    owner uuid,
    heartbeat_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
create index sweeps_created on sweeps (created_at);

-- One row a set of parameters; stages before the last are those of a halving, over a part of the range. Daily returns
-- are kept where the engine gives them.
create table sweep_results (
    run_id uuid not null references sweeps on delete cascade,
    stage int not null,
    number bigint not null,
    params jsonb not null,
    metrics jsonb not null,
    trades bigint not null,
    returns float8[],
    primary key (run_id, stage, number)
);
