"""What every page is written with: the document around it, sections, tables, and figures as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

__all__ = [
    "bullets",
    "day",
    "document_page",
    "duration",
    "made_of",
    "minute",
    "number",
    "page_style",
    "percent",
    "section",
    "table",
    "tiles",
]


def document_page(title: str, body: Iterable[str]) -> str:
    """A whole page that stands alone; ``body`` is markup already."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{page_style()}</style></head><body>{''.join(body)}</body></html>"
    )


def page_style() -> str:
    """What stands within the page's only ``style`` element, for a server whose policy names it by its hash."""
    return files("backtest.report").joinpath("page.css").read_text("utf-8")


def tiles(shown: Iterable[tuple[str, str]]) -> str:
    """Figures side by side: the name of each, which is text, and its value, which is markup."""
    each = (f'<div class="tile"><span class="soft">{escape(name)}</span><b>{text}</b></div>' for name, text in shown)
    return f'<div class="tiles">{"".join(each)}</div>'


def section(title: str, content: str, caption: str = "") -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<section><h2>{escape(title)}</h2><figure>{content}{below}</figure></section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    return f"<table><tr>{top}</tr>{''.join(_row(row) for row in rows)}</table>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def bullets(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def made_of(provenance: Mapping[str, object]) -> str:
    """What a run was made of, as a table; the times of its first and last candle are for people."""

    def shown(name: str, value: object) -> str:
        return f"{minute(value)} UTC" if name in ("first", "last") and isinstance(value, int) else str(value)

    return table(
        ["", ""],
        [[escape(name), escape(shown(name, value))] for name, value in provenance.items() if value is not None],
    )


def percent(value: float | None, *, signed: bool = True) -> str:
    if value is None:
        return "–"
    if not signed:
        return f"{value:.1%}"
    return f'<span class="{"up" if value > 0 else "down" if value < 0 else ""}">{value:+.2%}</span>'


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def duration(ms: int | None) -> str:
    if ms is None:
        return "–"
    hours = ms / 3_600_000
    return f"{hours / 24:,.1f} d" if hours >= 48 else f"{hours:,.1f} h"


def minute(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def day(ms: int) -> str:
    return minute(ms)[:10]
