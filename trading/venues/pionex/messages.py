"""What Pionex says: trades on its socket, klines over REST, and the envelope of every REST answer.

Nothing here raises on what a venue may send. There is no candle topic: trades tell that the market lives and draw the
candle that is still open; closed candles come from REST alone. Exact shapes: the venue's ``openapi.yaml`` and
``websocketapi.yaml``.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, NamedTuple

from trading.candles import UNIT, Candle, Source, check_candle, to_units
from trading.errors import BadInput
from trading.feed_events import Anomaly
from trading.intervals import MINUTE_MS, Interval, parse_interval
from trading.venues.adapter import Forming, Message, Rows, ServerShutdown

__all__ = ["INTERVALS", "Envelope", "TradeReader", "native_interval", "parse_envelope", "parse_message", "read_klines"]

INTERVALS = {
    "1m": "1M", "5m": "5M", "15m": "15M", "30m": "30M", "1h": "60M", "4h": "4H", "8h": "8H", "12h": "12H", "1d": "1D",
}  # fmt: skip
"""Canonical names and the venue's. Here, and only here, ``1M`` is one minute."""

_DETAIL_CHARS = 200
_KNOWN_TRADES = 2000
_PINGS_WITHOUT_ACK = 2
_YEAR_9999_MS = 253_370_764_800_000
_LARGEST = 2**63 - 1
_AMOUNTS = ("open", "high", "low", "close", "volume")


def native_interval(interval: str) -> str:
    """The venue's name of ``interval``; raise BadInput for one that it does not serve."""
    name = parse_interval(interval).name
    if name not in INTERVALS:
        raise BadInput(
            f"Pionex has no candles of {name}.",
            field="interval",
            value=interval,
            fix=f"Use one of {', '.join(INTERVALS)}, or have {name} derived from 1m.",
        )
    return INTERVALS[name]


class Envelope(NamedTuple):
    """A REST answer. ``timestamp_ms`` is the venue's time, 0 when it told none; HTTP 200 does not mean ``ok``."""

    ok: bool
    timestamp_ms: int
    data: dict[str, Any]
    code: str
    message: str


def parse_envelope(body: object) -> Envelope | None:
    """Read the parsed ``body`` of an answer; None when it is no envelope."""
    if not isinstance(body, dict) or not isinstance(body.get("result"), bool):
        return None
    data, stamp = body.get("data"), _time(body.get("timestamp"))
    code, message = body.get("code", ""), body.get("message", "")
    return Envelope(
        body["result"], stamp or 0, data if isinstance(data, dict) else {}, _excerpt(code), _excerpt(message)
    )


