"""A slow reading of the rules of price gaps, word by word, that shares no code with the detector.

Also bars to feed both with.
"""

from hypothesis import strategies as st

from trading.candles import Candle
from trading.intervals import parse_interval

MARKET = "binance:BTCUSDT"
HOUR_MS = 3_600_000


def bar(n: int, o: int, h: int, low: int, c: int, *, interval: str = "1h", complete: bool = True) -> Candle:
    """The ``n``-th candle after 1970, prices in units."""
    width = parse_interval(interval).typical_ms
    return Candle(MARKET, interval, n * width, (n + 1) * width, o, h, low, c, 0, complete=complete)


@st.composite
def walks(draw: st.DrawFn, *, most: int = 40) -> list[Candle]:
    """Bars on a coarse grid of prices, so that edges meet often; now and then one is absent or not whole."""
    found = []
    for n in range(draw(st.integers(3, most))):
        low = draw(st.integers(1, 12))
        high = low + draw(st.integers(0, 5))
        first, last = draw(st.integers(low, high)), draw(st.integers(low, high))
        fate = draw(st.integers(0, 19))
        if fate:
            found.append(bar(n, first, high, low, last, complete=fate != 1))
    return found


def gap_of(b1: Candle, b2: Candle, b3: Candle, mode: str) -> tuple[str, int, int] | None:
    """(type, low, high) by the text of the specification."""
    if b2.open_time_ms != b1.close_time_ms or b3.open_time_ms != b2.close_time_ms:
        return None
    if not all(b.complete for b in (b1, b2, b3)):
        return None
    if mode == "b2dir":
        up, down = b2.close > b2.open and b3.low > b1.high, b2.close < b2.open and b3.high < b1.low
        below, above = (b1.high, b3.low), (b3.high, b1.low)
    elif mode == "open":
        up, down = b3.open > b2.high, b3.open < b2.low
        below, above = (b2.high, b3.open), (b3.open, b2.low)
    else:
        r1, r2, r3 = ((b.low, b.high) if mode == "strict" else tuple(sorted((b.open, b.close))) for b in (b1, b2, b3))
        overlap = max(r1[0], r2[0]) <= min(r1[1], r2[1])
        up, down = overlap and r3[0] > r2[1], overlap and r3[1] < r2[0]
        below, above = (r2[1], r3[0]), (r3[1], r2[0])
    return ("up", *below) if up else ("down", *above) if down else None


def lives(bars: list[Candle], mode: str) -> dict[tuple[int, str], tuple[int, int, int | None, int | None, int | None]]:
    """(low, high, touched, closed, price) of every gap by (start, type): for each gap all bars after it are read."""
    found = {}
    for at in range(2, len(bars)):
        gap = gap_of(bars[at - 2], bars[at - 1], bars[at], mode)
        if gap is None:
            continue
        kind, low, high = gap
        touched = closed = price = None
        for later in bars[at + 1 :]:
            if touched is None and later.low < high and later.high > low:
                touched = later.open_time_ms
            if later.low <= low if kind == "up" else later.high >= high:
                closed, price = later.open_time_ms, low if kind == "up" else high
                # Crossed without a trade inside is crossed all the same.
                touched = later.open_time_ms if touched is None else touched
                break
        found[bars[at].open_time_ms, kind] = (low, high, touched, closed, price)
    return found
