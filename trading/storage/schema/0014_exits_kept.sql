-- An order that is to be canceled, and of which the venue has not said yet that it is.
create or replace function order_rank(status text) returns int
    language sql immutable strict parallel safe
    return array_position(array['intent', 'unknown', 'open', 'partial', 'canceling'], status);

alter table orders drop constraint orders_status_check;
alter table orders add constraint orders_status_check
    check (status in ('intent', 'unknown', 'open', 'partial', 'canceling', 'filled', 'rejected', 'canceled'));

-- The exits of an instance's configuration, which go on to be watched while what it held is kept.
alter table instances add column exits jsonb not null default '{}';

-- How far behind the best price an entry's trailing stop stands, where that is a distance and no percentage.
alter table fills add column trail_distance numeric;
