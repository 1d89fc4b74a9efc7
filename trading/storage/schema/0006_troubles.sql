-- Conditions that somebody was alerted about and that last: the alert of their end is told once, whoever restarts meanwhile.
create table troubles (
    name text primary key,
    title text not null,
    began_at timestamptz not null
);

-- The few decisions that came too late are looked for once a minute.
create index decisions_late on decisions (decided_at) where outcome in ('late', 'stale');
