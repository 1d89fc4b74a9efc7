-- Where a candle's minutes were taken from when it was not its own venue: venue:symbol, or several with commas.
alter table candles add column origin text;

-- Every change of a closed candle (I2): what it was, what it is since `revision`, and why.
create table candle_revisions (
    id bigint generated always as identity primary key,
    market_id int not null references markets,
    interval text not null,
    open_time timestamptz not null,
    revision int not null,
    old jsonb not null,
    new jsonb not null,
    why text not null,
    at timestamptz not null default clock_timestamp(),
    unique (market_id, interval, open_time, revision)
);
create index candle_revisions_at on candle_revisions (market_id, at);

insert into candle_revisions (market_id, interval, open_time, revision, old, new, why, at)
select market_id, interval, from_time, (detail -> 'new' ->> 'revision')::int, detail -> 'old', detail -> 'new',
    'repair', found_at
from data_quality where kind = 'anomaly' and reason = 'revised' and resolution = 'new' and detail ? 'new'
on conflict do nothing;
delete from data_quality where kind = 'anomaly' and reason = 'revised' and resolution = 'new' and detail ? 'new';

-- The first minute from which on `intervals` are folded; an earlier one that is imported later is seen by it.
alter table folded_intervals add column first_time timestamptz;
