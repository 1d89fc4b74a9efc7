"""``up`` with changed parameters makes a new instance, and the old one's position is closed or kept as configured."""

import asyncio
from typing import Any

import pytest

from tests.manta.conftest import Place, nothing_left, start_replay
from trading.storage.database import connect
from trading.storage.postgres import running_server
from trading.venues.simulator.sample import SAMPLE_MARKET

OLD = {"name": "trend", "strategy": "ma44", "intervals": ["1m"], "profile": "perp"}
NEW = OLD | {"params": {"period": 20}}


def asked(place: Place, query: str) -> list[tuple[Any, ...]]:
    """Rows of the running database."""

    async def read() -> list[tuple[Any, ...]]:
        target = running_server(place.data_dir / "postgres")
        assert target is not None
        connection = await connect(target)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(read())


@pytest.mark.slow
@pytest.mark.parametrize("on_removed", ["close", "keep"])
def test_other_parameters_are_another_instance(place: Place, on_removed: str) -> None:
    book = {"paper": {"on_removed": on_removed}}
    with nothing_left(place):
        start_replay(place, minutes=120, strategies=[OLD], books=book).stop()
    with nothing_left(place):
        running = start_replay(place, minutes=180, strategies=[NEW], books=book)
        status = place.run("status", "--json").value["health"]
        closing = asked(
            place,
            "select d.actions, o.status, count(*) over () from decisions d join orders o using (decision_id)"
            " where d.reason = 'instance removed'",
        )
        held = asked(
            place,
            "select i.active, p.quantity <> 0, p.cash from positions p join instances i using (instance_id)"
            " order by i.active",
        )
        moved = asked(place, "select sum(amount), count(*) from transfers where kind = 'transfer'")
        given = asked(place, "select sum(amount) from transfers where kind = 'deposit'")
        traded = asked(
            place, "select count(*) from fills f join instances i using (instance_id) where i.active and role = 'entry'"
        )
        running.stop()
    assert given == [(10_000,)]
    [(_, old_holds, old_cash), (_, new_holds, _)] = held
    if on_removed == "close":
        assert [(row[1], row[2]) for row in closing] == [("filled", 1)]
        assert (old_holds, old_cash, new_holds) == (False, 0, True)
        assert moved == [(0, 2)]
        assert traded[0][0] > 0
        assert not [note for note in status["notes"] if "no instance has it" in note]
    else:
        assert (closing, old_holds, new_holds) == ([], True, False)
        assert moved == [(None, 0)]
        assert [note for note in status["notes"] if f" kept on {SAMPLE_MARKET} 1m: no instance has it (trend)" in note]
