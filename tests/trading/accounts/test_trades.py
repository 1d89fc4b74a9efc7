"""Trades made from fills are what the database's view says they are."""

from __future__ import annotations

import random

from tests.trading.accounts.ledger import PAID, D, Ledger, market, minute, signal, spec, state
from tests.trading.series import MARKET
from trading.accounts.records import Decision, Fill, Order
from trading.accounts.trades import trades_from_fills
from trading.config.model import Book
from trading.storage import records
from trading.storage.database import connect
from trading.storage.markets import upsert_market
from trading.storage.settings import DatabaseTarget

SPECS = (spec("a", leverage=D(20)), spec("b", profile="spot"))


def busy_ledger() -> Ledger:
    """Two sleeves with flips, liquidations, and a position open at the end."""
    source = random.Random(8)
    execution, ledger = state(*SPECS, costs=PAID), Ledger()
    ledger.take(execution.start())
    for number in range(120):
        price = source.randint(95, 105)
        candle = minute(number, price, high=price + source.choice((0, 0, 9)), low=price - source.choice((0, 0, 9)))
        ledger.run(execution, [candle])
        for name in ("a", "b"):
            ledger.run(execution, [signal(candle, source.choice(("LONG", "SHORT", "HOLD")), name=name)])
    return ledger


def test_a_trade_is_one_entry_and_one_exit() -> None:
    ledger = busy_ledger()
    trades = trades_from_fills(ledger.fills())
    assert {trade.exit_reason for trade in trades} == {"decision", "liquidation", ""}
    assert {trade.direction for trade in trades if trade.instance_id == "b"} == {"LONG"}
    assert {trade.direction for trade in trades} == {"LONG", "SHORT"}
    assert [trade.entry_ms for trade in trades] == sorted(trade.entry_ms for trade in trades)
    fills = ledger.fills()
    for trade in trades:
        mine = [fill for fill in fills if (fill.instance_id, fill.trade_no) == (trade.instance_id, trade.trade_no)]
        assert trade.fees == sum(fill.fee for fill in mine)
        if trade.pnl is None or trade.exit_price is None or trade.exit_ms is None:
            assert (len(mine), trade.exit_price, trade.return_) == (1, None, None)
            continue
        sign = 1 if trade.direction == "LONG" else -1
        assert trade.pnl == sign * trade.quantity * (trade.exit_price - trade.entry_price) - trade.fees
        assert trade.exit_ms >= trade.entry_ms
        assert abs(trade.return_ * trade.quantity * trade.entry_price - trade.pnl) < D("1e-30")


async def test_the_view_and_the_function_agree(database: DatabaseTarget) -> None:
    ledger = busy_ledger()
    connection = await connect(database)
    try:
        await upsert_market(connection, market(MARKET))
        await records.upsert_book(connection, "paper", Book())
        await records.insert_decisions(connection, [item for item in ledger.records if isinstance(item, Decision)])
        await records.upsert_orders(connection, [item for item in ledger.records if isinstance(item, Order)])
        await records.insert_fills(connection, [item for item in ledger.records if isinstance(item, Fill)])
        rows = await connection.fetch(
            "select instance_id, interval, trade_no, direction, quantity, ms(entry_time), entry_price, ms(exit_time),"
            " exit_price, pnl, fees, closed from trades where book = 'paper' order by instance_id, trade_no"
        )
        stored = await records.read_fills(connection, "paper")
    finally:
        await connection.close()
    assert stored == ledger.fills()
    made = sorted(trades_from_fills(stored), key=lambda trade: (trade.instance_id, trade.trade_no))
    entry_fees = {(fill.instance_id, fill.trade_no): -fill.fee for fill in stored if fill.role == "entry"}
    assert [tuple(row) for row in rows] == [
        (
            trade.instance_id,
            trade.interval,
            trade.trade_no,
            trade.direction,
            trade.quantity,
            trade.entry_ms,
            trade.entry_price,
            trade.exit_ms,
            trade.exit_price,
            # The view counts the entry's fee of an open trade already; a Trade has no pnl before its exit.
            trade.pnl if trade.pnl is not None else entry_fees[trade.instance_id, trade.trade_no],
            trade.fees,
            trade.pnl is not None,
        )
        for trade in made
    ]
