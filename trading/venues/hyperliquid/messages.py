"""Hyperliquid's candle frames and candleSnapshot rows, checked at the door. Nothing here raises on what it may send.

A frame is the whole candle so far and looks the same whether it is the last one or not: what closes a candle is a frame
with a later open time. Prices and sizes are decimal strings; close times become exclusive.
"""

from __future__ import annotations

import json
import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from trading.candles import UNIT, Candle, Source, check_candle, to_units
from trading.errors import BadInput
from trading.feed_events import Anomaly
from trading.intervals import HOUR_MS, parse_interval
from trading.venues.adapter import Forming, Message, Rows
from trading.venues.rows import read_rows

__all__ = ["CandleReader", "RowReader"]

_DETAIL_CHARS = 200
_DECIMAL = re.compile(r"-?[0-9]{1,24}(\.[0-9]{1,24})?")
_YEAR_9999_MS = 253_370_764_800_000
_LARGEST = 2**63 - 1
_UNREAD = (Forming(),)
# What the venue says in plain text when a socket opens.
_GREETING = "Websocket connection established"


class CandleReader:
    """Reads the frames of one market's 1m candles on one connection.

    Guarantees: a candle is told as closed once, with the last frame that was seen of it, when a frame with a later open
    time arrives; one whose last frame a broken message may have been is left to REST. A frame that jumps an hour ahead
    is not believed before the next one bears it out. A frame for a minute before is told as closed again, whatever it
    says: it is a revision, and who knows what was told before compares. What was seen of a candle ends with the
    connection.
    """

    def __init__(self, market: str, symbol: str) -> None:
        self._rows = RowReader(market, symbol, "1m")
        self._market = market
        self._forming: Candle | None = None
        self._doubted: Candle | None = None
        self._is_hidden = False

    def read(self, raw: str | bytes, received_ns: int, *, want_forming: bool = True) -> tuple[Message, ...]:
        """What one text message means: empty for answers to commands and for the greeting."""
        if isinstance(raw, str) and raw.startswith(_GREETING):
            return ()
        try:
            message = json.loads(raw)
        except (ValueError, RecursionError) as error:
            return self._hidden(self._anomaly("malformed", f"{error}: {_excerpt(raw)}"))
        if not isinstance(message, dict):
            return self._hidden(self._anomaly("malformed", f"not an object: {_excerpt(raw)}"))
        match message.get("channel"):
            case "candle":
                return self._frame(message.get("data"), received_ns, want_forming=want_forming)
            case "pong":
                return _UNREAD
            case "subscriptionResponse":
                return ()
            case "error":
                return (self._anomaly("server_error", _excerpt(message.get("data"))),)
        return (self._anomaly("unknown", _excerpt(raw)),)

    def _frame(self, data: object, received_ns: int, *, want_forming: bool) -> tuple[Message, ...]:
        read = self._rows.candle(data, Source.LIVE, received_ns)
        if isinstance(read, Anomaly):
            return self._hidden(read)
        known, doubted, self._doubted = self._forming, self._doubted, None
        ahead_ms = 0 if known is None else read.open_time_ms - known.open_time_ms
        if ahead_ms > HOUR_MS and (doubted is None or doubted.open_time_ms != read.open_time_ms):
            # One frame alone may be broken and tell any time: the next one must say the same.
            self._doubted = read
            return self._hidden(self._future(read))
        if known is not None and ahead_ms < -HOUR_MS:
            self._forming = read
            return (self._future(known),)
        if known is not None and ahead_ms < 0:
            return (read,)
        self._forming = read
        forming = Forming(read._replace(received_ns=0)) if want_forming else _UNREAD[0]
        hidden, self._is_hidden = self._is_hidden, False
        if known is None or known.open_time_ms == read.open_time_ms:
            return (forming,)
        if hidden:
            return (forming,)
        return known._replace(received_ns=received_ns), forming

    def _hidden(self, anomaly: Anomaly) -> tuple[Message, ...]:
        """A broken frame may have been the last of its candle: what was seen of it before is not the candle."""
        self._is_hidden = True
        return (anomaly,)

    def _future(self, candle: Candle) -> Anomaly:
        detail = "an hour or more ahead of the frames around it"
        return Anomaly(self._market, "future", detail, candle.open_time_ms, candle.close_time_ms)

    def _anomaly(self, reason: str, detail: str) -> Anomaly:
        return Anomaly(self._market, reason, detail[:_DETAIL_CHARS])


