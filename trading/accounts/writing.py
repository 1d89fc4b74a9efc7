"""How a book's orders, fills and transfers are written: names that happen once, and what an entry or exit says."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from trading.accounts.broker import VenueFill
from trading.accounts.decisions import Action, fill_id, order_id
from trading.accounts.lots import HeldLot, shared
from trading.accounts.records import Decision, Fill, LotExtremes, Order, Transfer
from trading.accounts.resting import AT_OPEN, Terms
from trading.accounts.sleeve import Sleeve
from trading.candles import from_units
from trading.events import Signal
from trading.plan import Plan

__all__ = ["Writer", "decision_of"]

_ZERO = Decimal(0)
# Finer than any exact fee, so that rounding touches the parts of one alone.
_PART = Decimal("1e-22")
_DISTANCE = Decimal("1e-8")


def decision_of(
    identity: str, book: str, signal: Signal, actions: Sequence[Action], outcome: str, reason: str, position: Decimal
) -> Decision:
    """The decision that ``signal`` leads to."""
    return Decision(
        decision_id=identity,
        book=book,
        instance_id=signal.instance_id,
        market=signal.market,
        interval=signal.interval,
        open_ms=signal.open_time_ms,
        close_ms=signal.close_time_ms,
        actions=tuple([action.value for action in actions]),
        target=signal.target,
        confidence=signal.confidence,
        outcome=outcome,
        reason=reason,
        price=from_units(signal.price),
        position_before=position,
        features=signal.features,
        candle_revision=signal.candle_revision,
        received_ns=signal.received_ns,
        plan=signal.plan,
    )


class Writer:
    """Writes for one book. Money is counted in ``currency``."""

    def __init__(self, book: str, currency: str) -> None:
        self._book = book
        self._currency = currency

    def order(  # noqa: PLR0913 - what an order is
        self,
        sleeve: Sleeve,
        key: str,
        decision: str | None,
        leg: int,
        action: Action,
        at_ms: int,
        *,
        quantity: Decimal | None = None,
        quote_amount: Decimal | None = None,
        terms: Terms = AT_OPEN,
    ) -> Order:
        spec = sleeve.spec
        return Order(
            order_id=order_id(key, leg),
            decision_id=decision,
            leg=leg,
            book=self._book,
            instance_id=spec.instance_id,
            market=spec.market,
            interval=spec.interval,
            action=action.value,
            side=action.side,
            type=terms.type,
            quantity=quantity,
            quote_amount=quote_amount,
            status="intent",
            reason="",
            created_ms=at_ms,
            updated_ms=at_ms,
            price=terms.price,
            expires_ms=terms.expires_ms,
        )

    def entry(self, sleeve: Sleeve, order: Order, got: VenueFill, *, begins: bool) -> Fill:
        """An execution that opens a trade, or goes on opening the newest, and moves the sleeve's book."""
        plan, exits = sleeve.plan, sleeve.spec.exits
        lot = sleeve.leg.lot if sleeve.leg is not None else None
        stop, target = (
            (plan.stop_distance, plan.profit_distance) if lot is None else (lot.stop_distance, lot.profit_distance)
        )
        return self._fill(
            sleeve,
            order,
            got,
            trade_no=sleeve.book.trade_no + 1 if begins else sleeve.book.trade_no,
            realized=-got.fee,
            reason="decision" if order.type == "MARKET" else order.type.lower(),
            stop_distance=_in_atr(exits.stop_loss_atr, plan) or _distance(stop),
            target_distance=_in_atr(exits.take_profit_atr, plan) or _distance(target),
            trail_distance=_in_atr(exits.trailing_stop_atr, plan),
            lot="" if lot is None else lot.name,
            tag=plan.tag,
        )

    def exits(
        self, sleeve: Sleeve, order: Order, got: VenueFill, lots: Sequence[HeldLot], reason: str = "decision"
    ) -> list[Fill]:
        """An execution that closes ``lots``, oldest first: a fill for each, which move the sleeve's book."""
        out = []
        fee = slippage = _ZERO
        parts = shared(lots, got.quantity)
        for place, (lot, quantity) in enumerate(parts, 1):
            last = place == len(parts)
            own = VenueFill(
                got.number,
                got.price,
                quantity,
                got.fee - fee if last else (got.fee * quantity / got.quantity).quantize(_PART),
                got.slippage - slippage if last else (got.slippage * quantity / got.quantity).quantize(_PART),
                got.time_ms,
            )
            fee, slippage = fee + own.fee, slippage + own.slippage
            signed = quantity if order.side == "BUY" else -quantity
            highest, lowest = lot.range_with(got.price)
            out.append(
                self._fill(
                    sleeve,
                    order,
                    own,
                    part=place,
                    trade_no=lot.number,
                    realized=-own.fee - signed * got.price - lot.released(quantity),
                    reason=reason,
                    lot=lot.name,
                    highest=highest,
                    lowest=lowest,
                )
            )
        return out

    def transfer(self, sleeve: Sleeve, kind: str, amount: Decimal, at_ms: int, note: str = "") -> Transfer:
        spec = sleeve.spec
        name = "|".join((self._book, *sleeve.key, kind, str(at_ms), *([note] if note else [])))
        return Transfer(
            name, self._book, spec.instance_id, spec.market, spec.interval, kind, amount, self._currency, at_ms
        )

    def extremes(self, sleeve: Sleeve, lot: HeldLot, at_ms: int) -> LotExtremes:
        return LotExtremes(
            self._book, *sleeve.key, lot.number, at_ms, from_units(lot.highest or 0), from_units(lot.lowest or 0)
        )

    def _fill(
        self,
        sleeve: Sleeve,
        order: Order,
        got: VenueFill,
        *,
        trade_no: int,
        realized: Decimal,
        reason: str,
        part: int = 1,
        **told: str | Decimal | None,
    ) -> Fill:
        fill = Fill(
            fill_id=fill_id(order.order_id, got.number, part),
            order_id=order.order_id,
            book=self._book,
            instance_id=order.instance_id,
            market=order.market,
            interval=order.interval,
            trade_no=trade_no,
            role="entry" if Action(order.action).opens else "exit",
            side=order.side,
            price=got.price,
            quantity=got.quantity,
            fee=got.fee,
            fee_asset=self._currency,
            slippage=got.slippage,
            realized_pnl=realized,
            reason=reason,
            time_ms=got.time_ms,
            **told,  # type: ignore[arg-type]
        )
        sleeve.book.apply_fill(fill)
        return fill


def _in_atr(times: Decimal | None, plan: Plan) -> Decimal | None:
    """So many times the plan's ATR, as a distance; None where neither is there."""
    if times is None or plan.atr is None:
        return None
    return max(_DISTANCE, (times * Decimal(str(plan.atr))).quantize(_DISTANCE))


def _distance(distance: float | None) -> Decimal | None:
    return None if distance is None else Decimal(str(float(distance))).quantize(_DISTANCE)
