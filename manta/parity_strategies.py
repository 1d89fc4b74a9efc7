"""Every built-in strategy as an instance of one session, each on candles on which it has something to do in a month."""

from __future__ import annotations

from typing import Any

from trading.strategies.registry import STRATEGIES

__all__ = ["EVERY", "every_instance"]

EVERY = "all"
"""What is given in place of a strategy's name."""

# Several widths on one feed, and wide ones only where the features ask for little history.
_SESSION: dict[str, dict[str, Any]] = {
    "ma44": {"intervals": ["37m"]},
    "ma125": {"intervals": ["15m"]},
    "sma_cross": {"intervals": ["1h"]},
    "ema_cross": {"intervals": ["15m"]},
    "rsi_reversion": {"intervals": ["15m"]},
    "macd": {"intervals": ["15m"]},
    "bollinger": {"intervals": ["1h"]},
    "scalper": {"intervals": ["5m"]},
    "price_gap": {"intervals": ["5m"]},
    # It never sells by itself: with a profit to take its purchases become trades.
    "accumulate": {"intervals": ["15m"], "profile": "spot", "exits": {"take_profit_percent": "1"}},
    "dip": {"intervals": ["5m"], "profile": "spot"},
    "weighted": {"intervals": ["5m"], "params": {"threshold": 0.25}},
}


def every_instance(interval: str | None, profile: str | None) -> list[dict[str, Any]]:
    """What the configuration says of each: all on ``interval`` and of ``profile``, where those are given."""
    return [
        {
            "name": name,
            "strategy": name,
            "profile": profile or "perp",
            **_SESSION[name],
            **({"intervals": [interval]} if interval else {}),
            **({"profile": profile} if profile else {}),
        }
        for name in STRATEGIES
    ]
