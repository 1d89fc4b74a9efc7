"""A report as one HTML page that stands alone: no script, no font, no picture, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any

from backtest.report.svg import distribution, lines, prices

__all__ = ["page_of", "page_style"]

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
        f"{_day(summary['start'])} to "
        f"{_day(summary['end'])} UTC{' · run ' + escape(run_id) if run_id else ''}</p>",
        _section("Figures", _tiles(summary, document["currency"])),
        _section("Parts of the capital", _parts(summary["parts"]), _DIVIDED) if several else "",
        _section("Instances", _instances(instances)) if several else "",
        _section(
            "Equity",
            lines(document["equity"], document["holding"]),
            "At the end of each UTC day. Dashed: "
            f"{'all markets, for the same money each,' if len(charts) > 1 else 'the market'} bought at the start and"
            " held, without costs.",
        ),
        _section("Drawdown", lines(document["drawdown"], percent=True, fill=True, height=160)),
        *(
            _section(
                f"Trades on the chart{f': {market}' if len(charts) > 1 else ''}",
                prices(bars, [trade for trade in document["trades"] if trade["market"] == market]),
                "From entry to exit: green gained, red lost; the triangle points up for long trades, down for short.",
            )
            for market, bars in charts.items()
        ),
        _section("Months", _months(document["months"])),
        _section("Distribution of trade returns", distribution(returns), "Net of fees and slippage."),
        _section("By group", "".join(_groups(name, by[name]) for name in _GROUPS if name in by)),
        _section("Assumptions", _list(summary["assumptions"])),
        _section("Trades", _trades(document["trades"], document["currency"], whose=several)),
        _section("Made of", _made_of(provenance)) if provenance else "",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{page_style()}</style></head><body>{''.join(body)}</body></html>"
    )


def page_style() -> str:
    """What stands within the page's only ``style`` element, for a server whose policy names it by its hash."""
    return files("backtest.report").joinpath("page.css").read_text("utf-8")


def _tiles(summary: dict[str, Any], currency: str) -> str:
    figures, twin = summary["metrics"], summary["pessimistic"]
    shown = [
        ("total return", _percent(figures["total_return"])),
        ("at twice the costs", _percent(twin["total_return"] if twin else None)),
        ("days", f"{figures['days']:,}"),
        ("CAGR", _percent(figures["cagr"])),
        ("volatility", _percent(figures["volatility"], signed=False)),
        ("Sharpe", _number(figures["sharpe"])),
        ("Sortino", _number(figures["sortino"])),
        ("Calmar", _number(figures["calmar"])),
        ("Omega", _number(figures["omega"])),
        ("max drawdown", _percent(-figures["max_drawdown"])),
        ("longest drawdown", _duration(figures["longest_drawdown_ms"])),
        ("Ulcer index", _percent(figures["ulcer_index"], signed=False)),
        ("trades", f"{figures['trades']:,}"),
        ("win rate", _percent(figures["win_rate"], signed=False)),
        ("payoff", _number(figures["payoff"])),
        ("profit factor", _number(figures["profit_factor"])),
        (f"expectancy, {currency}", _number(figures["expectancy"])),
        ("SQN", _number(figures["sqn"])),
        ("longest losing streak", f"{figures['longest_loss_streak']}"),
        ("mean duration", _duration(figures["mean_duration_ms"])),
        ("mean adverse excursion", _percent(figures["mean_adverse"], signed=False)),
        ("mean favourable excursion", _percent(figures["mean_favourable"], signed=False)),
        ("exposure", _percent(figures["exposure"], signed=False)),
        ("turnover a year", _number(figures["turnover"])),
        ("alpha a year", _percent(figures["alpha"])),
        ("beta", _number(figures["beta"])),
        (f"fees, {currency}", _number(figures["fees"])),
        (f"slippage, {currency}", _number(figures["slippage_cost"])),
        (f"funding, {currency}", _number(figures["funding"])),
        ("missing minutes", f"{summary['missing_minutes']:,}"),
    ]
    tiles = (f'<div class="tile"><span class="soft">{escape(name)}</span><b>{text}</b></div>' for name, text in shown)
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _months(months: dict[str, float | None]) -> str:
    years = sorted({month[:4] for month in months})
    rows = []
    for year in years:
        own = [months.get(f"{year}-{number:02d}") for number in range(1, 13)]
        whole = 1.0
        for value in own:
            whole *= 1 + (value or 0.0)
        rows.append([year, *map(_percent, own), _percent(whole - 1)])
    return _table(["", *_MONTHS, "year"], rows)


