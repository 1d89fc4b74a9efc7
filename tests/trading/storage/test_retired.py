"""What holds something and is configured no more is found, and nothing else."""

from dataclasses import replace
from decimal import Decimal

import asyncpg

from tests.trading.storage.conftest import MARKET, START
from trading.accounts.capital import RetiredSleeve
from trading.accounts.records import Position
from trading.config.model import Book
from trading.config.rules import Exits
from trading.instances import Instance
from trading.storage.records import upsert_book, upsert_instances, upsert_positions
from trading.storage.retired import read_retired, retired_markets


def instance(identity: str, *intervals: str) -> Instance:
    one = Decimal(1)
    return Instance(identity, identity, "ma44", {}, "spot", (MARKET,), intervals, "paper", one, one, one, START)


def sleeve(identity: str, interval: str, quantity: int, cash: int) -> Position:
    entry = (Decimal(1), START) if quantity else (None, None)
    return Position(
        "paper", identity, MARKET, interval, Decimal(quantity), *entry, Decimal(cash), None, Decimal(0), START
    )


async def test_sleeves_that_hold_something_and_that_nobody_has_are_retired(connection: asyncpg.Connection) -> None:
    await upsert_book(connection, "paper", Book())
    exits = Exits(stop_loss_percent=Decimal("2.5"), max_hold_candles=7)
    await upsert_instances(connection, [replace(instance("gone", "1m"), exits=exits), instance("less", "1m", "5m")])
    await upsert_positions(
        connection,
        [
            sleeve("gone", "1m", 3, 0),
            sleeve("less", "1m", 1, 5),
            sleeve("less", "5m", 0, 7),
            sleeve("done", "1m", 0, 0),
        ],
    )
    now = [instance("less", "1m")]
    assert await read_retired(connection, "paper", now) == [
        RetiredSleeve("gone", MARKET, "1m", "spot", exits), RetiredSleeve("less", MARKET, "5m", "spot"),
    ]  # fmt: skip
    assert await retired_markets(connection, now) == {("paper", MARKET)}
    assert await read_retired(connection, "other", now) == []
    both = [instance("gone", "1m"), instance("less", "1m", "5m")]
    assert await retired_markets(connection, both) == set()
