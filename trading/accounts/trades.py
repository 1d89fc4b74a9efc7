"""Trades, made from fills: the one form in which live, paper, backtest and sweep say what they did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext

from trading.accounts.books import MONEY
from trading.accounts.records import Fill, Record, SleeveKey

__all__ = ["Trade", "trades_from_fills"]


@dataclass(frozen=True, slots=True)
class Trade(Record):
    """One entry and its exit. An open trade has no exit and no ``pnl`` yet.

    ``pnl`` is net of both fees, in quote currency, and without funding, which is a transfer; ``return_`` is ``pnl``
    over the value at entry.
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


def trades_from_fills(fills: Iterable[Fill]) -> list[Trade]:
    """Trades in the order of their entries. ``fills`` are in order of time."""
    entries: dict[tuple[SleeveKey, int], Fill] = {}
    exits: dict[tuple[SleeveKey, int], Fill] = {}
    for fill in fills:
        (entries if fill.role == "entry" else exits)[fill.sleeve, fill.trade_no] = fill
    with localcontext(MONEY):
        return [_trade(entry, exits.get(key)) for key, entry in entries.items()]


def _trade(entry: Fill, exit_: Fill | None) -> Trade:
    pnl = entry.realized_pnl + exit_.realized_pnl if exit_ is not None else None
    return Trade(
        *entry.sleeve,
        trade_no=entry.trade_no,
        direction="LONG" if entry.side == "BUY" else "SHORT",
        quantity=entry.quantity,
        entry_ms=entry.time_ms,
        entry_price=entry.price,
        exit_ms=exit_.time_ms if exit_ is not None else None,
        exit_price=exit_.price if exit_ is not None else None,
        pnl=pnl,
        return_=pnl / (entry.quantity * entry.price) if pnl is not None else None,
        fees=entry.fee + (exit_.fee if exit_ is not None else Decimal(0)),
        exit_reason=exit_.reason if exit_ is not None else "",
    )
