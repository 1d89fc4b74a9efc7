-- A halving runs the best sets again over longer parts: what was tried is each set once, and its runs are counted beside it.
alter table sweeps add column runs bigint not null default 0;
update sweeps set runs = tried;
update sweeps s set tried = (select count(*) from sweep_results r where r.run_id = s.run_id and r.stage = 0)
    where s.final_stage > 0;
update sweeps set combos = tried + refused where final_stage > 0 and status = 'done';
