"""Texts of strategies as a user would write them, and candles to ask them about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from trading.candles import UNIT, Candle
from trading.intervals import HOUR_MS

MARKET = "binance:BTCUSDT"

RULE = """
from typing import NamedTuple
from trading.parameters import Range
from trading.strategies.contract import FLAT, HOLD, LONG, SHORT
{imports}

class Params(NamedTuple):
    level: int = 100

RANGES = {{"level": Range(1, 1_000)}}

class Row(NamedTuple):
    close: float

def features(p):
    return {{}}

def warmup(p):
    return 1

def rule(now, prev, p):
{rule}
{more}
"""


def text(rule: str = "return LONG if now.close > p.level else SHORT", *, more: str = "", imports: str = "") -> str:
    """A strategy on the close alone with this rule."""
    body = "\n".join(f"    {line}" for line in dedent(rule).strip().splitlines())
    return RULE.format(imports=dedent(imports), rule=body, more=dedent(more))


PRICED = text(
    "return LONG if now.close > prev.close else SHORT if now.close < prev.close else HOLD",
    more="""
    def entry(now, p):
        shift = int(now.close * 100) % 3 - 1
        return None if shift == 0 else now.close * (1 + shift * p.level / 100_000)
    """,
)
"""Enters on this side of the close, on that, or at the next open, as the close has it."""


def stepping(state: str, step: str) -> str:
    """A strategy with these fields of State and this step."""
    whole = text("return HOLD")
    before, _, _ = whole.partition("def rule")
    fields = "\n".join(f"    {line}" for line in dedent(state).strip().splitlines())
    body = "\n".join(f"    {line}" for line in dedent(step).strip().splitlines())
    lots = "from trading.plan import Lot\n"
    return f"{before}\n{lots}\nclass State(NamedTuple):\n{fields}\n\ndef step(state, now, p):\n{body}\n"


def candle(number: int, close: float) -> Candle:
    """The ``number``-th hour, closing at ``close``."""
    price = round(close * UNIT)
    return Candle(MARKET, "1h", number * HOUR_MS, (number + 1) * HOUR_MS, price, price, price, price, UNIT)


def candles(closes: Sequence[float]) -> list[Candle]:
    return [candle(number, close) for number, close in enumerate(closes)]


def put(folder: Path, **sources: str) -> Path:
    """Write strategies into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder
