"""Binance spot: ``/api/v3`` with its errors and weights, and the kline streams.

``/ws/<stream>`` and ``/ws`` send bare messages, ``/stream?streams=a/b`` wraps them with the stream's name.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from aiohttp import WSCloseCode, web

from trading.candle_columns import CandleColumns
from trading.venues.simulator.dialect import Answer, Asked, Dialect, Peer, Refused, VenueLimits
from trading.venues.simulator.dialects.binance_exchange_info import exchange_info, symbol_info
from trading.venues.simulator.faults import RestFault, Send
from trading.venues.simulator.session import Session
from trading.venues.simulator.tape import Kline
from trading.venues.simulator.wire import decimal_text

__all__ = ["DIALECT", "Binance", "kline_text"]

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_MAX_STREAMS = 1024
_SYMBOL = "^[A-Z0-9-_.]{1,20}$"
_DIGITS = "^[0-9]{1,20}$"
_TOO_MUCH = "Please use WebSocket Streams for live updates to avoid"
_BODIES = {
    418: {"code": -1003, "msg": f"Way too much request weight used; IP banned until %s. {_TOO_MUCH} bans."},
    429: {
        "code": -1003,
        "msg": "Too much request weight used; current limit is %s request weight per 1 MINUTE. "
        f"{_TOO_MUCH} polling the API.",
    },
    500: {"code": -1000, "msg": "An unknown error occurred while processing the request."},
    502: {
        "code": -1006,
        "msg": "An unexpected response was received from the message bus. Execution status unknown.",
    },
    503: {
        "code": -1008,
        "msg": "Server is currently overloaded with other requests. Please try again in a few minutes.",
    },
    504: {
        "code": -1007,
        "msg": "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    },
}


class Binance(Dialect):
    venue = "binance"
    # All but 1s, which no file of minutes can give.
    intervals: ClassVar[Mapping[str, str]] = {
        name: name
        for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
    }
    symbol_pattern = "[A-Z0-9]{1,20}"
    limits = VenueLimits(ping_interval_s=20.0, pong_timeout_s=60.0, weight=6000, window_s=60.0)
    messages_per_second: ClassVar[int | None] = 5

    base: ClassVar[str] = "/api/v3"
    info_weight: ClassVar[int] = 20
    most_rows: ClassVar[int] = 1000

    def __init__(self, session: Session, now: Callable[[], int], limits: VenueLimits | None = None) -> None:
        super().__init__(session, now, limits)
        self._infos = {name: self.describe(name, tape.columns) for name, tape in session.tapes.items()}

    # REST

    def rest_routes(self) -> list[web.AbstractRouteDef]:
        info = ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus")
        klines = ("symbol", "interval", "startTime", "endTime", "timeZone", "limit")
        return [
            web.get(f"{self.base}/ping", self._route(lambda asked: 1, (), lambda asked: "{}")),
            web.get(f"{self.base}/time", self._route(lambda asked: 1, (), self._time)),
            web.get(f"{self.base}/exchangeInfo", self._route(lambda asked: self.info_weight, info, self._info)),
            web.get(f"{self.base}/klines", self._route(self.klines_weight, klines, self._klines)),
        ]

    def _route(self, weight: Callable[[Asked], int], known: tuple[str, ...], text: Callable[[Asked], str]) -> Any:
        def answer(asked: Asked) -> Answer:
            _check_names(asked.names, known)
            return Answer(text(asked))

        return self.answering(weight, answer)

    def headers(self) -> Mapping[str, str]:
        used = str(self.weights.used)
        return {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}

    def failure(self, fault: RestFault) -> Answer:
        if fault.status == 403:
            return Answer("<html><head><title>403 Forbidden</title></head></html>", 403, content_type="text/html")
        body = dict(_BODIES.get(fault.status, _BODIES[500]))
        if fault.status == 418:
            until_s = time.time() + (fault.retry_after or 120)
            body["msg"] = str(body["msg"]) % int(until_s * 1000)
        elif fault.status == 429:
            body["msg"] = str(body["msg"]) % self.weights.limit
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return Answer(_compact(body), fault.status, headers)

    def klines_weight(self, asked: Asked) -> int:
        return 2

    def describe(self, symbol: str, candles: CandleColumns) -> dict[str, Any]:
        """The symbol's entry in ``exchangeInfo``."""
        return symbol_info(symbol, candles)

    def info(self, symbols: list[dict[str, Any]]) -> dict[str, Any]:
        return exchange_info(self.now(), self.weights.limit, symbols)

    def _time(self, _: Asked) -> str:
        return f'{{"serverTime":{self.told_ms()}}}'

    def _info(self, asked: Asked) -> str:
        names = list(self._infos)
        if (one := asked.query.get("symbol")) is not None:
            names = [one]
        elif (several := asked.query.get("symbols")) is not None:
            try:
                names = [str(name) for name in json.loads(several)]
            except (ValueError, TypeError):
                raise _illegal("symbols", r'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$') from None
        for name in names:
            self._known_symbol(name)
        return _compact(self.info([self._infos[name] for name in names]))

    def _klines(self, asked: Asked) -> str:
        query = asked.query
        for name in ("symbol", "interval"):
            if not query.get(name):
                raise _refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        self._known_symbol(query["symbol"])
        if query["interval"] not in self.intervals:
            raise _refused(-1120, "Invalid interval.")
        if query.get("timeZone", "0") not in {"0", "0:00", "00:00"}:
            raise _refused(-1130, "Data sent for parameter 'timeZone' is not valid.")
        limit = _whole(query.get("limit"), "limit")
        if limit == 0:
            raise _refused(-1130, "Data sent for parameter 'limit' is not valid.")
        shown = self.rows(
            query["symbol"],
            query["interval"],
            min(self.most_rows, 500 if limit is None else limit),
            _whole(query.get("startTime"), "startTime"),
            _whole(query.get("endTime"), "endTime"),
        )
        text = f"[{','.join(map(_row, shown.klines))}]"
        return text[: len(text) * 2 // 3] if shown.how == "json" else text

    def _known_symbol(self, name: str) -> None:
        if not re.fullmatch(_SYMBOL[1:-1], name):
            raise _illegal("symbol", _SYMBOL)
        if name not in self._infos:
            raise _refused(-1121, "Invalid symbol.")

    # Websocket

    def socket_paths(self) -> list[str]:
        return ["/ws", "/ws/{streams:.+}", "/stream"]

    def stream(self, symbol: str, interval: str) -> str:
        return f"{symbol.lower()}@kline_{interval}"

    def topic(self, stream: str) -> tuple[str, str] | None:
        symbol, _, interval = stream.partition("@kline_")
        return (symbol.upper(), interval) if interval in self.intervals else None

    def text(self, send: Send) -> str:
        return kline_text(send)

    def wrap(self, stream: str, text: str) -> str:
        return f'{{"stream":"{stream}","data":{text}}}'

    def farewell(self, now_ms: int) -> tuple[str, str]:
        return "!serverShutdown", f'{{"e":"serverShutdown","E":{now_ms}}}'

    def error_text(self) -> str:
        return _compact({"error": {"code": 1, "msg": "Internal error"}})

    def welcome(self, peer: Peer, request: web.Request) -> list[str]:
        peer.wrapped = request.path.endswith("/stream")
        names = request.query.get("streams", "") if peer.wrapped else request.match_info.get("streams", "")
        if names and not self.loses():
            peer.streams.update(dict.fromkeys(name for name in names.split("/") if name))
        return []

    async def keep_alive(self, peer: Peer) -> None:
        """A ping every 20 s; without its pong within a minute the connection ends."""
        while True:
            await asyncio.sleep(self.rules.ping_interval_s or 1.0)
            if peer.frozen:
                continue
            if time.monotonic() - peer.last_pong_s > (self.rules.pong_timeout_s or 0.0):
                await peer.close(WSCloseCode.POLICY_VIOLATION, "Pong timeout")
                return
            await peer.ping()

    def hear(self, peer: Peer, text: str) -> list[str]:
        answer = self._command(peer, text)
        return [] if answer is None else [_compact(answer)]

    def _command(self, peer: Peer, text: str) -> dict[str, Any] | None:
        try:
            command = json.loads(text)
        except ValueError as error:
            return {"code": 3, "msg": f"Invalid JSON: {error}"}
        if (fault := _command_fault(command)) is not None:
            return {"code": 2, "msg": f"Invalid request: {fault}"}
        method, params, id = command["method"], command.get("params", []), command.get("id")
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(peer.streams), "id": id}
        if method.endswith("_PROPERTY"):
            return _property(peer, method, params, id)
        if method == "UNSUBSCRIBE":
            for name in params:
                peer.streams.pop(name, None)
        elif self.loses():
            return None
        elif len({*peer.streams, *params}) > _MAX_STREAMS:
            return {"code": 2, "msg": "Invalid request: too many parameters"}
        else:
            peer.streams.update(dict.fromkeys(params))
            if not self.acknowledges():
                return None
        return {"result": None, "id": id}


