"""Pionex: candles over REST only, newest first, and a websocket ``/wsPub`` with trades in binary frames.

Every answer is an envelope that says whether it is a success; most errors come with HTTP 200. Only the newest 10,000
candles of an interval can be asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from aiohttp import WSCloseCode, web

from trading.intervals import MINUTE_MS, parse_interval
from trading.venues.simulator.dialect import Answer, Asked, Dialect, Peer, Refused, VenueLimits
from trading.venues.simulator.faults import RestFault, Send
from trading.venues.simulator.tape import Kline
from trading.venues.simulator.wire import grain, short_text

__all__ = ["DIALECT", "Pionex"]

_MOST_ROWS = 500
_DEFAULT_ROWS = 100
_MISSED_PONGS = 3
# Listed beside what is played, so that a name can be near another, or exist without candles.
_OTHER_SYMBOLS = ("BTC_USDT", "ETH_USDT", "SOL_USDT", "XRP_USDT")
_TOPICS = ("TRADE", "DEPTH")
_TRADES_A_MINUTE = 4


class Pionex(Dialect):
    venue = "pionex"
    # 1M is one minute here.
    intervals: ClassVar[Mapping[str, str]] = {
        "1m": "1M", "5m": "5M", "15m": "15M", "30m": "30M", "1h": "60M", "4h": "4H", "8h": "8H", "12h": "12H",
        "1d": "1D",
    }  # fmt: skip
    symbol_pattern = "[A-Z0-9]{1,20}_[A-Z0-9]{1,12}(_PERP)?"
    stream_base = "/wsPub"
    limits = VenueLimits(ping_interval_s=15.0, weight=10, window_s=1.0, ban_s=60.0, ban_step_s=10.0)
    binary: ClassVar[bool] = True
    connections: ClassVar[int] = 10
    horizon_rows: ClassVar[int] = 10_000

    # REST

    def rest_routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/api/v1/market/klines", self.answering(_klines_weight, self._in_envelope(self._klines))),
            web.get("/api/v1/common/symbols", self.answering(lambda asked: 5, self._in_envelope(self._listed))),
        ]

    def _in_envelope(self, answer: Callable[[Asked], tuple[str, bool]]) -> Callable[[Asked], Answer]:
        """``answer`` gives the data, and whether they arrive cut short."""

        def enveloped(asked: Asked) -> Answer:
            # Stamped first: a replay may pass the end of a candle meanwhile.
            told_ms = self.told_ms()
            data, is_cut = answer(asked)
            text = f'{{"result":true,"data":{data},"timestamp":{told_ms}}}'
            return Answer(text[: len(text) * 2 // 3] if is_cut else text)

        return enveloped

    def failure(self, fault: RestFault) -> Answer:
        if fault.status == 429:
            return Answer(self._error("TOO_MANY_REQUESTS", "Too many requests."), 429)
        text = f"<html><head><title>{fault.status}</title></head></html>"
        return Answer(text, fault.status, content_type="text/html")

    def _klines(self, asked: Asked) -> tuple[str, bool]:
        query = asked.query
        symbol = self._symbol(query.get("symbol", ""))
        canonical = {wire: name for name, wire in self.intervals.items()}.get(query.get("interval", ""))
        if canonical is None:
            raise self._refused("MARKET_PARAMETER_ERROR", "invalid `interval`")
        limit = _whole(query.get("limit"), _DEFAULT_ROWS)
        if limit is None or not 1 <= limit <= _MOST_ROWS:
            raise self._refused("MARKET_PARAMETER_ERROR", "invalid `limit`")
        now_ms = self.now()
        end_ms = _whole(query.get("endTime"), now_ms)
        if end_ms is None:
            raise self._refused("MARKET_INVALID_TIME", "invalid `endTime`")
        if symbol not in self.session.tapes:
            return '{"klines":[]}', False
        width = parse_interval(canonical)
        oldest_ms = width.open_of(now_ms) - (self.horizon_rows - 1) * width.typical_ms
        shown = self.rows(symbol, canonical, limit, None, end_ms)
        rows = [row for row in shown.klines if row.open_ms >= oldest_ms]
        return f'{{"klines":[{",".join(map(_row, reversed(rows)))}]}}', shown.how == "json"

    def _listed(self, asked: Asked) -> tuple[str, bool]:
        kind = asked.query.get("type", "SPOT")
        if kind not in ("SPOT", "PERP"):
            raise self._refused("MARKET_PARAMETER_ERROR", "invalid `type`")
        names = [name for name in self._symbols() if _kind(name) == kind]
        if asked.query.get("symbols"):
            names = [self._symbol(name) for name in asked.query["symbols"].split(",")]
        return json.dumps({"symbols": [self._describe(name) for name in names]}, separators=(",", ":")), False

    def _symbols(self) -> list[str]:
        return list(dict.fromkeys([*self.symbols, *_OTHER_SYMBOLS]))

    def _symbol(self, name: str) -> str:
        if name not in self._symbols():
            raise self._refused("MARKET_INVALID_SYMBOL", "invalid `symbol`")
        return name

    def _describe(self, symbol: str) -> dict[str, Any]:
        base, quote = symbol.split("_")[:2]
        size, price = 6, 2
        if symbol in self.session.tapes:
            columns = self.session.tapes[symbol].columns
            size = len(short_text(grain(columns.volume)).partition(".")[2])
            price = len(short_text(grain(columns.close)).partition(".")[2])
        least = f"0.{'1'.rjust(size, '0')}" if size else "1"
        return {
            "symbol": symbol,
            "type": _kind(symbol),
            "baseCurrency": base,
            "quoteCurrency": quote,
            "basePrecision": size,
            "quotePrecision": price,
            "amountPrecision": 8,
            "minAmount": "10",
            "minTradeSize": least,
            "maxTradeSize": "1000",
            "minTradeDumping": least,
            "maxTradeDumping": "100",
            "enable": True,
            "buyCeiling": "1.1",
            "sellFloor": "0.9",
        }

    def _error(self, code: str, message: str) -> str:
        body = {"result": False, "code": code, "message": message, "timestamp": self.told_ms()}
        return json.dumps(body, separators=(",", ":"))

    def _refused(self, code: str, message: str) -> Refused:
        return Refused(Answer(self._error(code, message)))

    # Websocket

    def socket_paths(self) -> list[str]:
        return [self.stream_base]

    def stream(self, symbol: str, interval: str) -> str | None:
        return f"TRADE,{symbol}" if interval == "1m" else None

    def topic(self, stream: str) -> tuple[str, str] | None:
        kind, _, symbol = stream.partition(",")
        return (symbol, "1m") if kind == "TRADE" else None

    def text(self, send: Send) -> str | None:
        """The trade that made the state what it is; a revision is no trade, and a minute may have had none."""
        kline = send.kline
        if not send.added_volume:
            return None
        # The last trade of a minute is told after the minute's end.
        traded_ms = min(send.event_ms, kline.close_ms - 1)
        stage = (send.event_ms - kline.open_ms) * _TRADES_A_MINUTE // (MINUTE_MS + 1_000)
        id = kline.open_ms // MINUTE_MS * _TRADES_A_MINUTE + stage
        return (
            f'{{"topic":"TRADE","symbol":"{send.said_symbol}","data":[{{"symbol":"{send.said_symbol}",'
            f'"tradeId":"{id}","price":"{short_text(kline.close)}","size":"{short_text(send.added_volume)}",'
            f'"side":"{"BUY" if kline.close >= kline.open else "SELL"}","timestamp":{traded_ms}}}],'
            f'"timestamp":{send.event_ms}}}'
        )

    def farewell(self, now_ms: int) -> tuple[str, str]:
        return "", f'{{"op":"CLOSE","note":"the server closes this connection","timestamp":{now_ms}}}'

    def error_text(self) -> str:
        return self._socket_error("INTERNAL_ERROR", "internal error")

    async def keep_alive(self, peer: Peer) -> None:
        """A message PING every 15 s; the connection ends when three were not answered."""
        while True:
            await asyncio.sleep(self.rules.ping_interval_s or 15.0)
            if peer.frozen:
                continue
            if peer.unanswered >= _MISSED_PONGS:
                await peer.say(self.farewell(self.now())[1])
                await peer.close(WSCloseCode.GOING_AWAY)
                return
            peer.unanswered += 1
            await peer.say(f'{{"op":"PING","timestamp":{self.now()}}}')

    def hear(self, peer: Peer, text: str) -> list[str]:
        try:
            command = json.loads(text)
        except ValueError:
            command = None
        op = command.get("op") if isinstance(command, dict) else None
        if op == "PONG":
            peer.unanswered = 0
            return []
        if op not in ("SUBSCRIBE", "UNSUBSCRIBE") or command.get("topic") not in _TOPICS:
            return [self._socket_error("INVALID_PARAMETER", "invalid `op` or `topic`")]
        topic, symbol = command["topic"], command.get("symbol")
        if symbol not in self._symbols():
            return [self._socket_error("INVALID_SYMBOL", "invalid `symbol`")]
        if op == "UNSUBSCRIBE":
            peer.streams.pop(f"{topic},{symbol}", None)
        elif self.loses():
            return []
        else:
            peer.streams[f"{topic},{symbol}"] = None
            if not self.acknowledges():
                return []
        return [f'{{"topic":"{topic}","symbol":"{symbol}","type":"{op}D"}}']

    def _socket_error(self, code: str, message: str) -> str:
        body = {"type": "ERROR", "code": code, "message": message, "timestamp": self.now()}
        return json.dumps(body, separators=(",", ":"))


DIALECT = Pionex


def _klines_weight(asked: Asked) -> int:
    return 5 if _kind(asked.query.get("symbol", "")) == "PERP" else 1


def _kind(symbol: str) -> str:
    return "PERP" if symbol.endswith("_PERP") else "SPOT"


def _whole(text: str | None, default: int) -> int | None:
    if text is None:
        return default
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _row(kline: Kline) -> str:
    return (
        f'{{"time":{kline.open_ms},"open":"{short_text(kline.open)}","close":"{short_text(kline.close)}",'
        f'"high":"{short_text(kline.high)}","low":"{short_text(kline.low)}","volume":"{short_text(kline.volume)}"}}'
    )
