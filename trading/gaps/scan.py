"""A scan of the last candles for gaps, with every window and what the detector says of it: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trading.candles import Candle
from trading.gaps.detector import GapMode, Seams, examine, windows
from trading.gaps.life import Change, Filled, Found, GapBook, GapKey, LiveGap, Touched
from trading.gaps.passes import Rules
from trading.gaps.texts import moment, price

__all__ = ["Scan", "scan_candles", "window_lines"]


@dataclass(frozen=True, slots=True)
class Scan:
    """``changes`` over ``candles``; gaps were looked for in the last ``bars`` of them, from ``detect_from_ms`` on."""

    candles: tuple[Candle, ...]
    changes: tuple[Change, ...]
    bars: int
    detect_from_ms: int

    @property
    def found(self) -> list[Found]:
        return [change for change in self.changes if isinstance(change, Found)]

    def end_of(self, key: GapKey) -> tuple[Touched | None, Filled | None]:
        """What became of the gap ``key`` within the scan."""
        touched = next((c for c in self.changes if isinstance(c, Touched) and c.key == key), None)
        return touched, next((c for c in self.changes if isinstance(c, Filled) and c.key == key), None)


def scan_candles(
    candles: Sequence[Candle],
    bars: int,
    mode: GapMode,
    rules: Rules,
    *,
    live: Iterable[LiveGap] = (),
    known: Iterable[GapKey] = (),
    seams: Seams | None = None,
) -> Scan:
    """Look at ``candles``, closed and ascending: for new gaps in the last ``bars`` of them, for the ends of ``live``
    ones in all. ``known`` are gaps that were filled before.
    """
    if not candles:
        return Scan((), (), 0, 0)
    detect_from_ms = candles[-min(bars, len(candles))].open_time_ms
    book = GapBook(
        mode, min_size=rules.min_size, only=rules.only, live=live, known=known, seams=seams,
        detect_from_ms=detect_from_ms,
    )  # fmt: skip
    changes = tuple(change for candle in candles for change in book.handle(candle))
    return Scan(tuple(candles), changes, min(bars, len(candles)), detect_from_ms)


def window_lines(
    scan: Scan, mode: GapMode, rules: Rules, timezone: str, seams: Seams | None = None
) -> Iterator[str]:  # fmt: skip
    """Each window of three candles that ends within the scan, and the detector's verdict on it."""
    for b1, b2, b3 in windows(scan.candles):
        if b3.open_time_ms < scan.detect_from_ms:
            continue
        verdict = examine(b1, b2, b3, mode, min_size=rules.min_size, seams=seams or Seams())
        yield f"{b3.market} {b3.interval} {mode} @{moment(b3.open_time_ms, timezone)}"
        for name, bar in (("b1", b1), ("b2", b2), ("b3", b3)):
            yield f"  {name} {moment(bar.open_time_ms, 'UTC')}  O {price(bar.open)} H {price(bar.high)} " + (
                f"L {price(bar.low)} C {price(bar.close)}" + ("" if bar.complete else "  not whole")
            )
        zone = verdict.zone
        said = f"{zone.type} gap {price(zone.low)} - {price(zone.high)}" if zone else verdict.reason
        if zone is not None and rules.only not in (None, zone.type):
            said += " (not wanted)"
        yield f"  → {said}"