DIALECT = Binance


def kline_text(send: Send) -> str:
    """Return the payload of stream ``<symbol>@kline_<interval>``."""
    kline, symbol = send.kline, send.said_symbol
    first = send.first_trade if kline.trades else -1
    last = send.first_trade + kline.trades - 1 if kline.trades else -1
    return (
        f'{{"e":"kline","E":{send.event_ms},"s":"{symbol}","k":{{"t":{kline.open_ms},"T":{kline.close_ms - 1},'
        f'"s":"{symbol}","i":"{send.said_interval}","f":{first},"L":{last},'
        f'"o":"{decimal_text(kline.open)}","c":"{decimal_text(kline.close)}","h":"{decimal_text(kline.high)}",'
        f'"l":"{decimal_text(kline.low)}","v":"{decimal_text(kline.volume)}","n":{kline.trades},'
        f'"x":{"true" if send.closed else "false"},"q":"{decimal_text(kline.quote_volume)}",'
        f'"V":"{decimal_text(kline.taker_volume)}","Q":"{decimal_text(kline.taker_quote_volume)}","B":"0"}}}}'
    )


def _row(kline: Kline) -> str:
    return (
        f'[{kline.open_ms},"{decimal_text(kline.open)}","{decimal_text(kline.high)}","{decimal_text(kline.low)}",'
        f'"{decimal_text(kline.close)}","{decimal_text(kline.volume)}",{kline.close_ms - 1},'
        f'"{decimal_text(kline.quote_volume)}",{kline.trades},"{decimal_text(kline.taker_volume)}",'
        f'"{decimal_text(kline.taker_quote_volume)}","0"]'
    )


