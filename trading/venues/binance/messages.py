"""Binance's kline messages and REST rows, checked at the door. Nothing here raises on what a venue may send.

Exact shapes: ``web-socket-streams.md`` and ``rest-api.md`` of the venue's documentation. Close times become exclusive.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trading.candles import UNIT, Candle, Source, check_candle, to_units
from trading.errors import BadInput
from trading.feed_events import Anomaly
from trading.intervals import parse_interval
from trading.venues.adapter import Forming, Message, Rows, ServerShutdown
from trading.venues.rows import read_rows

__all__ = ["KlineReader"]

_DETAIL_CHARS = 200
_FIELDS = (("o", "open"), ("h", "high"), ("l", "low"), ("c", "close"), ("v", "volume"))
_LEAST_COLUMNS = 11
_YEAR_9999_MS = 253_370_764_800_000
_LARGEST = 2**63 - 1


_UNREAD = Forming()
_SHUTDOWN = ServerShutdown()


class KlineReader:
    """Reads the messages of one market's kline stream, and its REST rows."""

    def __init__(self, market: str, symbol: str, interval: str = "1m") -> None:
        self._market = market
        self._symbol = symbol
        self._interval = interval
        self._width = parse_interval(interval)
        self._symbol_text = f'"s":"{symbol}"'
        self._interval_text = f'"i":"{interval}"'

    def read(self, raw: str | bytes, received_ns: int, *, want_forming: bool = True) -> Sequence[Message]:
        """Read one message, raw or combined: a Candle is closed. Nothing is an answer to a command of ours.

        With ``want_forming`` false, a message that carries every mark of a forming candle of this very market is not
        parsed any further: three of four frames are such.
        """
        message = self._read(raw, received_ns, want_forming=want_forming)
        return () if message is None else (message,)

    def _read(self, raw: str | bytes, received_ns: int, *, want_forming: bool) -> Message | None:
        if isinstance(raw, str):
            is_plain = not want_forming and raw.endswith("}}") and '"x":false' in raw
            if is_plain and self._symbol_text in raw and self._interval_text in raw:
                return _UNREAD
        try:
            message = json.loads(raw)
        except (ValueError, RecursionError) as error:
            return self._anomaly("malformed", f"{error}: {_excerpt(raw)}")
        if not isinstance(message, dict):
            return self._anomaly("malformed", f"not an object: {_excerpt(raw)}")
        data = message.get("data", message) if "stream" in message else message
        if isinstance(data, dict) and data.get("e") == "kline":
            return self._kline(data, received_ns, raw)
        return self._other(message, data, raw)

    def _other(self, message: dict[str, Any], data: object, raw: str | bytes) -> ServerShutdown | Anomaly | None:
        if (isinstance(data, dict) and data.get("e") == "serverShutdown") or message.get("stream") == "!serverShutdown":
            return _SHUTDOWN
        if "code" in message or "error" in message:
            return self._anomaly("server_error", _excerpt(raw))
        if "result" in message and "id" in message:
            return None
        return self._anomaly("unknown", _excerpt(raw))

    def _kline(self, data: dict[str, Any], received_ns: int, raw: str | bytes) -> Candle | Forming | Anomaly:
        kline = data.get("k")
        if not isinstance(kline, dict):
            return self._anomaly("malformed", f"no k: {_excerpt(raw)}")
        if kline.get("s") != self._symbol or data.get("s", self._symbol) != self._symbol:
            return self._anomaly("wrong_symbol", f"{_excerpt(kline.get('s'))} on the stream of {self._symbol}")
        if kline.get("i") != self._interval:
            return self._anomaly("wrong_interval", f"{_excerpt(kline.get('i'))} on the stream of {self._interval}")
        closed = kline.get("x")
        if not isinstance(closed, bool):
            return self._anomaly("malformed", f"x is {_excerpt(closed)}")
        values = [kline.get(key) for key in ("t", "T", "o", "h", "l", "c", "v", "q", "n", "V")]
        candle = self._candle(values, received_ns if closed else 0, Source.LIVE.value)
        if isinstance(candle, Anomaly) or closed:
            return candle
        return Forming(candle)

    def rows(self, rows: list[Any], source: str = Source.REST.value) -> Rows:
        """Read the rows of one ``klines`` answer; they must ascend."""
        return read_rows(rows, lambda row: self._row(row, source), self._out_of_order)

    def _row(self, row: object, source: str) -> Candle | Anomaly:
        if not isinstance(row, list) or len(row) < _LEAST_COLUMNS:
            return self._anomaly("malformed", f"row {_excerpt(row)}")
        values = [row[0], row[6], row[1], row[2], row[3], row[4], row[5], row[7], row[8], row[9]]
        return self._candle(values, 0, source)

    def _out_of_order(self, row: object, candle: Candle) -> Anomaly:
        return self._anomaly("out_of_order", f"row {_excerpt(row)}", candle.open_time_ms)

    def _candle(self, values: list[Any], received_ns: int, source: str) -> Candle | Anomaly:
        """Check ``values``: open time, last ms, open, high, low, close, volume, quote volume, trades, taker volume."""
        opened, last_ms, *amounts, trades, taker = values
        if type(opened) is not int or type(last_ms) is not int or type(trades) is not int:
            return self._anomaly("malformed", f"times {opened!r}..{last_ms!r}, trades {trades!r}"[:_DETAIL_CHARS])
        # The venue shortens the last millisecond of a candle that an outage cut; it still stands for the whole minute.
        opens_ms = self._width.open_of(opened) if 0 <= opened < _YEAR_9999_MS else None
        if opens_ms != opened or not opened < last_ms < self._width.close_of(opened):
            return self._anomaly("unaligned", f"times {opened}..{last_ms}"[:_DETAIL_CHARS], opens_ms)
        try:
            o, h, low, c, v, q, t = [_units(text) for text in (*amounts, taker)]
        except BadInput as error:
            return self._anomaly("too_fine" if "finer" in error.message else "malformed", error.message, opened)
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
            q,
            trades,
            t,
            source,
            received_ns=received_ns,
        )
        wrong = check_candle(candle)
        if wrong is None and (q < 0 or t < 0 or trades < 0 or t > v):
            wrong = f"quote volume {q}, trades {trades} or taker volume {t} cannot be with volume {v}"
        elif wrong is None and max(h, v) > _LARGEST:
            wrong = f"price or volume is larger than {_LARGEST // UNIT}"
        return candle if wrong is None else self._anomaly("insane", wrong, opened)

    def _anomaly(self, reason: str, detail: str, opened: int | None = None) -> Anomaly:
        if opened is None:
            return Anomaly(self._market, reason, detail)
        return Anomaly(self._market, reason, detail, opened, self._width.close_of(opened))


def _units(text: object) -> int:
    if not isinstance(text, str) or len(text) > 40:
        raise BadInput(f"{_excerpt(text)} is not a decimal in a string.")
    return to_units(text, "value")


def _excerpt(raw: object) -> str:
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    return text[:_DETAIL_CHARS]
