"""Trades, made from fills: the one form in which live, paper, backtest and sweep say what they did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext

from trading.accounts.books import MONEY
from trading.accounts.records import Fill, Record, SleeveKey

__all__ = ["Trade", "trades_from_fills"]

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Trade(Record):
    """One entry and its exit, each in one execution or more: prices are means, times those of the first entry and the
    last exit. An open trade has no exit and no ``pnl`` yet.

    ``pnl`` is net of both fees, in quote currency, and without funding, which is a transfer; ``return_`` is ``pnl``
    over the value at entry. ``highest`` and ``lowest`` are the prices it saw while it was open, None until it closed;
    ``tag`` is what its strategy called it.
    """

    instance_id: str
    market: str
    interval: str
    trade_no: int
    direction: str
    quantity: Decimal
    entry_ms: int
    entry_price: Decimal
    exit_ms: int | None
    exit_price: Decimal | None
    pnl: Decimal | None
    return_: Decimal | None
    fees: Decimal
    exit_reason: str
    highest: Decimal | None = None
    lowest: Decimal | None = None
    tag: str = ""


def trades_from_fills(fills: Iterable[Fill]) -> list[Trade]:
    """Trades in the order of their entries. ``fills`` are in order of time."""
    entries: dict[tuple[SleeveKey, int], list[Fill]] = {}
    exits: dict[tuple[SleeveKey, int], list[Fill]] = {}
    for fill in fills:
        (entries if fill.role == "entry" else exits).setdefault((fill.sleeve, fill.trade_no), []).append(fill)
    with localcontext(MONEY):
        return [_trade(entry, exits.get(key, [])) for key, entry in entries.items()]


def _trade(entry: list[Fill], exit_: list[Fill]) -> Trade:
    first = entry[0]
    quantity, cost = _sums(entry)
    closed, proceeds = _sums(exit_)
    done = closed == quantity
    pnl = sum((fill.realized_pnl for fill in (*entry, *exit_)), _ZERO) if done else None
    return Trade(
        *first.sleeve,
        trade_no=first.trade_no,
        direction="LONG" if first.side == "BUY" else "SHORT",
        quantity=quantity,
        entry_ms=first.time_ms,
        entry_price=_mean(entry, quantity, cost),
        exit_ms=exit_[-1].time_ms if done else None,
        exit_price=_mean(exit_, closed, proceeds) if done else None,
        pnl=pnl,
        return_=pnl / cost if pnl is not None else None,
        fees=sum((fill.fee for fill in (*entry, *exit_)), _ZERO),
        exit_reason=exit_[-1].reason if done else "",
        highest=exit_[-1].highest if done else None,
        lowest=exit_[-1].lowest if done else None,
        tag=first.tag,
    )


def _sums(fills: list[Fill]) -> tuple[Decimal, Decimal]:
    """Quantity and value of all ``fills``."""
    return sum((fill.quantity for fill in fills), _ZERO), sum((fill.quantity * fill.price for fill in fills), _ZERO)


def _mean(fills: list[Fill], quantity: Decimal, value: Decimal) -> Decimal:
    return fills[0].price if len(fills) == 1 else value / quantity
