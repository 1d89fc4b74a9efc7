-- Whether a market's data is fresh, as it was last told: a row for each market that ever was stale.
create table freshness (
    market_id int primary key references markets,
    stale boolean not null,
    reason text not null,
    since timestamptz not null
);
