"""What the supervisor found is kept for those who cannot ask the actors themselves."""

import asyncpg

from trading.storage.actor_health import ActorFound, forget_actors, note_actors
from trading.storage.condition import read_condition

OK = ActorFound("brain", "ok", 10, "")


async def found(connection: asyncpg.Connection) -> list[tuple[str, str, int | None, int]]:
    condition = await read_condition(connection, ["binance:BTCUSDT"])
    return [(row.actor, row.state, row.pid, row.restarts) for row in condition.actors]


async def test_another_process_under_a_known_name_is_a_restart(connection: asyncpg.Connection) -> None:
    await note_actors(connection, "one", [OK, ActorFound("a feed", "ok", 11, "")])
    await note_actors(connection, "one", [OK, ActorFound("a feed", "not answering", None, "ActorDiedError")])
    assert await found(connection) == [("brain", "ok", 10, 0), ("a feed", "not answering", 11, 0)]
    await note_actors(connection, "one", [OK, ActorFound("a feed", "ok", 12, "")])
    assert await found(connection) == [("brain", "ok", 10, 0), ("a feed", "ok", 12, 1)]
    # What a reload starts anew is none.
    await forget_actors(connection)
    await note_actors(connection, "one", [OK._replace(pid=13)])
    assert await found(connection) == [("brain", "ok", 13, 0)]


async def test_the_time_in_a_state_counts_from_its_change(connection: asyncpg.Connection) -> None:
    await note_actors(connection, "one", [OK])
    await connection.execute("update actor_health set since = since - interval '1 hour'")
    await note_actors(connection, "one", [OK])
    [state] = (await read_condition(connection, ["binance:BTCUSDT"])).actors
    assert state.since_s > 3590
    assert state.checked_s < 60
    await note_actors(connection, "one", [OK._replace(state="starting")])
    [state] = (await read_condition(connection, ["binance:BTCUSDT"])).actors
    assert state.since_s < 60


async def test_actors_of_another_session_or_no_longer_planned_are_forgotten(connection: asyncpg.Connection) -> None:
    await note_actors(connection, "one", [OK, ActorFound("gone", "ok", 11, "")])
    await note_actors(connection, "one", [OK])
    assert await found(connection) == [("brain", "ok", 10, 0)]
    await note_actors(connection, "two", [OK._replace(pid=20)])
    assert await found(connection) == [("brain", "ok", 20, 0)]
