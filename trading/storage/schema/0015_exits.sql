-- What a decision's signal wanted beside its target (trading.plan.Plan); empty when it said nothing.
alter table decisions add column plan jsonb not null default '{}';

-- An entry's exits, as distances from its price, and what its strategy calls it; the prices an exit's trade has seen.
alter table fills
    add column stop_distance numeric,
    add column target_distance numeric,
    add column lot text not null default '',
    add column tag text not null default '',
    add column highest numeric,
    add column lowest numeric;

-- The highest and lowest price of the minutes that closed while a trade was open; a row each time one of them changed.
create table lot_extremes (
    book text not null references books,
    instance_id text not null,
    market_id int not null references markets,
    interval text not null,
    trade_no int not null,
    time timestamptz not null,
    highest numeric not null,
    lowest numeric not null,
    primary key (book, instance_id, market_id, interval, trade_no, time)
);
