"""A second backtest in exact fractions, written to be read at one sitting and sharing nothing with the first one."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from math import ceil, floor
from pathlib import Path

MINUTE = 60_000
EIGHT_HOURS = 8 * 60 * MINUTE
STEP = 10**8


@dataclass(frozen=True)
class Minute:
    """Prices are whole numbers of 1e-8."""

    at: int
    open: int
    high: int
    low: int
    close: int


@dataclass(frozen=True)
class Rules:
    minutes: int
    period: int
    short_too: bool
    leverage: int
    fee: Fraction
    slippage: Fraction
    funding: Fraction
    margin: Fraction
    lot: Fraction
    least: Fraction
    entry: str = "market"
    offset: Fraction = Fraction(0)
    tick: Fraction = Fraction(1, 100)
    candles: int = 1
    maker: Fraction = Fraction(0)


@dataclass(frozen=True)
class Resting:
    """An order that waits to buy (``side`` 1) or to sell (-1)."""

    side: int
    price: Fraction
    until: int


@dataclass
class Account:
    cash: Fraction
    held: Fraction = Fraction(0)
    fills: list[tuple[int, str, Fraction, Fraction]] = field(default_factory=list)
    equity: list[tuple[int, Fraction]] = field(default_factory=list)
    fees: Fraction = Fraction(0)
    resting: Resting | None = None

    def trade(self, at: int, quantity: Fraction, price: Fraction, fee: Fraction) -> None:
        """Buy ``quantity``, or sell it when it is below zero."""
        paid = abs(quantity) * price * fee
        self.cash -= quantity * price + paid
        self.held += quantity
        self.fees += paid
        self.fills.append((at, "BUY" if quantity > 0 else "SELL", price, abs(quantity)))


def read_minutes(path: Path, skip: int, count: int) -> list[Minute]:
    def whole(text: str) -> int:
        return int(Fraction(text) * STEP)

    with gzip.open(path, "rt", newline="") as file:
        rows = islice(csv.DictReader(file), skip, skip + count)
        return [
            Minute(int(row["open_time"]), *(whole(row[name]) for name in ("open", "high", "low", "close")))
            for row in rows
        ]


def backtest(minutes: list[Minute], rules: Rules, capital: Fraction, live_from: int) -> Account:
    account = Account(capital)
    width = rules.minutes * MINUTE
    closes: list[int] = []
    before = minutes[0]
    for minute in minutes:
        opened = before.at // width * width
        # The candle that held the minute before has closed; the first one counts if its beginning was seen.
        if minute.at >= opened + width and opened >= minutes[0].at:
            closes.append(before.close)
            price, mean = Fraction(before.close), Fraction(sum(closes[-rules.period :]), rules.period)
            target = 0
            if len(closes) >= rules.period and opened + width > live_from:
                target = (price > mean) - (price < mean)
            if rules.entry != "market" and target:
                target = _rest(account, target, price / STEP, opened + width, rules)
        else:
            target = 0
        _step(account, before, minute, target, rules)
        if minute.at + MINUTE > live_from:
            account.equity.append((minute.at + MINUTE, account.cash + account.held * Fraction(minute.close, STEP)))
        before = minute
    return account


def _rest(account: Account, target: int, price: Fraction, at: int, rules: Rules) -> int:
    """Let an order rest for what ``target`` would open; returns what is left for the open: 0, or 2 to close."""
    if account.resting and (account.resting.side != target or account.resting.until <= at):
        account.resting = None
    if account.resting or account.held * target > 0:
        return 0
    if target > 0 or rules.short_too:
        below = (rules.entry == "limit") == (target > 0)
        level = price * (1 - rules.offset if below else 1 + rules.offset) / rules.tick
        level = (floor(level) if below else ceil(level)) * rules.tick
        account.resting = Resting(target, level, at + rules.candles * rules.minutes * MINUTE)
    return 2 if account.held else 0


def _enter(account: Account, minute: Minute, rules: Rules) -> None:
    order = account.resting
    if order is None or minute.at >= order.until:
        account.resting = None
        return
    opened, high, low = (Fraction(units, STEP) for units in (minute.open, minute.high, minute.low))
    if (rules.entry == "limit") == (order.side > 0):
        if low > order.price:
            return
        price = min(opened, order.price)
    else:
        if high < order.price:
            return
        price = max(opened, order.price)
    fee = rules.maker if rules.entry == "limit" else rules.fee
    price *= 1 if rules.entry == "limit" else 1 + order.side * rules.slippage
    account.resting = None
    lots = floor(account.cash * rules.leverage / (price * (1 + fee) * rules.lot))
    if lots > 0 and lots * rules.lot * price >= rules.least:
        account.trade(minute.at, order.side * lots * rules.lot, price, fee)


def _step(account: Account, before: Minute, minute: Minute, target: int, rules: Rules) -> None:
    opened = Fraction(minute.open, STEP)
    if rules.short_too:
        for boundary in range(minute.at // EIGHT_HOURS * EIGHT_HOURS, before.at, -EIGHT_HOURS):
            assert before.at < boundary <= minute.at
            account.cash -= account.held * opened * rules.funding
    before_held = account.held
    if target and (target == 2 or account.held * target <= 0):
        if account.held:
            worse = -rules.slippage if account.held > 0 else rules.slippage
            account.trade(minute.at, -account.held, opened * (1 + worse), rules.fee)
        if target != 2 and (target > 0 or rules.short_too):
            price = opened * (1 + target * rules.slippage)
            lots = floor(account.cash * rules.leverage / (price * (1 + rules.fee) * rules.lot))
            if lots > 0 and lots * rules.lot * price >= rules.least:
                account.trade(minute.at, target * lots * rules.lot, price, rules.fee)
    if account.resting:
        _enter(account, minute, rules)
    if rules.short_too and account.held:
        within = rules.entry != "market" and account.held != before_held
        _liquidate(account, minute, None if within else opened, rules)


def _liquidate(account: Account, minute: Minute, opened: Fraction | None, rules: Rules) -> None:
    """``opened`` is None if what is held was bought within the minute."""
    # Where cash + held * price = margin * |held| * price.
    limit = -account.cash / (account.held - rules.margin * abs(account.held))
    if account.held > 0:
        limit = Fraction(floor(limit * STEP), STEP)
        if Fraction(minute.low, STEP) <= limit:
            price = (limit if opened is None else min(limit, opened)) * (1 - rules.slippage)
            account.trade(minute.at, -account.held, price, rules.fee)
    else:
        limit = Fraction(ceil(limit * STEP), STEP)
        if Fraction(minute.high, STEP) >= limit:
            price = (limit if opened is None else max(limit, opened)) * (1 + rules.slippage)
            account.trade(minute.at, -account.held, price, rules.fee)