def _command_fault(command: Any) -> str | None:
    """What is wrong with the shape of a command, or None."""
    if not isinstance(command, dict) or "method" not in command:
        return "missing field `method`"
    method, params, id = command["method"], command.get("params", []), command.get("id")
    if method not in _METHODS:
        return f"unknown variant `{method}`, expected one of {', '.join(f'`{name}`' for name in _METHODS)}"
    if id is not None and (isinstance(id, bool) or not isinstance(id, int | str)):
        return "request ID must be an unsigned integer"
    names_streams = isinstance(params, list) and params and all(isinstance(name, str) for name in params)
    if method.endswith("SUBSCRIBE") and not names_streams:
        return "params must be an array of stream names"
    return None


def _property(peer: Peer, method: str, params: Any, id: object) -> dict[str, Any]:
    if not isinstance(params, list) or not params or params[0] != "combined":
        return {"code": 0, "msg": "Unknown property", "id": id}
    if method == "GET_PROPERTY":
        return {"result": peer.wrapped, "id": id}
    if len(params) != 2 or not isinstance(params[1], bool):
        return {"code": 1, "msg": "Invalid value type: expected Boolean", "id": id}
    peer.wrapped = params[1]
    return {"result": None, "id": id}


def _check_names(given: tuple[str, ...], known: tuple[str, ...]) -> None:
    if len(set(given)) < len(given):
        raise _refused(-1101, "Duplicate values for a parameter detected.")
    read = [name for name in given if name in known]
    if len(read) < len(given):
        raise _refused(
            -1104, f"Not all sent parameters were read; read '{len(read)}' parameter(s) but was sent '{len(given)}'."
        )


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text:
        raise _refused(-1105, f"Parameter '{name}' was empty.")
    if not re.fullmatch(_DIGITS[1:-1], text):
        raise _illegal(name, _DIGITS)
    return int(text)


def _illegal(name: str, legal: str) -> Refused:
    return _refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def _refused(code: int, message: str) -> Refused:
    return Refused(Answer(_compact({"code": code, "msg": message}), 400))


def _compact(body: object) -> str:
    return json.dumps(body, separators=(",", ":"))
