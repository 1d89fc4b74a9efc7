-- How a book was run, from the cursor positions `positions` on: a row for each change, so that a past day can be
-- replayed as it was lived. `since` is the lowest of the book's own positions, or its start.
create table book_configs (
    book text not null references books,
    since timestamptz not null,
    positions jsonb not null,
    config jsonb not null,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (book, since)
);

-- What the reference backtest says of one UTC day of one book. `reached` is how far the live run had come.
create table parity_runs (
    book text not null references books,
    day date not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    status text not null check (status in ('identical', 'explained', 'different', 'failed')),
    complete boolean not null,
    reached timestamptz,
    counts jsonb not null,
    explained int not null,
    unexplained int not null,
    error text not null default '',
    code_version text not null,
    primary key (book, day)
);
create index parity_runs_day on parity_runs (day, book);

-- The first differences of a run, unexplained ones before explained ones; `parity_runs` counts all.
create table parity_differences (
    book text not null,
    day date not null,
    n int not null,
    time timestamptz not null,
    kind text not null,
    key text not null,
    field text,
    live text,
    reference text,
    cause text not null,
    detail text not null,
    explained boolean not null,
    primary key (book, day, n),
    foreign key (book, day) references parity_runs on delete cascade
);
