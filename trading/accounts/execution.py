"""Execution of one book: fills first, then decisions. The same code trades on paper and in the reference backtest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, TypeVar

from trading.accounts.books import MONEY, SleeveBook, SleeveSpec
from trading.accounts.broker import FINAL, OrderRequest, OrderStatus, OrderUpdate, VenueFill, request_of
from trading.accounts.capital import share_out
from trading.accounts.decisions import Action, LastDecision, Outcome, decision_id, decision_key, execution_of
from trading.accounts.fills import close_at, funding_boundaries, wait_at
from trading.accounts.guard import LIQUIDATION, Exit, adverse, overdue, see, targets
from trading.accounts.legs import Leg, legs_for, legs_of
from trading.accounts.records import (
    Decision,
    EquityMark,
    Fill,
    LotExtremes,
    Order,
    Position,
    Record,
    SleeveKey,
    Transfer,
)
from trading.accounts.removal import REMOVED, closing
from trading.accounts.resting import AT_OPEN, RESTS, Terms, terms_of, verdict
from trading.accounts.sleeve import Cause, Sleeve
from trading.accounts.writing import Writer, decision_of
from trading.candles import Candle, from_units, to_units
from trading.config.model import Book
from trading.errors import ConfigError
from trading.events import Signal, SignalStatus
from trading.intervals import MINUTE, MINUTE_MS
from trading.invariants import require
from trading.markets import Market

if TYPE_CHECKING:
    from trading.accounts.calm import Calm

__all__ = ["OVERTAKEN", "ExecutionState"]

OVERTAKEN = "an exit came first"
"""The reason of a closing order that was canceled because an exit closed its lots while it was on its way."""

_ZERO = Decimal(0)
S = TypeVar("S", Fill, Transfer, LotExtremes)


class ExecutionState:
    """All sleeves of one book. Pure: no clock, no I/O.

    For each of a market's closed 1m candles, in order: ``open`` it, ``apply`` what the venue says of orders at its
    open, ``close`` it; then ``decide`` on the signals that close with it. Each call returns the records that follow. An
    Order with status intent among them is the instruction to commit everything so far and then to place it.

    Guarantees: the same calls give the same records, however they were batched; a candle, signal or update that was
    handled is ignored when it comes again; cash moves only with a Fill or Transfer that is returned. Nothing here is
    durable: after a restart ``restore`` from the committed rows, which may end in the middle of a candle, after any
    commit. An Order with status canceling is the instruction to commit, and then to cancel it.

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
        self._write = Writer(book_id, book.currency)
        self._suppressed = dict(suppressed or {})
        self._late_ms = round(book.late_after_s * 1000)
        self._sleeves = {spec.key: Sleeve(spec) for spec in sleeves}
        self.markets = _tradable(book, {spec.market for spec in sleeves}, markets)
        self._charges = {key: book.costs.of(market.venue) for key, market in self.markets.items()}
        self._latency_ms = book.costs.order_latency_minutes * MINUTE_MS
        self._by_market: dict[str, list[Sleeve]] = {}
        for sleeve in self._sleeves.values():
            self._by_market.setdefault(sleeve.spec.market, []).append(sleeve)
        self._marks: dict[str, Decimal] = {}
        self._closed_ms: dict[str, int] = {}
        self._stale: dict[str, str] = {}
        # All that the book ever received, also through sleeves that are no more.
        self._deposited = _ZERO

    def restore(
        self,
        *,
        fills: Iterable[Fill],
        transfers: Iterable[Transfer],
        open_orders: Iterable[tuple[Order, Decision]],
        decided: Mapping[SleeveKey, LastDecision],
        last_candles: Iterable[Candle],
        extremes: Iterable[LotExtremes] = (),
    ) -> None:
        """Continue from committed rows, given in order of time.

        ``open_orders`` are the orders that are not finished, each with its decision. ``decided`` is the newest
        decision of each sleeve, ``last_candles`` the last candle of each market that was closed, ``extremes`` the
        newest of each trade.
        """
        own_fills, own_transfers = _by_sleeve(fills), _by_sleeve(transfers)
        for moved in own_transfers.values():
            self._deposited += sum((item.amount for item in moved if item.kind == "deposit"), _ZERO)
        for key, sleeve in self._sleeves.items():
            moved = own_transfers.get(key, [])
            sleeve.book = SleeveBook.rebuild(own_fills.get(key, ()), moved)
            sleeve.last = decided.get(key)
            sleeve.funded_ms = max((item.time_ms for item in moved if item.kind == "funding"), default=-1)
        for order, decision in open_orders:
            key = (order.instance_id, order.market, order.interval)
            if key in self._sleeves:
                self._restore_order(self._sleeves[key], order, decision, own_fills.get(key, ()))
        for key, seen in _by_sleeve(extremes).items():
            if key in self._sleeves:
                _restore_extremes(self._sleeves[key], seen)
        for candle in last_candles:
            self._marks[candle.market] = from_units(candle.close)
            self._closed_ms[candle.market] = candle.close_time_ms

    def start(self) -> list[Transfer]:
        """Deposits for sleeves that lack a part of their share, as far as the capital is not deposited yet."""
        wants = {sleeve: self._lacks(sleeve) for sleeve in self._sleeves.values() if not sleeve.spec.retired}
        with localcontext(MONEY):
            shares = share_out(self._settings.capital - self._deposited, list(wants.values()))
        out = []
        for sleeve, amount in zip(wants, shares, strict=True):
            if amount:
                at_ms = max(sleeve.spec.live_from_ms, self._closed_ms.get(sleeve.spec.market, 0))
                # A sleeve may be given more when capital is raised, perhaps at the same moment.
                number = sleeve.book.deposits
                note = str(number + 1) if number else ""
                deposit = self._write.transfer(
                    sleeve, "deposit", amount, at_ms if number else sleeve.spec.live_from_ms, note
                )
                sleeve.book.apply_transfer(deposit)
                self._deposited += amount
                out.append(deposit)
        return out

    def is_new(self, candle: Candle) -> bool:
        """Whether ``candle`` is the next of a market that is traded here; every other is to be skipped."""
        return (
            candle.interval == MINUTE.name
            and candle.market in self._by_market
            and candle.close_time_ms > self._closed_ms.get(candle.market, candle.open_time_ms)
        )

    def open(self, candle: Candle) -> list[Record]:
        """What happens at the open of ``candle`` before any fill: funding on what was held until then."""
        before_ms = self._closed_ms.get(candle.market, candle.open_time_ms)
        boundaries = funding_boundaries(before_ms, candle.open_time_ms)
        out: list[Record] = []
        if boundaries:
            with localcontext(MONEY):
                for sleeve in self._by_market[candle.market]:
                    if sleeve.book.position and sleeve.spec.profile == "perp":
                        self._fund(sleeve, candle, boundaries, out)
        return out

    def request(self, order: Order) -> OrderRequest:
        """What is sent to the venue for ``order``."""
        return request_of(order, self._latency_ms)

    def is_late_refusal(self, update: OrderUpdate) -> bool:
        """Whether the venue refused an order only when a later minute would have filled it."""
        if update.status != OrderStatus.REJECTED:
            return False
        orders = [order for order in self.working() if order.order_id == update.client_id]
        return any(update.updated_ms > self.request(order).placed_ms for order in orders)

    def due(self, candle: Candle) -> list[Order]:
        """The working orders of the candle's market that it may fill: the venue is asked about each."""
        waiting = [sleeve.order for sleeve in self._by_market.get(candle.market, ()) if sleeve.order is not None]
        return [order for order in waiting if order.created_ms + self._latency_ms <= candle.open_time_ms]

    def working(self, market: str | None = None) -> list[Order]:
        """Orders without final outcome: at the venue, or on their way there. Of a sleeve, one that is to be canceled
        comes before the one that takes its place.
        """
        sleeves = self._sleeves.values() if market is None else self._by_market.get(market, ())
        return [order for sleeve in sleeves for order in (sleeve.leaving, sleeve.order) if order is not None]

    def apply(self, update: OrderUpdate) -> list[Record]:
        """Take what the venue says of one order; repeats, old news and orders that are not ours change nothing."""
        for sleeve in self._sleeves.values():
            if sleeve.order is not None and sleeve.order.order_id == update.client_id:
                with localcontext(MONEY):
                    return self._apply(sleeve, sleeve.order, update)
            if sleeve.leaving is not None and sleeve.leaving.order_id == update.client_id:
                return self._leave(sleeve, sleeve.leaving, update)
        return []

    def close(self, candle: Candle) -> list[Record]:
        """Close what ``candle`` stopped, liquidated or brought to its target, then mark everything at its close."""
        market, out = candle.market, list[Record]()
        with localcontext(MONEY):
            for sleeve in self._by_market[market]:
                if sleeve.book.position and sleeve.spec.live_from_ms < candle.close_time_ms:
                    self._live_through(sleeve, candle, out)
            self.stand_at(market, candle.close_time_ms, candle.close)
            mark = self.mark(market, candle.close_time_ms, candle.close)
            if mark is not None:
                out.append(mark)
            for sleeve in self._by_market[market]:
                if sleeve.spec.retired:
                    self._wind_up(sleeve, candle, out)
        return out

    def mark(self, market: str, close_ms: int, close: int) -> EquityMark | None:
        """What the sleeves of ``market`` are worth at ``close`` (10**-8); None before any of them is live."""
        return next(iter(self.marks(market, [(close_ms, close)])), None)

    def marks(self, market: str, closes: Sequence[tuple[int, int]]) -> list[EquityMark]:
        """The same at each of ``closes`` (close time ms, price), if those that are live at the first do nothing between
        them, and no other comes alive.
        """
        live = [sleeve.book for sleeve in self._by_market[market] if sleeve.spec.live_from_ms < closes[0][0]]
        if not live:
            return []
        out = []
        with localcontext(MONEY):
            cash = sum((book.cash for book in live), _ZERO)
            held = [book.position for book in live if book.position]
            for close_ms, close in closes:
                price = from_units(close)
                value = sum((position * price for position in held), _ZERO)
                out.append(EquityMark(self.book_id, market, close_ms, cash, value, cash + value))
        return out

    def calm(self, market: str) -> Calm | None:
        """What the next minutes of ``market`` must keep to so that ``pass_over`` may take them; None: the next is not
        calm.
        """
        if market not in self._closed_ms:
            return None
        # Here, because NumPy is only for backtests: no actor loads it.
        from trading.accounts.calm import calm_of

        return calm_of(self._by_market[market], self._closed_ms[market], self._charges[market])

    def stand_at(self, market: str, close_ms: int, close: int) -> None:
        """Make ``close`` (10**-8) the newest price of ``market``: what comes before it is ignored from here on."""
        self._marks[market] = from_units(close)
        self._closed_ms[market] = close_ms

    def pass_over(self, market: str, highest: int, lowest: int) -> None:
        """Let calm minutes pass that reached from ``lowest`` to ``highest`` (10**-8): all that ``close`` would do, but
        for what it would write.
        """
        for sleeve in self._by_market[market]:
            for lot in sleeve.book.lots.values():
                lot.see(highest, lowest)

    def decide(self, signal: Signal, venue_now_ms: int | None = None) -> list[Record]:
        """The decision that follows from ``signal``, with its order if it acts.

        ``venue_now_ms`` is the venue's time now, None in a backtest.
        """
        with localcontext(MONEY):
            return self._signal(signal, venue_now_ms)

    def note_stale(self, market: str, reason: str) -> None:
        """Say why the data of ``market`` is stale; empty once it is fresh. Until then no target of it is acted on."""
        self._stale[market] = reason

    def equities(self, market: str) -> list[tuple[SleeveKey, Decimal, bool]]:
        """Each sleeve of ``market`` with its equity at the last close, and whether it holds a position."""
        mark = self._marks.get(market)
        with localcontext(MONEY):
            return [
                (sleeve.key, sleeve.book.equity(mark), bool(sleeve.book.position))
                for sleeve in self._by_market.get(market, ())
            ]

    def holdings(self, market: str) -> list[tuple[SleeveKey, Decimal, Decimal]]:
        """Each sleeve of ``market`` with its cash and its signed position."""
        return [(sleeve.key, sleeve.book.cash, sleeve.book.position) for sleeve in self._by_market.get(market, ())]

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
            require(sleeve.leaving is None or sleeve.leaving.status == OrderStatus.CANCELING, sleeve.leaving)
            require(not sleeve.legs or sleeve.order is not None, sleeve.key, sleeve.legs)
            if sleeve.order is not None:
                require(OrderStatus(sleeve.order.status) not in FINAL, sleeve.order)
            if sleeve.spec.profile == "spot":
                require(sleeve.book.position >= 0 and sleeve.book.cash >= 0, sleeve.key, sleeve.book)

    def _restore_order(self, sleeve: Sleeve, order: Order, decision: Decision, fills: Iterable[Fill]) -> None:
        if order.rests and order.status == OrderStatus.CANCELING:
            sleeve.leaving = order
            return
        sleeve.cause, sleeve.plan = Cause.of(decision), decision.plan
        legs = legs_of(decision)
        sleeve.work_on(order, legs[order.leg])
        # What was removed meanwhile gets no further leg.
        sleeve.legs = () if sleeve.spec.retired else legs[order.leg + 1 :]
        for fill in fills:
            if fill.order_id == order.order_id:
                number = execution_of(fill.fill_id)
                sleeve.executed[number] = sleeve.executed.get(number, _ZERO) + fill.quantity

    def _fund(self, sleeve: Sleeve, candle: Candle, boundaries: Iterable[int], out: list[Record]) -> None:
        book = sleeve.book
        for boundary_ms in boundaries:
            # After a restart within a candle: paid already, or on what was opened at this very candle.
            if boundary_ms <= sleeve.funded_ms:
                continue
            amount = -book.held_at(boundary_ms) * from_units(candle.open) * self._charges[candle.market].funding_per_8h
            if amount:
                transfer = self._write.transfer(sleeve, "funding", amount, boundary_ms)
                book.apply_transfer(transfer)
                sleeve.funded_ms = boundary_ms
                out.append(transfer)

    def _apply(self, sleeve: Sleeve, order: Order, update: OrderUpdate) -> list[Record]:
        out: list[Record] = []
        for fill in sorted(update.fills, key=lambda fill: fill.number):
            if fill.number not in sleeve.executed:
                if Action(order.action).opens:
                    out.append(self._write.entry(sleeve, order, fill, begins=not sleeve.executed))
                else:
                    out += self._write.exits(sleeve, order, fill, sleeve.dropped())
                sleeve.executed[fill.number] = fill.quantity
        executed = sum(sleeve.executed.values(), _ZERO)
        status = update.status
        if status in FINAL and executed < update.filled:
            # Not all executions are known: finished only when the venue was asked for the rest.
            status = OrderStatus.PARTIAL
        if status not in FINAL and executed:
            status = OrderStatus.PARTIAL
        if order.status == OrderStatus.CANCELING:
            return self._after_cancel(sleeve, order, status, out)
        if not out and status.rank <= OrderStatus(order.status).rank:
            return out
        quantity = order.quantity if order.quote_amount is None else executed or None
        sleeve.order = replace(
            order, status=status.value, quantity=quantity, reason=update.reason, updated_ms=update.updated_ms
        )
        out.append(sleeve.order)
        if status in FINAL:
            self._finish(sleeve, sleeve.order, update.updated_ms, out)
        return out

    def _after_cancel(self, sleeve: Sleeve, order: Order, status: OrderStatus, out: list[Record]) -> list[Record]:
        """What the venue says of an order that is to be canceled: our reason and the time of it stay."""
        if status not in FINAL:
            return out
        sleeve.order = replace(order, status=status.value)
        out.append(sleeve.order)
        left = sum((abs(lot.quantity) for lot in sleeve.dropped()), _ZERO)
        if status == OrderStatus.CANCELED and left and sleeve.leg is not None:
            # Its other lots are still to be closed: an order of what is left takes its place.
            key = decision_key(self.book_id, *sleeve.key, sleeve.cause.open_ms)
            at_ms = order.updated_ms + MINUTE_MS
            rest = self._order(sleeve, f"{key}|{at_ms}", order.decision_id, order.leg, sleeve.leg, at_ms)
            sleeve.work_on(rest, sleeve.leg)
            out.append(rest)
        else:
            self._finish(sleeve, sleeve.order, order.updated_ms, out, closed=status != OrderStatus.REJECTED)
        return out

    def _leave(self, sleeve: Sleeve, order: Order, update: OrderUpdate) -> list[Record]:
        """What the venue says of an entry that is to be canceled. It was told before the next minute, which alone could
        have filled it.
        """
        if update.status not in FINAL:
            return []
        require(not update.fills and not update.filled, order, update)
        sleeve.leaving = None
        return [replace(order, status=update.status.value)]

    def _finish(self, sleeve: Sleeve, order: Order, at_ms: int, out: list[Record], *, closed: bool = False) -> None:
        """The order is final: the next leg follows a filled one, or one whose lots an exit has ``closed``; after any
        other outcome there is none.
        """
        sleeve.work_on(None)
        legs, sleeve.legs = sleeve.legs, ()
        if legs and (closed or order.status == OrderStatus.FILLED):
            sleeve.legs = legs[1:]
            key = decision_key(self.book_id, *sleeve.key, sleeve.cause.open_ms)
            following = self._order(sleeve, key, order.decision_id, order.leg + 1, legs[0], at_ms)
            sleeve.work_on(following, legs[0])
            out.append(following)

    def _live_through(self, sleeve: Sleeve, candle: Candle, out: list[Record]) -> None:
        """What the prices within ``candle`` do to what is held."""
        leaving = [lot.number for lot in sleeve.dropped()] if sleeve.is_closing else []
        if (late := overdue(sleeve, candle)) is not None:
            self._force(sleeve, late, candle, out)
        while (hit := adverse(sleeve, candle, self._charges[candle.market])) is not None:
            self._force(sleeve, hit, candle, out)
        for reached in targets(sleeve, candle):
            self._force(sleeve, reached, candle, out)
        if any(number not in sleeve.book.lots for number in leaving):
            self._withdraw(sleeve, candle, out)
        out += [self._write.extremes(sleeve, lot, candle.close_time_ms) for lot in see(sleeve, candle)]

    def _force(self, sleeve: Sleeve, found: Exit, candle: Candle, out: list[Record]) -> None:
        """Close the lots of an exit that no decision made."""
        is_long = found.lots[0].is_long
        action = Action.CLOSE_LONG if is_long else Action.CLOSE_SHORT
        quantity = sum((abs(lot.quantity) for lot in found.lots), _ZERO)
        charges = self._charges[candle.market]
        if found.waited:
            got = wait_at(found.reference, quantity, charges)
        else:
            spread = from_units(candle.high - candle.low)
            got = close_at(action.side, found.reference, quantity, charges, spread=spread)
        key = decision_key(self.book_id, *sleeve.key, candle.open_time_ms)
        # A position is liquidated as a whole; any other exit is one trade's.
        name = found.reason if found.reason == LIQUIDATION else f"{found.reason}|{found.lots[0].number}"
        order = self._write.order(
            sleeve, f"{key}|{name}", None, 0, action, candle.open_time_ms, quantity=quantity,
            terms=Terms("LIMIT", None, None) if found.waited else AT_OPEN,
        )  # fmt: skip
        out.append(replace(order, status=OrderStatus.FILLED.value, reason=found.reason))
        out += self._write.exits(sleeve, order, VenueFill(1, *got, candle.open_time_ms), found.lots, found.reason)

    def _withdraw(self, sleeve: Sleeve, candle: Candle, out: list[Record]) -> None:
        """Cancel an order on its way that would close what an exit has just closed. As a forced exit does, it carries
        the candle's open time.
        """
        if sleeve.order is not None:
            sleeve.order = replace(
                sleeve.order, status=OrderStatus.CANCELING.value, reason=OVERTAKEN, updated_ms=candle.open_time_ms
            )
            out.append(sleeve.order)

    def _wind_up(self, sleeve: Sleeve, candle: Candle, out: list[Record]) -> None:
        """Close what a removed instance left open, if the book says so; hand on its cash once nothing is open. An entry
        that still rests is canceled.
        """
        if (resting := sleeve.resting) is not None:
            out.append(sleeve.withdraw(resting, REMOVED, candle.open_time_ms))
        if sleeve.order is not None or sleeve.leaving is not None:
            return
        if not sleeve.book.position:
            self._hand_on(sleeve, candle, out)
            return
        found = closing(self.book_id, sleeve, candle) if self._settings.on_removed == "close" else None
        if found is not None:
            decision = found.decision
            leg, sleeve.plan, sleeve.cause = Leg(found.action), decision.plan, Cause.of(decision)
            order = self._order(sleeve, found.key, decision.decision_id, 0, leg, candle.close_time_ms)
            sleeve.work_on(order, leg)
            sleeve.last = LastDecision.of(decision)
            out += [decision, order]

    def _hand_on(self, sleeve: Sleeve, candle: Candle, out: list[Record]) -> None:
        heirs = [item for item in self._by_market[candle.market] if not item.spec.retired]
        shares = share_out(sleeve.book.cash, [self._lacks(heir) for heir in heirs], all_of_it=True)
        for heir, amount in zip(heirs, shares, strict=True):
            if amount:
                for side, signed, other in ((sleeve, -amount, heir), (heir, amount, sleeve)):
                    moved = self._write.transfer(side, "transfer", signed, candle.close_time_ms, "|".join(other.key))
                    side.book.apply_transfer(moved)
                    out.append(moved)

    def _lacks(self, sleeve: Sleeve) -> Decimal:
        """What is missing of the sleeve's share of the book's capital."""
        return max(_ZERO, MONEY.subtract(sleeve.spec.deposit, sleeve.book.funded))

    def _signal(self, signal: Signal, venue_now_ms: int | None) -> list[Record]:
        sleeve = self._sleeves.get((signal.instance_id, signal.market, signal.interval))
        if sleeve is None or sleeve.spec.retired or signal.open_time_ms <= sleeve.decided_ms:
            return []
        legs, refusal = legs_for(sleeve.spec, sleeve.book, sleeve.last, signal)
        withdrawn: list[Record] = []
        if (resting := sleeve.resting) is not None:
            why = verdict(resting, sleeve.leg, signal, legs, refusal)
            if why:
                # As what an exit withdraws, it carries the open time of the minute at whose close that was decided.
                withdrawn.append(sleeve.withdraw(resting, why, signal.close_time_ms - MINUTE_MS))
            else:
                legs, refusal = (), RESTS if legs else refusal
        key = decision_key(self.book_id, *sleeve.key, signal.open_time_ms)
        identity = decision_id(key)
        outcome, reason = self._judge(sleeve, signal, legs, refusal, venue_now_ms)
        if identity in self._suppressed:
            outcome, reason = Outcome(self._suppressed[identity][0]), self._suppressed[identity][1]
        actions = [leg.action for leg in legs]
        decision = decision_of(
            identity, self.book_id, signal, actions, outcome.value, reason, sleeve.book.position
        )  # fmt: skip
        sleeve.last = LastDecision.of(decision)
        if outcome is not Outcome.ACTED:
            return [decision, *withdrawn]
        sleeve.plan, sleeve.cause, sleeve.legs = signal.plan, Cause.of(decision), legs[1:]
        order = self._order(sleeve, key, decision.decision_id, 0, legs[0], signal.close_time_ms)
        sleeve.work_on(order, legs[0])
        return [decision, *withdrawn, order]

    def _judge(
        self, sleeve: Sleeve, signal: Signal, legs: tuple[Leg, ...], refusal: str, venue_now_ms: int | None
    ) -> tuple[Outcome, str]:
        if signal.status == SignalStatus.WARMING:
            return Outcome.WARMING, f"warming {signal.warm_have}/{signal.warm_need}"
        if signal.status == SignalStatus.HOLE:
            return Outcome.HOLE, "candles are missing"
        if not legs:
            return Outcome.HOLD, refusal
        late_ms = (venue_now_ms or 0) - signal.close_time_ms
        if late_ms > self._late_ms:
            return Outcome.LATE, f"decided {late_ms / 1000:.0f} s after the close"
        if stale := self._stale.get(signal.market):
            return Outcome.STALE, f"the market is stale: {stale}"
        if sleeve.order is not None:
            return Outcome.RISK, f"order {sleeve.order.order_id} is still open"
        if sleeve.book.funded <= 0 and legs[-1].action.opens:
            return Outcome.RISK, "no capital: all of the book's is bound by other instances"
        return Outcome.ACTED, refusal

    def _order(self, sleeve: Sleeve, key: str, decision: str | None, leg: int, what: Leg, at_ms: int) -> Order:
        if what.action.opens:
            spec = sleeve.spec
            tick = self.markets[spec.market].tick_size
            terms = terms_of(spec.entries, spec.interval, tick, what.action, sleeve.cause, sleeve.plan.entry)
            return self._write.order(
                sleeve, key, decision, leg, what.action, at_ms, quote_amount=self._stake(sleeve, what), terms=terms
            )
        quantity = sum((abs(lot.quantity) for lot in sleeve.dropped()), _ZERO)
        return self._write.order(sleeve, key, decision, leg, what.action, at_ms, quantity=quantity)

    def _stake(self, sleeve: Sleeve, leg: Leg) -> Decimal:
        """What an opening leg may spend: its share of equity times size and leverage, less what is held already."""
        book, spec, mark = sleeve.book, sleeve.spec, self._marks.get(sleeve.spec.market)
        whole = book.equity(mark) * spec.size * spec.leverage
        lot = leg.lot
        if lot is None:
            return whole if sleeve.plan.share == 1 else whole * _exactly(sleeve.plan.share)
        wanted = _exactly(lot.quote) if lot.quote > 0 else whole * _exactly(lot.share)
        return min(wanted, whole - abs(book.position) * (mark or _ZERO))


def _by_sleeve(records: Iterable[S]) -> dict[SleeveKey, list[S]]:
    found: dict[SleeveKey, list[S]] = {}
    for record in records:
        found.setdefault(record.sleeve, []).append(record)
    return found


def _restore_extremes(sleeve: Sleeve, extremes: Iterable[LotExtremes]) -> None:
    for seen in extremes:
        if (lot := sleeve.book.lots.get(seen.trade_no)) is not None:
            lot.highest, lot.lowest = to_units(seen.highest), to_units(seen.lowest)


def _exactly(number: float) -> Decimal:
    return Decimal(str(float(number)))


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