def parse_message(raw: str | bytes) -> dict[str, Any] | str:
    """The object in one frame, binary or text; a text that says why there is none."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return f"{error}: {_excerpt(raw)}"
    return message if isinstance(message, dict) else f"not an object: {_excerpt(raw)}"


def read_klines(market: str, interval: str, klines: object, source: str) -> Rows:
    """Read the ``klines`` of one answer, newest first or ascending, into ascending candles, each open time once.

    A candle is returned whether it has closed or not: the caller knows the envelope's time.
    """
    width = parse_interval(interval)
    if not isinstance(klines, list):
        return Rows((), (), (Anomaly(market, "malformed", f"klines {_excerpt(klines)}"),), is_whole=False)
    found: dict[int, Candle] = {}
    unusable: set[int] = set()
    anomalies: list[Anomaly] = []
    for row in klines:
        candle = _candle(market, width, row, source)
        if isinstance(candle, Anomaly):
            anomalies.append(candle)
            if not candle.to_ms:
                return Rows((), (), tuple(anomalies), is_whole=False)
            unusable.add(candle.from_ms)
            continue
        known = found.setdefault(candle.open_time_ms, candle)
        if known != candle:
            detail = f"two rows: {known[4:9]} and {candle[4:9]}"
            anomalies.append(Anomaly(market, "revised", detail, candle.open_time_ms, candle.close_time_ms))
            unusable.add(candle.open_time_ms)
    candles = tuple(candle for opened, candle in sorted(found.items()) if opened not in unusable)
    return Rows(candles, tuple(sorted(unusable)), tuple(anomalies))


def _candle(market: str, width: Interval, row: object, source: str) -> Candle | Anomaly:
    opened = _time(row.get("time")) if isinstance(row, dict) else None
    if not isinstance(row, dict) or opened is None:
        return Anomaly(market, "malformed", f"row {_excerpt(row)}")
    opens_ms = width.open_of(opened)
    close_ms = width.close_of(opens_ms)
    if opens_ms != opened:
        return Anomaly(market, "unaligned", f"time {opened} is no open time of {width}", opens_ms, close_ms)
    try:
        o, h, low, c, v = (_units(row.get(name), name) for name in _AMOUNTS)
    except BadInput as error:
        reason = "too_fine" if "finer" in error.message else "malformed"
        return Anomaly(market, reason, error.message, opened, close_ms)
    candle = Candle(market, width.name, opened, close_ms, o, h, low, c, v, source=source)
    wrong = check_candle(candle)
    if wrong is None and max(h, v) > _LARGEST:
        wrong = f"price or volume is larger than {_LARGEST // UNIT}"
    return candle if wrong is None else Anomaly(market, "insane", wrong, opened, close_ms)


class _Trade(NamedTuple):
    id: str
    time_ms: int
    price: int
    size: int


class TradeReader:
    """Reads the TRADE messages of one market on one connection.

    A forming candle is told for minutes whose beginning this connection has seen, so that its open, high and low are
    those of the whole minute. A server's PING is a sign of life only once the venue has acknowledged the subscription,
    by SUBSCRIBED or by a trade: a connection that never does is left to fall silent, which replaces it.
    """

    def __init__(self, market: str, symbol: str) -> None:
        self._market = market
        self._symbol = symbol
        self._seen: set[str] = set()
        self._order: deque[str] = deque()
        self._candle: Candle | None = None
        self._minute: int | None = None
        self._acknowledged = False
        self._pings = 0

    def read(self, raw: str | bytes, received_ns: int, *, want_forming: bool = True) -> tuple[Message, ...]:
        """Read one frame; empty for what calls for nothing."""
        message = parse_message(raw)
        if isinstance(message, str):
            return (Anomaly(self._market, "malformed", message),)
        if "op" in message:
            return self._operation(message, raw)
        if message.get("type") == "ERROR":
            return (Anomaly(self._market, "server_error", _excerpt(raw)),)
        if message.get("symbol", self._symbol) != self._symbol:
            detail = f"{_excerpt(message.get('symbol'))} among the messages of {self._symbol}"
            return (Anomaly(self._market, "wrong_symbol", detail),)
        if message.get("type") in ("SUBSCRIBED", "UNSUBSCRIBED"):
            self._acknowledged = message["type"] == "SUBSCRIBED"
            return ()
        if message.get("topic") == "TRADE":
            return self._trades(message, raw, want_forming=want_forming)
        return (Anomaly(self._market, "unknown", _excerpt(raw)),)

    def _operation(self, message: dict[str, Any], raw: str | bytes) -> tuple[Message, ...]:
        if message["op"] == "CLOSE":
            return (ServerShutdown(),)
        if message["op"] != "PING":
            return (Anomaly(self._market, "unknown", _excerpt(raw)),)
        if self._acknowledged:
            return (Forming(),)
        self._pings += 1
        if self._pings == _PINGS_WITHOUT_ACK:
            return (Anomaly(self._market, "server_error", f"no SUBSCRIBED for TRADE of {self._symbol}"),)
        return ()

    def _trades(self, message: dict[str, Any], raw: str | bytes, *, want_forming: bool) -> tuple[Message, ...]:
        data, stamp = message.get("data"), _time(message.get("timestamp"))
        if not isinstance(data, list) or stamp is None:
            return (Anomaly(self._market, "malformed", _excerpt(raw)),)
        self._acknowledged = True
        anomalies: list[Message] = []
        trades: list[_Trade] = []
        for row in data:
            trade = self._trade(row, stamp)
            if isinstance(trade, Anomaly):
                anomalies.append(trade)
            elif trade.id not in self._seen:
                self._remember(trade.id)
                trades.append(trade)
        # Newest first, as the venue sends them, becomes oldest first; the sort is stable for trades of one moment.
        trades.reverse()
        for trade in sorted(trades, key=lambda trade: trade.time_ms):
            self._draw(trade)
        if data and len(anomalies) == len(data):
            return tuple(anomalies)
        return (*anomalies, Forming(self._candle if want_forming else None))

    def _trade(self, row: object, stamp_ms: int) -> _Trade | Anomaly:
        if not isinstance(row, dict):
            return Anomaly(self._market, "malformed", f"trade {_excerpt(row)}")
        if row.get("symbol", self._symbol) != self._symbol:
            return Anomaly(self._market, "wrong_symbol", f"trade {_excerpt(row)}")
        time_ms, trade_id = _time(row.get("timestamp")), row.get("tradeId")
        if time_ms is None or not isinstance(trade_id, str) or not 0 < len(trade_id) <= 40:
            return Anomaly(self._market, "malformed", f"trade {_excerpt(row)}")
        if time_ms > stamp_ms + MINUTE_MS:
            return Anomaly(self._market, "future", f"trade at {time_ms} in a message of {stamp_ms}")
        try:
            price, size = _units(row.get("price"), "price"), _units(row.get("size"), "size")
        except BadInput as error:
            return Anomaly(self._market, "too_fine" if "finer" in error.message else "malformed", error.message)
        if not 0 < price <= _LARGEST or not 0 <= size <= _LARGEST:
            return Anomaly(self._market, "insane", f"trade {_excerpt(row)}")
        return _Trade(trade_id, time_ms, price, size)

    def _remember(self, trade_id: str) -> None:
        self._seen.add(trade_id)
        self._order.append(trade_id)
        if len(self._order) > _KNOWN_TRADES:
            self._seen.discard(self._order.popleft())

    def _draw(self, trade: _Trade) -> None:
        """Take ``trade`` into the forming candle. Trades of a minute before it are history, which REST tells."""
        opened = trade.time_ms // MINUTE_MS * MINUTE_MS
        price, candle = trade.price, self._candle
        if self._minute is None:
            self._minute = opened
        elif opened > self._minute:
            self._minute = opened
            self._candle = Candle(
                self._market, "1m", opened, opened + MINUTE_MS, price, price, price, price, trade.size,
                source=Source.LIVE.value,
            )  # fmt: skip
        elif opened == self._minute and candle is not None:
            self._candle = candle._replace(
                high=max(candle.high, price),
                low=min(candle.low, price),
                close=price,
                volume=min(_LARGEST, candle.volume + trade.size),
            )


def _time(value: object) -> int | None:
    """Epoch ms, which some of the venue's messages give as a string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 15:
        value = int(value)
    return value if type(value) is int and 0 < value < _YEAR_9999_MS else None


def _units(text: object, name: str) -> int:
    if not isinstance(text, str) or len(text) > 40:
        raise BadInput(f"{name} {_excerpt(text)!r} is no decimal in a string.", field=name)
    return to_units(text, name)


def _excerpt(raw: object) -> str:
    if isinstance(raw, bytes):
        return raw[:_DETAIL_CHARS].decode("utf-8", "replace")
    try:
        return str(raw)[:_DETAIL_CHARS]
    except RecursionError:
        return "nested too deeply"