def _groups(name: str, group: dict[str, dict[str, Any]]) -> str:
    ordered = sorted(group.items(), key=lambda item: (_WEEKDAYS.index(item[0]) if name == "weekday" else 0, item[0]))
    rows = [
        [
            escape(key or "–"), f"{item['trades']:,}", _percent(item["win_rate"], signed=False),
            _number(item["profit_factor"]), _percent(item["expectancy_return"]), _number(item["net_profit"]),
        ]
        for key, item in ordered
    ]  # fmt: skip
    return _table([name, "trades", "win rate", "profit factor", "mean return", "net profit"], rows)


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
    return _table(["instance", "strategy", "markets", "intervals", "settings", "share"], rows)


def _parts(parts: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            escape(f"{item['instance']}"), escape(item["market"]), escape(item["interval"]),
            _percent(item["total_return"]), _percent(-item["max_drawdown"]), _number(item["sharpe"]),
            f"{item['trades']:,}", _percent(item["win_rate"], signed=False), _number(item["profit_factor"]),
            f"{float(item['final_equity']):,.2f}",
        ]
        for item in parts
    ]  # fmt: skip
    head = ["instance", "market", "interval", "total return", "max drawdown", "Sharpe", "trades", "win rate"]
    return _table([*head, "profit factor", "final equity"], rows)


def _trades(trades: Sequence[dict[str, Any]], currency: str, *, whose: bool) -> str:
    rows = [
        [
            *((escape(trade["instance"]), escape(trade["market"]), escape(trade["interval"])) if whose else ()),
            _time(trade["entry_ms"]), escape(trade["direction"].lower()), f"{float(trade['entry_price']):,.6g}",
            _time(trade["exit_ms"]) if trade["exit_ms"] is not None else "open",
            "–" if trade["exit_price"] is None else f"{float(trade['exit_price']):,.6g}",
            _percent(None if trade["return_"] is None else float(trade["return_"])),
            _number(None if trade["pnl"] is None else float(trade["pnl"])), escape(trade["exit_reason"]),
            escape(trade["tag"]),
        ]
        for trade in trades[-_TRADES_SHOWN:]
    ]  # fmt: skip
    head = ["entry", "side", "price", "exit", "price", "return", f"profit, {currency}", "reason", "tag"]
    head = [*(("instance", "market", "interval") if whose else ()), *head]
    note = f'<p class="soft">The last {_TRADES_SHOWN} of {len(trades):,}.</p>' if len(trades) > _TRADES_SHOWN else ""
    return note + _table(head, rows)


def _made_of(provenance: dict[str, Any]) -> str:
    rows = [[escape(name), escape(str(value))] for name, value in provenance.items() if value is not None]
    return _table(["", ""], rows) + '<p class="soft">`manta backtest reproduce` makes the run again and compares.</p>'


def _section(title: str, content: str, caption: str = "") -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<section><h2>{escape(title)}</h2><figure>{content}{below}</figure></section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    return f"<table><tr>{top}</tr>{''.join(_row(row) for row in rows)}</table>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _percent(value: float | None, *, signed: bool = True) -> str:
    if value is None:
        return "–"
    if not signed:
        return f"{value:.1%}"
    return f'<span class="{"up" if value > 0 else "down" if value < 0 else ""}">{value:+.2%}</span>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _duration(ms: int | None) -> str:
    if ms is None:
        return "–"
    hours = ms / 3_600_000
    return f"{hours / 24:,.1f} d" if hours >= 48 else f"{hours:,.1f} h"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _day(ms: int) -> str:
    return _time(ms)[:10]
