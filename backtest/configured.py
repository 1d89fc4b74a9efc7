"""A configured book as a backtest: its instances, with its capital and costs, on the markets that they trade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trading.config.model import Config, StrategyInstance
from trading.errors import BadInput

__all__ = ["ConfiguredBook", "book_named"]


@dataclass(frozen=True, slots=True)
class ConfiguredBook:
    """Book ``name`` of ``config``: its ``instances``, and the markets that any of them trades."""

    config: Config
    name: str
    instances: tuple[StrategyInstance, ...]
    traded: tuple[str, ...]

    def request(self, markets: Sequence[str]) -> dict[str, Any]:
        """What a ``BookRequest`` needs to run it on ``markets``, by default all that it trades, as it would run live.

        BadInput names a market that no instance trades.
        """
        asked = tuple(markets) or self.traded
        for market in asked:
            if market not in self.traded:
                raise BadInput(
                    f"No instance of book {self.name} trades {market}.",
                    field="market",
                    value=market,
                    fix=f"Use some of: {', '.join(self.traded)}.",
                )
        left = [
            (item, tuple(name for name in self.config.markets_of(item) if name in asked)) for item in self.instances
        ]
        book = self.config.books[self.name]
        return {
            "strategies": tuple(item.model_copy(update={"markets": names}) for item, names in left if names),
            "markets": asked,
            "capital": book.capital,
            "costs": book.costs,
        }


def book_named(config: Config, name: str | None) -> ConfiguredBook:
    """The book ``name``; None: the only one that has instances. BadInput where there is no such book."""
    books = list(dict.fromkeys(item.book for item in config.strategies))
    if not books:
        raise BadInput(
            "Which strategy? The configuration has no instances.",
            field="strategy",
            fix="Give --strategy NAME, once or more; `manta strategies list` shows them. Or configure `strategies`.",
        )
    chosen = name or books[0]
    if chosen not in books or (name is None and len(books) > 1):
        raise BadInput(
            f"Book {chosen!r} has no instances." if name else "Which book?",
            field="book",
            value=name,
            fix=f"Give --book, one of: {', '.join(books)}." if name is None else f"Use one of: {', '.join(books)}.",
        )
    mine = tuple(item for item in config.strategies if item.book == chosen)
    traded = tuple(market for market in config.markets if any(market in config.markets_of(item) for item in mine))
    return ConfiguredBook(config, chosen, mine, traded)
