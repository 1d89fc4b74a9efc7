"""Hyperliquid: ``POST /info`` and one websocket ``/ws`` whose candle frames never say that they are the last.

Only the newest 5,000 candles of an interval exist. What a subscription names but the venue does not list ends the whole
connection without a word.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any, ClassVar

from aiohttp import web

from trading.intervals import parse_interval
from trading.venues.simulator.dialect import Answer, Asked, Dialect, Peer, Refused, VenueLimits
from trading.venues.simulator.faults import RestFault, Send
from trading.venues.simulator.tape import FRAME_DELAYS_MS, Kline
from trading.venues.simulator.wire import grain, short_text

__all__ = ["DIALECT", "Hyperliquid"]

_GREETING = "Websocket connection established."
_BAD_BODY = "Failed to deserialize the JSON body into the target type"
_SUBSCRIPTIONS = 1000
# Listed beside what is played, so that a name can be near another, or exist without candles.
_OTHER_PERPS = ("BTC", "ETH", "ATOM", "MATIC", "SOL", "AVAX", "BNB", "DOGE", "kPEPE", "HYPE")
_DELISTED = ("MATIC",)
_SILENT_TYPES = ("allMids", "l2Book", "trades", "bbo", "activeAssetCtx")
_ROWS_A_WEIGHT = 60
_WEIGHTS = {"l2Book": 2, "allMids": 2, "exchangeStatus": 2}


class Hyperliquid(Dialect):
    venue = "hyperliquid"
    intervals: ClassVar[Mapping[str, str]] = {
        name: name for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")
    }
    symbol_pattern = "[A-Za-z0-9]{1,20}|@[0-9]{1,5}|PURR/USDC|[a-z]{1,8}:[A-Z0-9]{1,12}"
    stream_base = "/ws"
    # A minute is known to be over when the next one's first frame comes.
    settle_ms = FRAME_DELAYS_MS[0]
    limits = VenueLimits(silence_s=60.0, weight=1200, window_s=60.0)
    connections: ClassVar[int] = 10
    horizon_rows: ClassVar[int] = 5000

    # REST

    def rest_routes(self) -> list[web.AbstractRouteDef]:
        return [web.post("/info", self.answering(self._weight, self._answer))]

    def ask(self, request: web.Request, body: str) -> Asked:
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = None
        kind = parsed.get("type") if isinstance(parsed, dict) else None
        return Asked(f"{request.path}/{kind}", body=parsed)

    def headers(self) -> Mapping[str, str]:
        return {"Date": formatdate(self.told_ms() / 1000, usegmt=True)}

    def failure(self, fault: RestFault) -> Answer:
        if fault.status == 429:
            return Answer("null", 429)
        return Answer("Internal Server Error", fault.status, content_type="text/plain")

    def _weight(self, asked: Asked) -> int:
        kind = asked.body.get("type") if isinstance(asked.body, dict) else None
        return _WEIGHTS.get(kind, 20) if isinstance(kind, str) else 20

    def _answer(self, asked: Asked) -> Answer:
        body = asked.body
        kind = body.get("type") if isinstance(body, dict) else None
        if kind == "candleSnapshot":
            return self._candles(body.get("req"))
        if kind == "meta":
            return Answer(_compact(self._meta()))
        if kind == "spotMeta":
            return Answer(_compact(self._spot_meta()))
        if kind == "allMids":
            mids = {name: short_text(price, 1) for name in self.symbols if (price := self._last_price(name))}
            return Answer(_compact(mids))
        if kind == "exchangeStatus":
            return Answer(_compact({"specialStatuses": None, "time": self.told_ms()}))
        if kind == "l2Book":
            return Answer(_compact(self._book(body.get("coin"))))
        raise _refused(422)

    def _candles(self, req: Any) -> Answer:
        if not isinstance(req, dict):
            raise _refused(422)
        coin, interval = req.get("coin"), req.get("interval")
        start_ms, end_ms = req.get("startTime"), req.get("endTime")
        if not isinstance(coin, str) or not isinstance(interval, str) or not isinstance(start_ms, int):
            raise _refused(422)
        if interval not in self.intervals:
            raise _refused(422)
        if end_ms is not None and not isinstance(end_ms, int):
            raise _refused(422)
        if coin not in self._coins():
            raise _refused(500)
        if coin not in self.session.tapes:
            return Answer("[]")
        width = parse_interval(interval)
        # The candle that holds the start is given too, and never more than the newest.
        oldest_ms = width.open_of(self.now()) - (self.horizon_rows - 1) * width.typical_ms
        first_ms = max(width.open_of(max(0, start_ms)), oldest_ms)
        shown = self.rows(coin, interval, self.horizon_rows, first_ms, end_ms)
        said = [_candle(coin, interval, row) for row in shown.klines]
        if shown.how == "symbol":
            said[shown.at] = _candle(f"{coin}X", interval, shown.klines[shown.at])
        elif shown.how == "interval":
            said[shown.at] = _candle(coin, "1h" if interval != "1h" else "1m", shown.klines[shown.at])
        text = f"[{','.join(said)}]"
        return Answer(text[: len(text) * 2 // 3] if shown.how == "json" else text, weight=len(said) // _ROWS_A_WEIGHT)

    def _coins(self) -> set[str]:
        return {*self.symbols, *_OTHER_PERPS, "PURR/USDC", "@142"}

    def _meta(self) -> dict[str, Any]:
        names = [name for name in self.symbols if not name.startswith("@") and "/" not in name]
        universe: list[dict[str, Any]] = []
        for name in dict.fromkeys([*_OTHER_PERPS[:1], *names, *_OTHER_PERPS]):
            decimals = 5 if name == "BTC" or name not in names else self._size_decimals(name)
            entry: dict[str, Any] = {"szDecimals": decimals, "name": name, "maxLeverage": 40, "marginTableId": 56}
            universe.append(entry | ({"isDelisted": True} if name in _DELISTED and name not in names else {}))
        return {
            "universe": universe,
            "marginTables": [
                [56, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 40}]}],
            ],
        }

    def _spot_meta(self) -> dict[str, Any]:
        return {
            "universe": [
                {"tokens": [1, 0], "name": "PURR/USDC", "index": 0, "isCanonical": True},
                {"tokens": [197, 0], "name": "@142", "index": 142, "isCanonical": False},
            ],
            "tokens": [
                _token("USDC", 0, 8, 8, "0x6d1e7cde53ba9467b783cb7c530ce054", None),
                _token("PURR", 1, 0, 5, "0xc1fb593aeffbeb02f85e0308e9956a90", None),
                _token("UBTC", 197, 5, 10, "0x8f254b963e8468305d409b33aa137c67", "Unit Bitcoin"),
            ],
        }

    def _size_decimals(self, symbol: str) -> int:
        step = grain(self.session.tapes[symbol].columns.volume)
        return min(5, len(short_text(step).partition(".")[2]))

    def _last_price(self, symbol: str) -> int | None:
        rows = self.session.tapes[symbol].klines(parse_interval("1m"), self.now(), 1)
        return rows[-1].close if rows else None

    def _book(self, coin: object) -> dict[str, Any] | None:
        if not isinstance(coin, str) or coin not in self._coins():
            raise _refused(500)
        price = self._last_price(coin) if coin in self.session.tapes else None
        side = [] if price is None else [{"px": short_text(price, 1), "sz": "1.0", "n": 1}]
        return {"coin": coin, "time": self.told_ms(), "levels": [side, side]}

    # Websocket

    def socket_paths(self) -> list[str]:
        return [self.stream_base]

    def stream(self, symbol: str, interval: str) -> str:
        return f"candle,{symbol},{interval}"

    def topic(self, stream: str) -> tuple[str, str] | None:
        kind, *rest = stream.split(",")
        return (rest[0], rest[1]) if kind == "candle" else None

    def text(self, send: Send) -> str:
        return f'{{"channel":"candle","data":{_candle(send.said_symbol, send.said_interval, send.kline)}}}'

    def welcome(self, peer: Peer, request: web.Request) -> list[str]:
        return [_GREETING]

    def error_text(self) -> str:
        return _compact({"channel": "error", "data": "Internal error"})

    async def keep_alive(self, peer: Peer) -> None:
        """End a connection to which nothing was sent for a minute, abruptly; no ping is ever sent."""
        silence_s = self.rules.silence_s or 60.0
        while True:
            quiet_s = time.monotonic() - peer.last_sent_s
            if quiet_s >= silence_s and not peer.frozen:
                peer.abort()
                return
            await asyncio.sleep(silence_s if peer.frozen else silence_s - quiet_s)

    def hear(self, peer: Peer, text: str) -> list[str]:
        try:
            command = json.loads(text)
        except ValueError:
            command = None
        if not isinstance(command, dict):
            return [_unreadable(text)]
        if command.get("method") == "ping":
            return ['{"channel":"pong"}']
        subscription = command.get("subscription")
        if command.get("method") not in ("subscribe", "unsubscribe") or not isinstance(subscription, dict):
            return [_unreadable(text)]
        name = self._name(subscription)
        if name is None:
            return [_unreadable(text)]
        if subscription.get("type") != "allMids" and subscription.get("coin") not in self._coins():
            peer.abort()
            return []
        return self._subscribe(peer, command["method"], name, subscription)

    def _name(self, subscription: dict[str, Any]) -> str | None:
        kind, coin = subscription.get("type"), subscription.get("coin")
        if kind == "candle":
            is_whole = isinstance(coin, str) and subscription.get("interval") in self.intervals
            return f"candle,{coin},{subscription['interval']}" if is_whole else None
        if kind not in _SILENT_TYPES or not (kind == "allMids" or isinstance(coin, str)):
            return None
        return f"{kind},{coin}"

    def _subscribe(self, peer: Peer, method: str, name: str, subscription: dict[str, Any]) -> list[str]:
        subscribed = name in peer.streams
        if subscribed == (method == "subscribe"):
            said = "Already subscribed" if subscribed else "Already unsubscribed"
            return [_compact({"channel": "error", "data": f"{said}: {_compact(subscription)}"})]
        if method == "unsubscribe":
            del peer.streams[name]
        elif len(peer.streams) >= _SUBSCRIPTIONS:
            return [_compact({"channel": "error", "data": "Cannot subscribe to more than 1000 channels."})]
        elif self.loses():
            return []
        else:
            peer.streams[name] = None
            if not self.acknowledges():
                return []
        answer = {"channel": "subscriptionResponse", "data": {"method": method, "subscription": subscription}}
        return [_compact(answer)]


DIALECT = Hyperliquid


def _candle(symbol: str, interval: str, kline: Kline) -> str:
    return (
        f'{{"t":{kline.open_ms},"T":{kline.close_ms - 1},"s":"{symbol}","i":"{interval}",'
        f'"o":"{short_text(kline.open, 1)}","c":"{short_text(kline.close, 1)}","h":"{short_text(kline.high, 1)}",'
        f'"l":"{short_text(kline.low, 1)}","v":"{short_text(kline.volume, 1)}","n":{kline.trades}}}'
    )


def _token(name: str, index: int, size: int, wei: int, id: str, full_name: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "szDecimals": size,
        "weiDecimals": wei,
        "index": index,
        "tokenId": id,
        "isCanonical": index < 2,
        "evmContract": None,
        "fullName": full_name,
        "deployerTradingFeeShare": "0.0",
    }


def _unreadable(text: str) -> str:
    return _compact({"channel": "error", "data": f"Error parsing JSON into valid websocket request: {text}"})


def _refused(status: int) -> Refused:
    return Refused(Answer(_BAD_BODY, status, content_type="text/plain"))


def _compact(body: object) -> str:
    return json.dumps(body, separators=(",", ":"))
