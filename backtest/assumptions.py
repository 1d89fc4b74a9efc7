"""What a run took for granted, in sentences that its result and its report show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from backtest.reference import ReferenceResult
from backtest.requests import RunRequest
from backtest.sources import Source, span_of
from trading.accounts.records import Order
from trading.config.costs import Charges
from trading.config.model import StrategyInstance
from trading.intervals import MINUTE, MINUTE_MS
from trading.markets import split_market
from trading.strategies.registry import load_strategy

__all__ = ["assumptions_of", "ruin_words", "unfilled_words"]


def assumptions_of(request: RunRequest, sources: Sequence[Source]) -> list[str]:
    """The sentences of a run over ``sources``; what differs between its markets or instances names them."""
    lines = ["Decides at a candle's close; fills at the open of the first present minute after it."]
    for whose, charges in _charges(request):
        lines += _costs(request, whose, charges)
    if request.costs.order_latency_minutes:
        lines.append(f"Orders reach the venue {request.costs.order_latency_minutes} minutes after the decision.")
    lines += [*_entries(request, sources), *_candles(request, sources)]
    lines.append("The pessimistic twin pays twice the fee, slippage and funding.")
    return lines


def unfilled_words(orders: Iterable[Order]) -> list[str]:
    """How many of the entries that rested were not filled, and why; nothing where none rested."""
    rested = [order for order in orders if order.rests]
    ends = Counter(order.reason for order in rested if order.status in ("canceled", "rejected"))
    if not rested:
        return []
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(ends.items())) or "none"
    return [f"Of {len(rested)} entry orders that rested, {sum(ends.values())} were not filled: {told}."]


def ruin_words(result: ReferenceResult, sources: Sequence[Source]) -> list[str]:
    """That and when the run was ruined; nothing of one that was not."""
    if result.ruined_ms is None:
        return []
    least = min((source.market for source in sources), key=lambda market: market.min_notional)
    return [
        f"RUINED at {_time(result.ruined_ms)}: equity {result.equity.last:.2f} is below the least order of"
        f" {least.min_notional} {least.quote}; the run stopped there."
    ]


def _charges(request: RunRequest) -> list[tuple[str, Charges]]:
    """What each venue charges; its name stands before the sentences where venues differ."""
    venues = list(dict.fromkeys(split_market(name)[0] for name in request.traded))
    found = {venue: request.costs.of(venue) for venue in venues}
    if len(set(found.values())) == 1:
        return [("", found[venues[0]])]
    return [(f"{venue}: ", charges) for venue, charges in found.items()]


def _costs(request: RunRequest, whose: str, costs: Charges) -> list[str]:
    lines = [
        f"{whose}Taker fee {costs.taker_fee:.4%} of value, slippage {costs.slippage:.4%} of price, on every fill.",
        f"{whose}Targets wait at their price: maker fee {costs.maker_fee:.4%}, no slippage. Stops come first where a"
        " minute reached both; beyond a gap both fill at the open.",
    ]
    if costs.slippage_of_range:
        lines.append(f"{whose}Slippage is higher by {costs.slippage_of_range:.2%} of the minute's high less its low.")
    if costs.entry_share_of_volume is not None:
        lines.append(
            f"{whose}An entry gets at most {costs.entry_share_of_volume:.2%} of its minute's volume; exits fill whole."
        )
    if any(item.profile == "perp" for item in request.configured):
        lines.append(
            f"{whose}Funding {costs.funding_per_8h:.4%} of value each 8 h from long to short; liquidation at a"
            f" maintenance margin of {costs.maintenance_margin:.2%}."
        )
    return lines


def _entries(request: RunRequest, sources: Sequence[Source]) -> list[str]:
    lots = {source.market.key: f"{source.market.lot_size:f}" for source in sources}
    parts = sum(len(item.markets or request.traded) * len(item.intervals) for item in request.configured)
    lines = []
    if len(request.configured) > 1 or len(request.traded) > 1:
        lines.append(
            f"The capital is divided over {parts} parts, one for each instance, market and interval, by the instances'"
            " shares; each part trades its own."
        )
    sizes = [_size(item) for item in request.configured]
    rounded = f"; quantities are whole lots of {next(iter(lots.values()))}" if len(lots) == 1 else ""
    for item, size in list(zip(request.configured, sizes, strict=True))[: None if len(set(sizes)) > 1 else 1]:
        whose = f"{item.name}: " if len(set(sizes)) > 1 else ""
        lines.append(f"{whose}{size}{rounded}.")
    for item in request.configured:
        rules = item.entries
        if rules.order_type != "market":
            whose = f"{item.name}: " if len(request.configured) > 1 else ""
            pays = "maker fee, no slippage" if rules.order_type == "limit" else "taker fee and slippage"
            lines.append(
                f"{whose}Entries are {rules.order_type} orders {rules.offset_bps:f} bps from the decision's close for"
                f" {_count(rules.expires_candles)}; filled inside the first minute that reaches the price: {pays}."
            )
        elif load_strategy(item.strategy, item.params, item.source).entry is not None:
            whose = f"{item.name}: " if len(request.configured) > 1 else ""
            lines.append(
                f"{whose}Entries at a price of the strategy's own are limit or stop orders for"
                f" {_count(rules.expires_candles)}; filled inside the first minute that reaches the price: a limit for"
                " the maker fee without slippage, a stop for the taker fee with it."
            )
    if len(lots) > 1:
        told = ", ".join(f"{lot} on {name}" for name, lot in lots.items())
        lines.append(f"Quantities are whole lots of {told}.")
    return lines


def _count(candles: int) -> str:
    return "1 candle" if candles == 1 else f"{candles} candles"


def _size(item: StrategyInstance) -> str:
    """What an entry of ``item`` costs, which lots and a strategy's own sizing say for themselves."""
    share = "the whole equity" if item.size == 1 else f"{item.size:.2%} of the equity"
    strategy = load_strategy(item.strategy, item.params, item.source)
    if hasattr(strategy.start, "lots"):
        return f"Every lot costs what the strategy gives it: an amount, or a share of {share} times {item.leverage}"
    if strategy.sizing is not None:
        return f"Every entry uses the share that the strategy's sizing gives it of {share} times {item.leverage}"
    return f"Every entry uses {share} times {item.leverage}"


def _candles(request: RunRequest, sources: Sequence[Source]) -> list[str]:
    lines = []
    span = span_of(request, sources)
    for source in sources:
        whose, file = (f"{source.market.key}: ", "its") if len(sources) > 1 else ("", "The")
        if source.width != MINUTE:
            lines.append(
                f"{whose}{file} file holds {source.width} candles: what happened within one is known at its end."
            )
        if not source.known_market:
            what = "its" if whose else "The market's"
            lines.append(
                f"{whose}{what} rules are not known here: lots of 1e-8, no least order value, money in"
                f" {source.market.quote}."
            )
        first, last = source.candles[0].open_time_ms, source.candles[-1].close_time_ms
        if first >= span.from_ms + MINUTE_MS or last <= span.to_ms - MINUTE_MS:
            lines.append(
                f"{whose}its candles reach from {_time(first)} to {_time(last)}; before and after, nothing is traded"
                " there and what is held keeps its last price."
            )
    return lines


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
