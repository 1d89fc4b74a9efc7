"""Execution of one book: fills first, then decisions. The same code trades on paper and in the reference backtest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext

from trading.accounts.books import MONEY, SleeveBook, SleeveSpec
from trading.accounts.decisions import Action, Outcome, actions_for, decision_id, decision_key, fill_id, order_id
from trading.accounts.fills import Execution, close_at, funding_boundaries, liquidation_price, open_at
from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, Record, SleeveKey, Transfer
from trading.candles import Candle, from_units
from trading.config.model import Book
from trading.errors import ConfigError
from trading.events import Signal, SignalStatus, Target
from trading.intervals import MINUTE
from trading.invariants import require
from trading.markets import Market

__all__ = ["ExecutionState"]

_ZERO = Decimal(0)


class _Sleeve:
    """One sleeve at work: its book, and the order that waits for the next open with the legs still to come."""

    __slots__ = ("book", "cause_ms", "decided_ms", "key", "legs", "order", "spec")

    def __init__(self, spec: SleeveSpec) -> None:
        self.spec = spec
        self.key = spec.key
        self.book = SleeveBook()
        self.order: Order | None = None
        self.legs: tuple[Action, ...] = ()
        # Open time of the newest decision, and of the one that the waiting order came from.
        self.decided_ms = -1
        self.cause_ms = -1


class ExecutionState:
    """All sleeves of one book. Pure: no clock, no I/O.

    Takes, in order, each market's closed 1m candles and after each the signals that close with it, and returns the
    records that follow, in order. Guarantees: the same items give the same records, however they were batched; a candle
    or signal that was handled is ignored when it comes again; cash moves only with a Fill or Transfer that is returned.
    Nothing here is durable: after a restart ``restore`` from the committed rows.

    ``suppressed`` names decisions, with outcome and reason, that are not to be acted on: a comparison gives those that
    a live run suppressed, so that all that follows can be compared.
    """

    def __init__(
        self,
        book_id: str,
        book: Book,
        sleeves: Sequence[SleeveSpec],
        markets: Iterable[Market],
        *,
        suppressed: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.book_id = book_id
        self._settings = book
        self._suppressed = dict(suppressed or {})
        self._costs = book.costs
        self._late_ms = round(book.late_after_s * 1000)
        self._sleeves = {spec.key: _Sleeve(spec) for spec in sleeves}
        self._markets = _tradable(book, {spec.market for spec in sleeves}, markets)
        self._by_market: dict[str, list[_Sleeve]] = {}
        for sleeve in self._sleeves.values():
            self._by_market.setdefault(sleeve.spec.market, []).append(sleeve)
        self._marks: dict[str, Decimal] = {}
        self._closed_ms: dict[str, int] = {}

    def restore(
        self,
        *,
        fills: Iterable[Fill],
        transfers: Iterable[Transfer],
        open_orders: Iterable[tuple[Order, Decision]],
        decided: Mapping[SleeveKey, int],
        last_candles: Iterable[Candle],
    ) -> None:
        """Continue from committed rows, given in order of time.

        ``open_orders`` are the intents without outcome, each with its decision. ``decided`` is the newest decision's
        open time of each sleeve, ``last_candles`` the last handled 1m candle of each market.
        """
        by_sleeve: dict[SleeveKey, tuple[list[Fill], list[Transfer]]] = {key: ([], []) for key in self._sleeves}
        for fill in fills:
            if fill.sleeve in by_sleeve:
                by_sleeve[fill.sleeve][0].append(fill)
        for transfer in transfers:
            if transfer.sleeve in by_sleeve:
                by_sleeve[transfer.sleeve][1].append(transfer)
        for key, (own_fills, own_transfers) in by_sleeve.items():
            self._sleeves[key].book = SleeveBook.rebuild(own_fills, own_transfers)
            self._sleeves[key].decided_ms = decided.get(key, -1)
        for order, decision in open_orders:
            sleeve = self._sleeves.get((order.instance_id, order.market, order.interval))
            if sleeve is not None:
                sleeve.order, sleeve.cause_ms = order, decision.open_ms
                sleeve.legs = tuple(Action(text) for text in decision.actions[order.leg + 1 :])
        for candle in last_candles:
            self._marks[candle.market] = from_units(candle.close)
            self._closed_ms[candle.market] = candle.close_time_ms

    def start(self) -> list[Transfer]:
        """The deposits that the sleeves begin with; none for sleeves that have theirs."""
        out = []
        for sleeve in self._sleeves.values():
            if not sleeve.book.deposited:
                deposit = self._transfer(sleeve, "deposit", sleeve.spec.deposit, sleeve.spec.live_from_ms)
                sleeve.book.apply_transfer(deposit)
                out.append(deposit)
        return out

    def handle(self, item: Candle | Signal, venue_now_ms: int | None = None) -> list[Record]:
        """What follows from one 1m candle or signal. ``venue_now_ms`` is the venue's time now, None in a backtest."""
        with localcontext(MONEY):
            if isinstance(item, Candle):
                return self._candle(item)
            return self._signal(item, venue_now_ms)

    def equities(self, market: str) -> list[tuple[SleeveKey, Decimal, bool]]:
        """Each sleeve of ``market`` with its equity at the last close, and whether it holds a position."""
        mark = self._marks.get(market)
        with localcontext(MONEY):
            return [
                (sleeve.key, sleeve.book.equity(mark), bool(sleeve.book.position))
                for sleeve in self._by_market.get(market, ())
            ]

    def positions(self, market: str) -> list[Position]:
        """Every sleeve of ``market`` as it stands at its last candle."""
        mark, at_ms = self._marks.get(market), self._closed_ms.get(market, 0)
        return [
            sleeve.book.record(self.book_id, sleeve.key, mark, max(at_ms, sleeve.spec.live_from_ms))
            for sleeve in self._by_market.get(market, ())
        ]

    def validate(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        for sleeve in self._sleeves.values():
            sleeve.book.validate()
            require(not sleeve.legs or sleeve.order is not None, sleeve.key, sleeve.legs)
            if sleeve.order is not None:
                require(sleeve.order.status == "intent", sleeve.order)
            if sleeve.spec.profile == "spot":
                require(sleeve.book.position >= 0 and sleeve.book.cash >= 0, sleeve.key, sleeve.book)

    def _candle(self, candle: Candle) -> list[Record]:
        market = candle.market
        before_ms = self._closed_ms.get(market, candle.open_time_ms)
        sleeves = self._by_market.get(market)
        if candle.close_time_ms <= before_ms or not sleeves or candle.interval != MINUTE.name:
            return []
        out: list[Record] = []
        close = from_units(candle.close)
        cash = value = _ZERO
        marked = False
        for sleeve in sleeves:
            if sleeve.spec.live_from_ms >= candle.close_time_ms:
                continue
            marked = True
            book = sleeve.book
            if book.position or sleeve.order is not None:
                self._trade(sleeve, candle, before_ms, out)
            cash += book.cash
            if book.position:
                value += book.position * close
        self._marks[market] = close
        self._closed_ms[market] = candle.close_time_ms
        if marked:
            out.append(EquityMark(self.book_id, market, candle.close_time_ms, cash, value, cash + value))
        return out

    def _trade(self, sleeve: _Sleeve, candle: Candle, before_ms: int, out: list[Record]) -> None:
        """At the open: funding on what was held, then the waiting orders. Inside the candle: liquidation."""
        if sleeve.book.position and sleeve.spec.profile == "perp":
            self._fund(sleeve, candle, before_ms, out)
        if sleeve.order is not None and candle.open_time_ms >= sleeve.order.created_ms:
            self._fill_legs(sleeve, candle, out)
        if sleeve.book.position and sleeve.spec.profile == "perp":
            self._liquidate(sleeve, candle, out)

    def _fund(self, sleeve: _Sleeve, candle: Candle, before_ms: int, out: list[Record]) -> None:
        for boundary_ms in funding_boundaries(before_ms, candle.open_time_ms):
            amount = -sleeve.book.position * from_units(candle.open) * self._costs.funding_per_8h
            if amount:
                transfer = self._transfer(sleeve, "funding", amount, boundary_ms)
                sleeve.book.apply_transfer(transfer)
                out.append(transfer)

    def _fill_legs(self, sleeve: _Sleeve, candle: Candle, out: list[Record]) -> None:
        open_price = from_units(candle.open)
        while (order := sleeve.order) is not None:
            sleeve.order = None
            action = Action(order.action)
            if action.opens:
                got = open_at(order.side, open_price, order.quote_amount or _ZERO, self._lot(order.market), self._costs)
                refusal = self._refusal(order, got)
            else:
                got, refusal = close_at(order.side, open_price, order.quantity or _ZERO, self._costs), ""
            if refusal:
                out.append(_settled(order, "rejected", None, candle.open_time_ms, refusal))
                sleeve.legs = ()
                return
            out.append(_settled(order, "filled", got.quantity, candle.open_time_ms))
            out.append(self._fill(sleeve, order, got, action.opens, "decision", candle.open_time_ms))
            if sleeve.legs:
                action, *rest = sleeve.legs
                sleeve.legs = tuple(rest)
                key = decision_key(self.book_id, *sleeve.key, sleeve.cause_ms)
                sleeve.order = self._order(sleeve, key, order.decision_id, order.leg + 1, action, candle.open_time_ms)
                out.append(sleeve.order)

    def _liquidate(self, sleeve: _Sleeve, candle: Candle, out: list[Record]) -> None:
        book = sleeve.book
        limit = liquidation_price(book, self._costs)
        if limit is None:
            return
        is_long = book.position > 0
        extreme, open_price = from_units(candle.low if is_long else candle.high), from_units(candle.open)
        if extreme > limit if is_long else extreme < limit:
            return
        reference = min(limit, open_price) if is_long else max(limit, open_price)
        action = Action.CLOSE_LONG if is_long else Action.CLOSE_SHORT
        got = close_at(action.side, reference, abs(book.position), self._costs)
        key = decision_key(self.book_id, *sleeve.key, candle.open_time_ms)
        order = self._order(sleeve, f"{key}|liquidation", None, 0, action, candle.open_time_ms)
        out.append(_settled(order, "filled", got.quantity, candle.open_time_ms, "liquidation"))
        out.append(self._fill(sleeve, order, got, False, "liquidation", candle.open_time_ms))

    def _signal(self, signal: Signal, venue_now_ms: int | None) -> list[Record]:
        sleeve = self._sleeves.get((signal.instance_id, signal.market, signal.interval))
        if sleeve is None or signal.open_time_ms <= sleeve.decided_ms:
            return []
        sleeve.decided_ms = signal.open_time_ms
        # A spot account cannot be short, whatever it is asked.
        only_flat = sleeve.spec.profile == "spot" and signal.target == Target.SHORT
        actions = actions_for(sleeve.book.position, Target.FLAT if only_flat else signal.target)
        key = decision_key(self.book_id, *sleeve.key, signal.open_time_ms)
        identity = decision_id(key)
        outcome, reason = self._judge(sleeve, signal, actions, venue_now_ms)
        if identity in self._suppressed:
            outcome, reason = Outcome(self._suppressed[identity][0]), self._suppressed[identity][1]
        decision = Decision(
            decision_id=identity,
            book=self.book_id,
            instance_id=signal.instance_id,
            market=signal.market,
            interval=signal.interval,
            open_ms=signal.open_time_ms,
            close_ms=signal.close_time_ms,
            actions=tuple(action.value for action in actions),
            target=signal.target,
            confidence=signal.confidence,
            outcome=outcome.value,
            reason=reason,
            price=from_units(signal.price),
            position_before=sleeve.book.position,
            features=signal.features,
            candle_revision=signal.candle_revision,
            received_ns=signal.received_ns,
        )
        if outcome is not Outcome.ACTED:
            return [decision]
        sleeve.order = self._order(sleeve, key, decision.decision_id, 0, actions[0], signal.close_time_ms)
        sleeve.legs, sleeve.cause_ms = actions[1:], signal.open_time_ms
        return [decision, sleeve.order]

    def _judge(
        self, sleeve: _Sleeve, signal: Signal, actions: tuple[Action, ...], venue_now_ms: int | None
    ) -> tuple[Outcome, str]:
        if signal.status == SignalStatus.WARMING:
            return Outcome.WARMING, f"warming {signal.warm_have}/{signal.warm_need}"
        if signal.status == SignalStatus.HOLE:
            return Outcome.HOLE, "candles are missing"
        if not actions:
            return Outcome.HOLD, ""
        late_ms = (venue_now_ms or 0) - signal.close_time_ms
        if late_ms > self._late_ms:
            return Outcome.LATE, f"decided {late_ms / 1000:.0f} s after the close"
        if sleeve.order is not None:
            return Outcome.RISK, f"order {sleeve.order.order_id} is still open"
        return Outcome.ACTED, ""

    def _order(self, sleeve: _Sleeve, key: str, decision: str | None, leg: int, action: Action, at_ms: int) -> Order:
        book, spec = sleeve.book, sleeve.spec
        opens = action.opens
        return Order(
            order_id=order_id(key, leg),
            decision_id=decision,
            leg=leg,
            book=self.book_id,
            instance_id=spec.instance_id,
            market=spec.market,
            interval=spec.interval,
            action=action.value,
            side=action.side,
            type="MARKET",
            quantity=None if opens else abs(book.position),
            # An opening leg is sent only when the sleeve is flat, so its equity is its cash.
            quote_amount=book.cash * spec.size * spec.leverage if opens else None,
            status="intent",
            reason="",
            created_ms=at_ms,
            updated_ms=at_ms,
        )

    def _fill(self, sleeve: _Sleeve, order: Order, got: Execution, opens: bool, reason: str, at_ms: int) -> Fill:
        book = sleeve.book
        pnl = -got.fee
        if not opens and book.entry_price is not None:
            gained = got.price - book.entry_price
            pnl += got.quantity * (gained if book.position > 0 else -gained)
        fill = Fill(
            fill_id=fill_id(order.order_id),
            order_id=order.order_id,
            book=self.book_id,
            instance_id=order.instance_id,
            market=order.market,
            interval=order.interval,
            trade_no=book.trade_no + 1 if opens else book.trade_no,
            role="entry" if opens else "exit",
            side=order.side,
            price=got.price,
            quantity=got.quantity,
            fee=got.fee,
            fee_asset=self._settings.currency,
            slippage=got.slippage,
            realized_pnl=pnl,
            reason=reason,
            time_ms=at_ms,
        )
        book.apply_fill(fill)
        return fill

    def _transfer(self, sleeve: _Sleeve, kind: str, amount: Decimal, at_ms: int) -> Transfer:
        spec = sleeve.spec
        name = "|".join((self.book_id, *sleeve.key, kind, str(at_ms)))
        return Transfer(
            name,
            self.book_id,
            spec.instance_id,
            spec.market,
            spec.interval,
            kind,
            amount,
            self._settings.currency,
            at_ms,
        )

    def _lot(self, market: str) -> Decimal:
        return self._markets[market].lot_size

    def _refusal(self, order: Order, got: Execution) -> str:
        least = self._markets[order.market].min_notional
        if (order.quote_amount or _ZERO) <= 0:
            return "no equity is left"
        if got.quantity <= 0:
            return f"{order.quote_amount} buys less than one lot of {self._lot(order.market)}"
        if got.quantity * got.price < least:
            return f"the order's value is below the venue's least of {least}"
        return ""


def _tradable(book: Book, wanted: Iterable[str], markets: Iterable[Market]) -> dict[str, Market]:
    """The markets by key; ConfigError if one is not known, or is not paid for in the book's currency."""
    known = {market.key: market for market in markets}
    for key in sorted(wanted):
        if key not in known:
            raise ConfigError(
                f"Nothing is known of market {key}.",
                field="markets",
                value=key,
                fix="Start its feed once, or check its name.",
            )
        if known[key].quote != book.currency:
            raise ConfigError(
                f"{key} is paid for in {known[key].quote}, but the book is counted in {book.currency}.",
                field="currency",
                value=book.currency,
                fix=f"Set the book's currency to {known[key].quote}, or trade the market in another book.",
            )
    return known


def _settled(order: Order, status: str, quantity: Decimal | None, at_ms: int, reason: str = "") -> Order:
    return replace(
        order,
        status=status,
        quantity=order.quantity if quantity is None else quantity,
        updated_ms=at_ms,
        reason=reason,
    )
