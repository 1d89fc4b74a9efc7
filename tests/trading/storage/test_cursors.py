"""Cursors only move forward, and tell a repeated transaction that its work is done."""

import asyncpg

from trading.storage import cursors


async def test_a_cursor_never_moves_back(connection: asyncpg.Connection) -> None:
    assert await cursors.get_cursor(connection, "brain:x") is None
    for position, expected in ((5, 5), (3, 5), (9, 9)):
        await cursors.set_cursor(connection, "brain:x", position)
        assert await cursors.get_cursor(connection, "brain:x") == expected


async def test_advance_is_true_once(connection: asyncpg.Connection) -> None:
    moves = {"execution:p:b": 7, "execution:p:a": 5}
    assert await cursors.advance(connection, moves)
    assert not await cursors.advance(connection, moves)
    assert not await cursors.advance(connection, {"execution:p:a": 4})
    assert await cursors.advance(connection, {"execution:p:a": 5, "execution:p:b": 8}), "one of them is new"
    assert await cursors.read_cursors(connection, "execution:p:") == {"execution:p:a": 5, "execution:p:b": 8}
    assert await cursors.read_cursors(connection, "execution:_:") == {}
