-- The life of an order (trading.accounts.broker.OrderStatus). A later stage has a higher rank; final ones never change.
create function order_rank(status text) returns int
    language sql immutable strict parallel safe
    return array_position(array['intent', 'unknown', 'open', 'partial'], status);

alter table orders drop constraint orders_status_check;
alter table orders add constraint orders_status_check
    check (status in ('intent', 'unknown', 'open', 'partial', 'filled', 'rejected', 'canceled'));
drop index orders_open;
create index orders_open on orders (book) where status not in ('filled', 'rejected', 'canceled');

-- The paper venue's own book. No row here refers to a row of ours: it stands for a venue somewhere else, which knows an
-- order by the id that it was sent and by nothing more.
create table paper_orders (
    account text not null,
    client_id text not null,
    market_id int not null references markets,
    side text not null check (side in ('BUY', 'SELL')),
    quantity numeric,
    quote_amount numeric,
    placed_time timestamptz not null,
    status text not null check (status in ('open', 'filled', 'rejected', 'canceled')),
    reason text not null default '',
    updated_time timestamptz not null,
    accepted_at timestamptz not null default clock_timestamp(),
    primary key (account, client_id),
    check ((quantity is null) <> (quote_amount is null))
);
create index paper_orders_working on paper_orders (account, market_id) where status = 'open';

create table paper_fills (
    account text not null,
    client_id text not null,
    number int not null,
    price numeric not null,
    quantity numeric not null,
    fee numeric not null,
    slippage numeric not null,
    time timestamptz not null,
    primary key (account, client_id, number),
    foreign key (account, client_id) references paper_orders
);
