"""How each venue speaks: one module for each, over the same replay."""

from __future__ import annotations

import importlib

from trading.errors import BadInput
from trading.venues.simulator.dialect import Dialect

__all__ = ["VENUES", "dialect_of"]

VENUES = ("binance", "binance_usdm", "hyperliquid", "pionex")


def dialect_of(venue: str) -> type[Dialect]:
    """Return the dialect of ``venue``; raise BadInput if there is none."""
    if venue not in VENUES:
        raise BadInput(
            f"The simulator does not speak as {venue!r}.",
            field="venue",
            value=venue,
            fix=f"Choose one of {', '.join(VENUES)}.",
        )
    found: type[Dialect] = importlib.import_module(f"{__name__}.{venue}").DIALECT
    return found
