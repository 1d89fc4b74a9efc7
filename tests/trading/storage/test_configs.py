"""What is noted of how a book is run comes back as it was."""

import json
from decimal import Decimal

import asyncpg

from tests.trading.storage.conftest import MARKET
from trading.accounts.capital import RetiredSleeve
from trading.config.loading import default_config
from trading.config.model import Book
from trading.config.rules import NO_EXITS, Exits
from trading.instances import resolve_instances
from trading.storage.configs import BookConfig, read_spells, record_book_configs
from trading.storage.cursors import set_cursors
from trading.storage.records import upsert_book


def test_exits_of_what_a_removed_instance_left_are_noted_with_it() -> None:
    exits = Exits(stop_loss_percent=Decimal("2.5"), max_hold_candles=7)
    kept = RetiredSleeve("gone", MARKET, "1m", "spot", exits)
    config = BookConfig(Book(), (), (), 10, (kept, RetiredSleeve("bare", MARKET, "5m", "perp")))
    data = json.loads(json.dumps(config.to_dict()))
    assert BookConfig.from_dict(data) == config
    # Noted before exits were kept: those sleeves had none.
    data["retired"] = [row[:4] for row in data["retired"]]
    assert [item.exits for item in BookConfig.from_dict(data).retired] == [NO_EXITS, NO_EXITS]


async def noted(connection: asyncpg.Connection, capital: int, **positions: int) -> None:
    """Brain and execution stand at ``positions`` of their markets when the book is given another capital."""
    moves = {
        f"{writer}:{market}": position
        for market, position in positions.items()
        for writer in ("brain", "execution:paper")
    }
    await set_cursors(connection, moves)
    book = Book(capital=Decimal(capital))
    config = default_config().model_copy(update={"books": {"paper": book}})
    await upsert_book(connection, "paper", book)
    await record_book_configs(connection, config, resolve_instances(config, 0), 0)


async def capitals(connection: asyncpg.Connection, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """(Position from which market b is traded with it, capital) of each configuration in force."""
    spells = await read_spells(connection, "paper", from_ms, to_ms)
    return [(spell.trades_from.get("b", 0), int(spell.config.book.capital)) for spell in spells]


async def test_changes_while_one_market_stands_still_are_all_kept(connection: asyncpg.Connection) -> None:
    await noted(connection, 1)
    await noted(connection, 2, a=60_000, b=60_000)
    await noted(connection, 3, a=60_000, b=120_000)
    await noted(connection, 3, a=60_000, b=180_000)
    assert await capitals(connection, 0, 240_000) == [(0, 1), (60_000, 2), (120_000, 3)]


async def test_a_market_ahead_of_the_others_keeps_to_the_configuration_before(connection: asyncpg.Connection) -> None:
    await noted(connection, 1)
    await noted(connection, 2, a=60_000, b=60_000)
    await noted(connection, 3, a=60_000, b=120_000)
    # On the day from 90 s on, b is traded with the second one first.
    assert await capitals(connection, 90_000, 240_000) == [(60_000, 2), (120_000, 3)]
    assert await capitals(connection, 120_000, 240_000) == [(120_000, 3)]
    assert await capitals(connection, 0, 30_000) == [(0, 1)]
