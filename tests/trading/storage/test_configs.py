"""What is noted of how a book is run comes back as it was."""

import json
from decimal import Decimal

from tests.trading.storage.conftest import MARKET
from trading.accounts.capital import RetiredSleeve
from trading.config.model import Book
from trading.config.rules import NO_EXITS, Exits
from trading.storage.configs import BookConfig


def test_exits_of_what_a_removed_instance_left_are_noted_with_it() -> None:
    exits = Exits(stop_loss_percent=Decimal("2.5"), max_hold_candles=7)
    kept = RetiredSleeve("gone", MARKET, "1m", "spot", exits)
    config = BookConfig(Book(), (), (), 10, (kept, RetiredSleeve("bare", MARKET, "5m", "perp")))
    data = json.loads(json.dumps(config.to_dict()))
    assert BookConfig.from_dict(data) == config
    # Noted before exits were kept: those sleeves had none.
    data["retired"] = [row[:4] for row in data["retired"]]
    assert [item.exits for item in BookConfig.from_dict(data).retired] == [NO_EXITS, NO_EXITS]
