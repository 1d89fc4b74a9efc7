-- One row a test that a walk-forward has run: of which parameters, and all that came of it, as JSON kept to the last digit.
create table walkforward_tests (
    run_id uuid not null references walkforwards on delete cascade,
    fold int not null,
    params jsonb not null,
    outcome text not null,
    primary key (run_id, fold)
);
