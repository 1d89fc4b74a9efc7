"""What a strategy wants beside its target: exits, size, reasons, and the lots of one that holds several.

A plan travels inside the signal. Distances are prices in quote currency, measured from the price at which the entry is
filled; all of it is plain data, and goes through JSON unchanged.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["NO_PLAN", "Lot", "Plan"]


class Lot(NamedTuple):
    """One part of a position that a strategy means to hold, opened and closed by itself.

    ``opened_ms`` is the close time of the candle on which it was decided and ``place`` counts the lots of that candle
    from 0: together they name the lot within its instance, market and interval, and no name is ever used again. A lot
    is bought on the signal that closes at ``opened_ms`` and on no later one, so that one that was missed stays missed.
    A lot that later signals do not name any more is sold; one that an exit of its own has closed is not opened again.

    ``long`` is its side; all lots of one signal have the same. It costs ``quote`` in quote currency if that is above 0,
    else the share ``share`` of what the instance may put in. ``price`` is the close at which it was decided.
    """

    opened_ms: int = 0
    place: int = 0
    long: bool = True
    share: float = 1.0
    quote: float = 0.0
    price: float = 0.0
    stop_distance: float | None = None
    profit_distance: float | None = None

    @property
    def name(self) -> str:
        """The lot's name within its instance, market and interval."""
        return f"{self.opened_ms}-{self.place}"


class Plan(NamedTuple):
    """What a signal says beside its target. The default says nothing.

    ``stop_distance`` and ``profit_distance`` are those of an entry that this signal leads to. ``share`` is the share,
    above 0 and up to 1, of what the instance may put in. ``tag`` names the kind of trade and ``reasons`` say in short
    texts why. ``lots`` is every lot that is meant to be held now, oldest first; None from a strategy that holds one
    position. ``state`` is what a strategy with a state of its own goes on from at the next candle, without its lots.
    ``atr`` is the ATR of the candles decided on, a price, where the instance's exits are multiples of it. ``entry`` is
    the price at which an entry that this signal leads to is to be made; None: at the next open.
    """

    stop_distance: float | None = None
    profit_distance: float | None = None
    share: float = 1.0
    tag: str = ""
    reasons: tuple[str, ...] = ()
    lots: tuple[Lot, ...] | None = None
    state: tuple[int | float | bool, ...] | None = None
    atr: float | None = None
    entry: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What differs from a plan that says nothing, as JSON holds it."""
        return {
            name: value
            for name, value, default in zip(self._fields, self, self._field_defaults.values(), strict=True)
            if value != default
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """The plan that ``to_json`` told."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        if values.get("lots") is not None:
            values["lots"] = tuple(Lot(*lot) for lot in values["lots"])
        return cls(**values)


NO_PLAN: Final = Plan()
