-- Orders that rest: the price they wait for, and the time from which they do so no longer.
alter table orders
    add column price numeric,
    add column expires_time timestamptz;

alter table paper_orders
    add column type text not null default 'MARKET' check (type in ('MARKET', 'LIMIT', 'STOP')),
    add column price numeric,
    add column expires_time timestamptz,
    add check ((type = 'MARKET') = (price is null));
