"""Who gets what of a book's capital, also when instances come and go while it trades.

A book never receives more than its configured capital in deposits. Cash that a sleeve has is bound to it for as long as
its instance is configured; what a removed one leaves behind goes to those that still lack their share.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from trading.accounts.books import MONEY, SleeveSpec
from trading.config.rules import NO_EXITS, Exits

__all__ = ["RetiredSleeve", "retired_specs", "share_out"]

_ZERO = Decimal(0)
_STEP = Decimal("1e-8")


class RetiredSleeve(NamedTuple):
    """A sleeve that holds cash or a position, and that no configured instance has any more.

    ``exits`` are those of its last configuration, which close what it holds as before.
    """

    instance_id: str
    market: str
    interval: str
    profile: str
    exits: Exits = NO_EXITS


def retired_specs(retired: Sequence[RetiredSleeve]) -> list[SleeveSpec]:
    """What ``ExecutionState`` needs of them. They lack nothing and never open anything."""
    one = Decimal(1)
    return [
        SleeveSpec(
            item.instance_id,
            item.market,
            item.interval,
            item.profile,
            one,
            one,
            _ZERO,
            0,
            retired=True,
            exits=item.exits,
        )
        for item in retired
    ]


def share_out(amount: Decimal, wants: Sequence[Decimal], *, all_of_it: bool = False) -> list[Decimal]:
    """``amount`` divided over ``wants`` in proportion, none below 0.

    What is enough for all gives each what it wants, and keeps the rest, unless ``all_of_it`` is to be given away.
    Shares are cut at 10**-8, and the first that wants anything takes what that leaves over.
    """
    wanted = [max(_ZERO, want) for want in wants]
    total = MONEY.add(sum(wanted, _ZERO), _ZERO)
    if amount <= 0 or not total:
        return [_ZERO for _ in wanted]
    if amount >= total and not all_of_it:
        return wanted
    shares = [MONEY.divide(MONEY.multiply(amount, want), total).quantize(_STEP, rounding=ROUND_DOWN) for want in wanted]
    first = next(place for place, want in enumerate(wanted) if want)
    shares[first] = MONEY.add(shares[first], MONEY.subtract(amount, sum(shares, _ZERO)))
    return shares