class RowReader:
    """Reads candles of one market and interval, whether from a frame or from a candleSnapshot answer."""

    def __init__(self, market: str, symbol: str, interval: str) -> None:
        self._market = market
        self._symbol = symbol
        self._interval = interval
        self._width = parse_interval(interval)

    def rows(self, rows: list[Any]) -> Rows:
        """Read one candleSnapshot answer, the open candle included; rows must ascend."""
        source = Source.REST if self._interval == "1m" else Source.NATIVE
        return read_rows(rows, lambda row: self.candle(row, source, 0), self._out_of_order)

    def _out_of_order(self, row: object, candle: Candle) -> Anomaly:
        return self._anomaly("out_of_order", f"row {_excerpt(row)}", candle.open_time_ms)

    def candle(self, row: object, source: Source, received_ns: int) -> Candle | Anomaly:
        """The candle that ``row`` describes, or what is wrong with it."""
        if not isinstance(row, dict):
            return self._anomaly("malformed", f"no candle: {_excerpt(row)}")
        if row.get("s") != self._symbol:
            return self._anomaly("wrong_symbol", f"{_excerpt(row.get('s'))} for {self._symbol}")
        if row.get("i") != self._interval:
            return self._anomaly("wrong_interval", f"{_excerpt(row.get('i'))} for {self._interval}")
        opened, last_ms, trades = row.get("t"), row.get("T"), row.get("n")
        if type(opened) is not int or type(last_ms) is not int or type(trades) is not int:
            return self._anomaly("malformed", f"times {opened!r}..{last_ms!r}, trades {trades!r}")
        opens_ms = self._width.open_of(opened) if 0 <= opened < _YEAR_9999_MS else None
        if opens_ms != opened or last_ms != self._width.close_of(opened) - 1:
            return self._anomaly("unaligned", f"times {opened}..{last_ms}", opens_ms)
        try:
            o, h, low, c = [_price(row.get(key)) for key in ("o", "h", "l", "c")]
            v = _volume(row.get("v"))
        except BadInput as error:
            reason = "too_fine" if "finer" in error.message else "malformed"
            return self._anomaly(reason, error.message, opened)
        close_ms = self._width.close_of(opened)
        candle = Candle(
            self._market,
            self._interval,
            opened,
            close_ms,
            o,
            h,
            low,
            c,
            v,
            trade_count=trades,
            source=source.value,
            received_ns=received_ns,
        )
        wrong = check_candle(candle)
        if wrong is None and trades < 0:
            wrong = f"there are {trades} trades"
        elif wrong is None and max(h, v, trades) > _LARGEST:
            wrong = f"price or volume is larger than {_LARGEST // UNIT}"
        return candle if wrong is None else self._anomaly("insane", wrong, opened)

    def _anomaly(self, reason: str, detail: str, opened: int | None = None) -> Anomaly:
        if opened is None:
            return Anomaly(self._market, reason, detail[:_DETAIL_CHARS])
        return Anomaly(self._market, reason, detail[:_DETAIL_CHARS], opened, self._width.close_of(opened))


def _price(text: object) -> int:
    return to_units(_plain(text), "value")


def _volume(text: object) -> int:
    """The venue adds volumes in floating point and prints the sum's rounding errors: ``3495670.8399999999``."""
    plain = _plain(text)
    try:
        return to_units(plain, "value")
    except BadInput as error:
        if "finer" not in error.message:
            raise
    return int((Decimal(plain) * UNIT).to_integral_value(ROUND_HALF_EVEN))


def _plain(text: object) -> str:
    """``text`` if it is a decimal without an exponent, whose value could be too large to be computed with."""
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise BadInput(f"{_excerpt(text)} is not a decimal in a string.")
    return text


def _excerpt(raw: object) -> str:
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    return text[:_DETAIL_CHARS]
