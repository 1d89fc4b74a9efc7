-- What all processes may ask of a venue through one address (egress), weighed on this server's clock.
create table rate_budgets (
    venue text not null,
    egress text not null,
    blocked_until timestamptz not null default timestamptz '1970-01-01 00:00:00+00',
    primary key (venue, egress)
);

create table rate_grants (
    venue text not null,
    egress text not null,
    granted_at timestamptz not null,
    weight bigint not null check (weight > 0),
    foreign key (venue, egress) references rate_budgets on delete cascade
);
create index rate_grants_by_time on rate_grants (venue, egress, granted_at);

-- Locks a budget, forgets what has run out, and returns what the venue ordered and what is spent. The lock is held to
-- the end of the transaction, so that decisions about one budget are taken one after the other.
create function open_rate(p_venue text, p_egress text, p_hold_ms bigint)
    returns table (now_at timestamptz, blocked_ms bigint, spent bigint)
    language plpgsql as $$
declare
    until timestamptz;
begin
    -- A crash of the server may forget the last moments; nothing here is worth a flush of the disk for each request.
    perform set_config('synchronous_commit', 'off', true);
    insert into rate_budgets (venue, egress) values (p_venue, p_egress) on conflict do nothing;
    select b.blocked_until into until from rate_budgets b where b.venue = p_venue and b.egress = p_egress for update;
    now_at := clock_timestamp();
    delete from rate_grants g
    where g.venue = p_venue and g.egress = p_egress and g.granted_at <= now_at - p_hold_ms * interval '1 millisecond';
    select coalesce(sum(g.weight), 0) into spent from rate_grants g where g.venue = p_venue and g.egress = p_egress;
    blocked_ms := greatest(0, ceil(extract(epoch from until - now_at) * 1000));
    return next;
end $$;

-- Grants from p_least to p_want weight of p_limit in any p_hold_ms, or says how long to wait for p_least. A request
-- heavier than the whole limit goes out alone.
create function take_rate(
    p_venue text, p_egress text, p_limit bigint, p_hold_ms bigint, p_least bigint, p_want bigint
) returns table (granted bigint, wait_ms bigint, blocked_ms bigint, spent bigint)
    language plpgsql as $$
declare
    budget record;
    room bigint;
begin
    select * into budget from open_rate(p_venue, p_egress, p_hold_ms);
    granted := 0;
    wait_ms := 0;
    blocked_ms := budget.blocked_ms;
    spent := budget.spent;
    room := p_limit - spent;
    if blocked_ms = 0 and (room >= p_least or spent = 0) then
        granted := greatest(p_least, least(p_want, room));
        spent := spent + granted;
        insert into rate_grants values (p_venue, p_egress, budget.now_at, granted);
    elsif blocked_ms = 0 then
        select ceil(extract(epoch from min(f.granted_at) - budget.now_at) * 1000) + p_hold_ms into wait_ms
        from (
            select g.granted_at, sum(g.weight) over (order by g.granted_at) as freed
            from rate_grants g where g.venue = p_venue and g.egress = p_egress
        ) f
        where f.freed >= least(p_least, p_limit) - room;
        wait_ms := greatest(1, wait_ms);
    end if;
    return next;
end $$;

-- Notes what happened outside of grants: weight spent while this server was away, the venue's own count of the last
-- minute when it is more than ours, and a pause that the venue ordered.
create function tell_rate(
    p_venue text, p_egress text, p_hold_ms bigint, p_spent bigint, p_used bigint, p_block_ms bigint
) returns void
    language plpgsql as $$
declare
    budget record;
    extra bigint;
begin
    select * into budget from open_rate(p_venue, p_egress, p_hold_ms);
    extra := greatest(p_spent, p_used - budget.spent);
    if extra > 0 then
        insert into rate_grants values (p_venue, p_egress, budget.now_at, extra);
    end if;
    if p_block_ms > 0 then
        update rate_budgets set blocked_until = greatest(blocked_until, budget.now_at + p_block_ms * interval '1 millisecond')
        where venue = p_venue and egress = p_egress;
    end if;
end $$;
