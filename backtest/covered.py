"""Whether candles cover the range that is asked for, and are of the past."""

from __future__ import annotations

from trading.errors import BadInput, DataHole
from trading.intervals import iso

__all__ = ["check_past", "uncovered"]


def uncovered(what: str, start_ms: int | None, end_ms: int | None, reach: tuple[int, int] | None) -> DataHole:
    """The error for a range without candles: it names the side that is wrong, and the range that there is.

    ``what`` is the market or file; ``reach`` is from when to when it has candles, None when it has none at all.
    """
    if reach is None:
        return DataHole(
            f"There are no candles of {what} yet.",
            field="market",
            value=what,
            fix="Fetch some with `manta data download`, or give --file.",
        )
    first, last = reach
    field, time_ms, where = "start", start_ms, "falls where there is none of"
    if end_ms is not None and end_ms <= first:
        field, time_ms, where = "end", end_ms, "is before the first of"
    elif start_ms is not None and start_ms >= last:
        where = "is after the last of"
    given = iso(time_ms) if time_ms is not None else None
    return DataHole(
        f"There are no candles in this range: {field} {given} {where} {what}.",
        field=field,
        value=given,
        fix=f"Choose times from {iso(first)} to {iso(last)}.",
    )


def check_past(last_close_ms: int, name: str, now_ms: int) -> None:
    """Raise BadInput when the last candle of the file ``name`` has not closed by ``now_ms``: nobody can know it."""
    if last_close_ms > now_ms:
        raise BadInput(
            f"{name} holds candles of the future: the last closes {iso(last_close_ms)}, and it is {iso(now_ms)} now.",
            field="file",
            value=name,
            fix="Its times are unix milliseconds, UTC: mend them, or this machine's clock.",
        )
