"""The REST side: ping, time, exchangeInfo and klines, with the venue's errors, weights and limits."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from trading.intervals import parse_interval
from trading.venues.simulator.exchange_info import exchange_info, symbol_info
from trading.venues.simulator.faults import RestFault
from trading.venues.simulator.session import NATIVE_INTERVALS, Session
from trading.venues.simulator.wire import kline_row

__all__ = ["Rest"]

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


class _Refused(Exception):
    """The request is wrong: HTTP 400 with the venue's code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message}


class Rest:
    """Answers from a session. ``now`` brings the session up to the present and returns the venue's time."""

    def __init__(self, session: Session, now: Callable[[], int], weight_limit: int) -> None:
        self._session = session
        self._now = now
        self._weight_limit = weight_limit
        self._minute = 0
        self._used = 0
        self.requests = 0
        self._symbols = {name: symbol_info(name, tape.columns) for name, tape in session.tapes.items()}

    @property
    def used_weight(self) -> int:
        """The weight used in this minute of the host's clock."""
        return self._used

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/api/v3/ping", self._answering(1, (), self._ping)),
            web.get("/api/v3/time", self._answering(1, (), self._time)),
            web.get(
                "/api/v3/exchangeInfo",
                self._answering(
                    20, ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"), self._info
                ),
            ),
            web.get(
                "/api/v3/klines",
                self._answering(2, ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"), self._klines),
            ),
        ]

    def _answering(
        self, weight: int, known: tuple[str, ...], answer: Callable[[web.Request], str]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            self.requests += 1
            self._count(weight)
            fault = self._session.faults.rest(request.path)
            if fault.seconds:
                await asyncio.sleep(fault.seconds)
            if fault.status:
                return self._failure(fault)
            if self._used > self._weight_limit:
                return self._failure(RestFault(status=429, retry_after=60 - int(time.time()) % 60))
            try:
                _check_names(request, known)
                text = answer(request)
            except _Refused as refused:
                return self._respond(json.dumps(refused.body, separators=(",", ":")), 400)
            return self._respond(text)

        return handle

    def _count(self, weight: int) -> None:
        minute = int(time.time()) // 60
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += weight

    def _respond(self, text: str, status: int = 200) -> web.Response:
        headers = {"x-mbx-used-weight": str(self._used), "x-mbx-used-weight-1m": str(self._used)}
        return web.Response(text=text, status=status, headers=headers, content_type="application/json", charset="UTF-8")

    def _failure(self, fault: RestFault) -> web.Response:
        if fault.status == 403:
            return web.Response(text="<html><head><title>403 Forbidden</title></head></html>", status=403)
        body = dict(_BODIES.get(fault.status, _BODIES[500]))
        if fault.status == 418:
            until_s = time.time() + (fault.retry_after or 120)
            body["msg"] = str(body["msg"]) % int(until_s * 1000)
        elif fault.status == 429:
            body["msg"] = str(body["msg"]) % self._weight_limit
        response = self._respond(json.dumps(body, separators=(",", ":")), fault.status)
        if fault.retry_after is not None:
            response.headers["Retry-After"] = str(fault.retry_after)
        return response

    def _ping(self, _: web.Request) -> str:
        return "{}"

    def _time(self, _: web.Request) -> str:
        return f'{{"serverTime":{self._now()}}}'

    def _info(self, request: web.Request) -> str:
        names = list(self._symbols)
        if (one := request.query.get("symbol")) is not None:
            names = [one]
        elif (several := request.query.get("symbols")) is not None:
            try:
                names = [str(name) for name in json.loads(several)]
            except (ValueError, TypeError):
                raise _illegal("symbols", r'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$') from None
        for name in names:
            self._known_symbol(name)
        info = exchange_info(self._now(), self._weight_limit, [self._symbols[name] for name in names])
        return json.dumps(info, separators=(",", ":"))

    def _klines(self, request: web.Request) -> str:
        query = request.query
        for name in ("symbol", "interval"):
            if not query.get(name):
                raise _Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        self._known_symbol(query["symbol"])
        if query["interval"] not in NATIVE_INTERVALS:
            raise _Refused(-1120, "Invalid interval.")
        if query.get("timeZone", "0") not in {"0", "0:00", "00:00"}:
            raise _Refused(-1130, "Data sent for parameter 'timeZone' is not valid.")
        limit = _whole(query.get("limit"), "limit")
        if limit == 0:
            raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        rows = self._session.tapes[query["symbol"]].klines(
            parse_interval(query["interval"]),
            self._now(),
            min(1000, 500 if limit is None else limit),
            start_ms=_whole(query.get("startTime"), "startTime"),
            end_ms=_whole(query.get("endTime"), "endTime"),
        )
        return f"[{','.join(map(kline_row, rows))}]"

    def _known_symbol(self, name: str) -> None:
        if not re.fullmatch(_SYMBOL[1:-1], name):
            raise _illegal("symbol", _SYMBOL)
        if name not in self._symbols:
            raise _Refused(-1121, "Invalid symbol.")


def _check_names(request: web.Request, known: tuple[str, ...]) -> None:
    given = list(request.query)
    if len(set(given)) < len(given):
        raise _Refused(-1101, "Duplicate values for a parameter detected.")
    read: list[Any] = [name for name in given if name in known]
    if len(read) < len(given):
        raise _Refused(
            -1104, f"Not all sent parameters were read; read '{len(read)}' parameter(s) but was sent '{len(given)}'."
        )


def _illegal(name: str, legal: str) -> _Refused:
    return _Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text:
        raise _Refused(-1105, f"Parameter '{name}' was empty.")
    if not re.fullmatch(_DIGITS[1:-1], text):
        raise _illegal(name, _DIGITS)
    return int(text)
