-- The venue's time and the recording host's clocks at one moment. The steady clock counts from the boot named in boot.
create table venue_clocks (
    venue text primary key,
    venue_time timestamptz not null,
    host_time timestamptz not null,
    steady_ns bigint not null,
    boot text not null
);

-- What the host process wants of the supervisor, and its answer: a way to the actors that needs no Ray.
create table host_orders (
    id bigint generated always as identity primary key,
    session text not null,
    verb text not null,
    detail jsonb not null default '{}',
    answer jsonb,
    asked_at timestamptz not null default clock_timestamp(),
    answered_at timestamptz
);

-- What the supervisor found when it last asked each actor.
create table actor_health (
    actor text primary key,
    place int not null,
    session text not null,
    state text not null,
    pid int,
    restarts int not null,
    detail text not null default '',
    since timestamptz not null default clock_timestamp(),
    checked_at timestamptz not null default clock_timestamp()
);

create index outbox_unsent on outbox (channel) where state <> 'sent';

-- The configuration that a running session was reloaded with, newest by id; without one, that of its start holds.
create table reloads (
    id bigint generated always as identity primary key,
    session text not null,
    config jsonb not null,
    reloaded_at timestamptz not null default clock_timestamp()
);

-- Which intervals a market's minutes have been folded into, from the first minute on up to the timeframe's cursor.
create table folded_intervals (
    market_id int primary key references markets,
    intervals text[] not null
);

-- What one sleeve of a book gives to another: two rows, one below zero.
alter table transfers drop constraint transfers_kind_check;
alter table transfers add constraint transfers_kind_check
    check (kind in ('deposit', 'withdrawal', 'funding', 'transfer'));
