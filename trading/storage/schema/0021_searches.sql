-- A walk-forward is a search like a sweep: its scores are kept as they come, and whoever resumes it takes it over.
alter table walkforwards
    add column engine text not null default '',
    add column engine_why text not null default '',
    add column combos bigint,
    add column tried bigint not null default 0,
    add column refused bigint not null default 0,
    add column final_stage int not null default 0,
    add column owner uuid,
    add column heartbeat_at timestamptz,
    drop constraint walkforwards_status_check,
    add constraint walkforwards_status_check check (status in ('queued', 'running', 'stopped', 'done', 'failed'));

-- One row a set of parameters and stage: stage 0 is over all days, the others are the searches of single folds.
create table walkforward_results (
    run_id uuid not null references walkforwards on delete cascade,
    stage int not null,
    number bigint not null,
    params jsonb not null,
    metrics jsonb not null,
    trades bigint not null,
    returns float8[],
    primary key (run_id, stage, number)
);
