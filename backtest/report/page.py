"""A report as one HTML page that stands alone: no script, no font, no picture, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from backtest.report.markup import (
    bullets,
    day,
    document_page,
    duration,
    made_of,
    minute,
    number,
    percent,
    section,
    table,
    tiles,
)
from backtest.report.svg import distribution, lines, prices

__all__ = ["page_of"]

_TRADES_SHOWN = 500
_DIVIDED = "Each instance trades its share of the capital on each of its markets and intervals."
# What comes back from the database has lost its order.
_GROUPS = ("instance", "tag", "side", "market", "exit", "weekday", "hour")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def page_of(document: dict[str, Any], provenance: dict[str, Any] | None = None, run_id: str = "") -> str:
    """The page of a ``document``; ``provenance`` says what the run was made of."""
    summary = document["summary"]
    title = f"{document['strategy']} on {document['market']}"
    by = summary["metrics"]["by"]
    returns = [float(trade["return_"]) for trade in document["trades"] if trade["return_"] is not None]
    # Runs from before several could share a book have one strategy, one market and nothing more.
    instances = document.get("instances") or [{**document, "name": document["strategy"]}]
    charts = document.get("prices") or {document["market"]: document["bars"]}
    several = len(instances) > 1 or len(charts) > 1
    told = (
        f"{len(instances)} instance{'s' if len(instances) > 1 else ''}, {len(charts)} market"
        f"{'s' if len(charts) > 1 else ''}, one book"
        if several
        else _settings(instances[0])
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(", ".join(document["intervals"]))} · {escape(told)} · '
        f"{day(summary['start'])} to "
        f"{day(summary['end'])} UTC{' · run ' + escape(run_id) if run_id else ''}</p>",
        section("Figures", _tiles(summary, document["currency"])),
        section("Parts of the capital", _parts(summary["parts"]), _DIVIDED) if several else "",
        section("Instances", _instances(instances)) if several else "",
        section(
            "Equity",
            lines(document["equity"], document["holding"]),
            "At the end of each UTC day. Dashed: "
            f"{'all markets, for the same money each,' if len(charts) > 1 else 'the market'} bought at the start and"
            " held, without costs.",
        ),
        section("Drawdown", lines(document["drawdown"], percent=True, fill=True, height=160)),
        *(
            section(
                f"Trades on the chart{f': {market}' if len(charts) > 1 else ''}",
                prices(bars, [trade for trade in document["trades"] if trade["market"] == market]),
                "From entry to exit: green gained, red lost; the triangle points up for long trades, down for short.",
            )
            for market, bars in charts.items()
        ),
        section("Months", _months(document["months"])),
        section("Distribution of trade returns", distribution(returns), "Net of fees and slippage."),
        section("By group", "".join(_groups(name, by[name]) for name in _GROUPS if name in by)),
        section("Assumptions", bullets(summary["assumptions"])),
        section("Trades", _trades(document["trades"], document["currency"], whose=several)),
        section("Made of", _made_of(provenance)) if provenance else "",
    ]
    return document_page(title, body)


def _tiles(summary: dict[str, Any], currency: str) -> str:
    figures, twin = summary["metrics"], summary["pessimistic"]
    shown = [
        ("total return", percent(figures["total_return"])),
        ("at twice the costs", percent(twin["total_return"] if twin else None)),
        ("days", f"{figures['days']:,}"),
        ("CAGR", percent(figures["cagr"])),
        ("volatility", percent(figures["volatility"], signed=False)),
        ("Sharpe", number(figures["sharpe"])),
        ("Sortino", number(figures["sortino"])),
        ("Calmar", number(figures["calmar"])),
        ("Omega", number(figures["omega"])),
        ("max drawdown", percent(-figures["max_drawdown"])),
        ("longest drawdown", duration(figures["longest_drawdown_ms"])),
        ("Ulcer index", percent(figures["ulcer_index"], signed=False)),
        ("trades", f"{figures['trades']:,}"),
        ("win rate", percent(figures["win_rate"], signed=False)),
        ("payoff", number(figures["payoff"])),
        ("profit factor", number(figures["profit_factor"])),
        (f"expectancy, {currency}", number(figures["expectancy"])),
        ("SQN", number(figures["sqn"])),
        ("longest losing streak", f"{figures['longest_loss_streak']}"),
        ("mean duration", duration(figures["mean_duration_ms"])),
        ("mean adverse excursion", percent(figures["mean_adverse"], signed=False)),
        ("mean favourable excursion", percent(figures["mean_favourable"], signed=False)),
        ("exposure", percent(figures["exposure"], signed=False)),
        ("turnover a year", number(figures["turnover"])),
        ("alpha a year", percent(figures["alpha"])),
        ("beta", number(figures["beta"])),
        (f"fees, {currency}", number(figures["fees"])),
        (f"slippage, {currency}", number(figures["slippage_cost"])),
        (f"funding, {currency}", number(figures["funding"])),
        ("missing minutes", f"{summary['missing_minutes']:,}"),
    ]
    return tiles(shown)


def _months(months: dict[str, float | None]) -> str:
    years = sorted({month[:4] for month in months})
    rows = []
    for year in years:
        own = [months.get(f"{year}-{number:02d}") for number in range(1, 13)]
        whole = 1.0
        for value in own:
            whole *= 1 + (value or 0.0)
        rows.append([year, *map(percent, own), percent(whole - 1)])
    return table(["", *_MONTHS, "year"], rows)


def _groups(name: str, group: dict[str, dict[str, Any]]) -> str:
    ordered = sorted(group.items(), key=lambda item: (_WEEKDAYS.index(item[0]) if name == "weekday" else 0, item[0]))
    rows = [
        [
            escape(key or "–"), f"{item['trades']:,}", percent(item["win_rate"], signed=False),
            number(item["profit_factor"]), percent(item["expectancy_return"]), number(item["net_profit"]),
        ]
        for key, item in ordered
    ]  # fmt: skip
    return table([name, "trades", "win rate", "profit factor", "mean return", "net profit"], rows)


def _settings(instance: dict[str, Any]) -> str:
    params = ", ".join(f"{name} {value:g}" for name, value in instance["params"].items()) or "default parameters"
    return f"{params} · {instance['profile']}, leverage {instance['leverage']}"


def _instances(instances: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            escape(item["name"]), escape(item["strategy"]), escape(", ".join(item["markets"])),
            escape(", ".join(item["intervals"])), escape(_settings(item)), escape(f"{item['share']}"),
        ]
        for item in instances
    ]  # fmt: skip
    return table(["instance", "strategy", "markets", "intervals", "settings", "share"], rows)


def _parts(parts: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            escape(f"{item['instance']}"), escape(item["market"]), escape(item["interval"]),
            percent(item["total_return"]), percent(-item["max_drawdown"]), number(item["sharpe"]),
            f"{item['trades']:,}", percent(item["win_rate"], signed=False), number(item["profit_factor"]),
            f"{float(item['final_equity']):,.2f}",
        ]
        for item in parts
    ]  # fmt: skip
    head = ["instance", "market", "interval", "total return", "max drawdown", "Sharpe", "trades", "win rate"]
    return table([*head, "profit factor", "final equity"], rows)


def _trades(trades: Sequence[dict[str, Any]], currency: str, *, whose: bool) -> str:
    rows = [
        [
            *((escape(trade["instance"]), escape(trade["market"]), escape(trade["interval"])) if whose else ()),
            minute(trade["entry_ms"]), escape(trade["direction"].lower()), f"{float(trade['entry_price']):,.6g}",
            minute(trade["exit_ms"]) if trade["exit_ms"] is not None else "open",
            "–" if trade["exit_price"] is None else f"{float(trade['exit_price']):,.6g}",
            percent(None if trade["return_"] is None else float(trade["return_"])),
            number(None if trade["pnl"] is None else float(trade["pnl"])), escape(trade["exit_reason"]),
            escape(trade["tag"]),
        ]
        for trade in trades[-_TRADES_SHOWN:]
    ]  # fmt: skip
    head = ["entry", "side", "price", "exit", "price", "return", f"profit, {currency}", "reason", "tag"]
    head = [*(("instance", "market", "interval") if whose else ()), *head]
    note = f'<p class="soft">The last {_TRADES_SHOWN} of {len(trades):,}.</p>' if len(trades) > _TRADES_SHOWN else ""
    return note + table(head, rows)


def _made_of(provenance: dict[str, Any]) -> str:
    return made_of(provenance) + '<p class="soft">`manta backtest reproduce` makes the run again and compares.</p>'
