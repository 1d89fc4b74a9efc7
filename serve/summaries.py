"""Health, 24-hour statistics and technical state: a few small queries each, and the judgement over them."""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import Any

from serve.database import Database
from serve.parameters import Markets
from trading.config.model import Config, FeatureSpec
from trading.features.registry import load_feature
from trading.intervals import DAY_MS, MINUTE_MS

__all__ = ["Summaries"]

_DEGRADED_AFTER_S = 120
_DOWN_AFTER_S = 300
_RANK = {"ok": 0, "degraded": 1, "down": 2}

_STATE = """
select m.id, m.venue || ':' || m.symbol as market,
    (select ms(c.close_time) from candles c where c.market_id = m.id and c.interval = '1m' order by c.open_time desc
    limit 1) as last_close,
    (select count(*) from data_quality q where q.market_id = m.id and q.kind = 'hole' and not q.resolved
        and q.reason <> 'absent') as holes,
    (select e.kind from events e where e.stream = m.venue || ':' || m.symbol and e.kind in ('feed_up', 'feed_down')
        order by e.seq desc limit 1) as feed
from markets m where m.venue || ':' || m.symbol = any($1)
"""
_WARMING = """
select i.name, s.market_id, s.interval, s.status, s.warm_have, s.warm_need, s.target, s.confidence,
ms(s.close_time) as close_time
from instances i cross join unnest(i.intervals) as wanted(interval) cross join unnest($1::int[]) as markets(market_id)
cross join lateral (
    select * from signals s where s.instance_id = i.instance_id and s.market_id = markets.market_id and s.interval =
    wanted.interval
    order by s.open_time desc limit 1) s
where i.active order by i.name, s.interval
"""
_DAY = """
select count(*) as candles, max(high) as high, min(low) as low, coalesce(sum(volume), 0) as volume,
    sum(quote_volume) as quote_volume, (array_agg(open order by open_time))[1] as open,
    (array_agg(close order by open_time desc))[1] as close
from candles where market_id = $1 and interval = '1m' and open_time >= at_ms($2) and close_time <= at_ms($3)
"""
_DAY_DECISIONS = """
select action, outcome, count(*) as number
from decisions d join books b using (book) cross join unnest(case when d.actions = '{}' then array['HOLD'] else
d.actions end) as action
where d.market_id = $1 and b.mode <> 'backtest' and d.close_time > at_ms($2) and d.close_time <= at_ms($3) group by 1, 2
"""
_DAY_OUTCOMES = """
select outcome, count(*) as number from decisions d join books b using (book)
where d.market_id = $1 and b.mode <> 'backtest' and d.close_time > at_ms($2) and d.close_time <= at_ms($3) group by 1
"""
_DAY_FILLS = """
select count(*) from fills f join books b using (book)
where f.market_id = $1 and b.mode <> 'backtest' and f.time > at_ms($2) and f.time <= at_ms($3)
"""
_HOLES = """
select ms(from_time) as from_ms, ms(to_time) as to_ms, reason, resolved from data_quality
where market_id = $1 and kind = 'hole' and to_time > at_ms($2) and from_time < at_ms($3) order by from_time limit 1000
"""


@dataclass(frozen=True, slots=True)
class Summaries:
    """Reads that judge. They hold no state; ages are measured by the venue's clock, or by the replay's own in a
    simulation.
    """

    database: Database
    markets: Markets
    config: Config

    async def health(self) -> dict[str, Any]:
        rows = {row["market"]: row for row in await self.database.fetch(_STATE, list(self.config.markets))}
        simulated, now = await self._now([row["last_close"] for row in rows.values()])
        warming = await self._warming([row["id"] for row in rows.values()])
        markets = [_market_health(key, rows.get(key), now, warming) for key in self.config.markets]
        worst = max((market["status"] for market in markets), key=_RANK.__getitem__, default="ok")
        books = await self.database.fetch(
            "select book, mode, currency, trim_scale(capital)::text as capital from books where mode <>"
            " 'backtest' order by book"
        )
        return {
            "status": worst,
            "database": "ok",
            "reasons": [f"{market['market']}: {reason}" for market in markets for reason in market["reasons"]],
            "clock": "simulated" if simulated else "venue",
            "now": now,
            "origin": "simulator" if simulated else "venue",
            "books": [dict(row) for row in books],
            "intervals": ["1m", *self.config.all_intervals()],
            "markets": markets,
        }

    async def stats(self, market: str, market_id: int) -> dict[str, Any]:
        last = await self.database.fetchval(
            "select ms(close_time) from candles where market_id = $1 and interval = '1m' order by open_time desc"
            " limit 1",
            market_id,
        )
        _, now = await self._now([last])
        # Whole minutes, so that a full day has exactly 1,440 candles.
        upto = now // MINUTE_MS * MINUTE_MS
        span = (market_id, upto - DAY_MS, upto)
        [day] = await self.database.fetch(_DAY, *span)
        decisions: dict[str, int] = dict.fromkeys(("OPEN_LONG", "CLOSE_LONG", "OPEN_SHORT", "CLOSE_SHORT", "HOLD"), 0)
        for row in await self.database.fetch(_DAY_DECISIONS, *span):
            decisions[row["action"]] = decisions.get(row["action"], 0) + row["number"]
        outcomes = {row["outcome"]: row["number"] for row in await self.database.fetch(_DAY_OUTCOMES, *span)}
        holes = [
            {"from": row["from_ms"], "to": row["to_ms"], "reason": row["reason"], "resolved": row["resolved"]}
            for row in await self.database.fetch(_HOLES, *span)
        ]
        change = round((day["close"] / day["open"] - 1) * 100, 4) if day["open"] else None
        return {
            "market": market, "from": span[1], "to": upto, **dict(day), "expected_candles": DAY_MS // MINUTE_MS,
            "change_percent": change, "decisions": decisions, "outcomes": outcomes,
            "fills": await self.database.fetchval(_DAY_FILLS, *span), "holes": holes,
        }  # fmt: skip

    async def technical(self, market: str, market_id: int) -> dict[str, Any]:
        signals = await self._warming([market_id])
        intervals = []
        for interval in ("1m", *self.config.all_intervals()):
            candle = await self.database.fetchrow(
                "select close, ms(close_time) as close_time from candles where market_id = $1 and interval = $2"
                " order by open_time desc limit 1",
                market_id,
                interval,
            )
            close = candle["close"] if candle else None
            specs = [spec for spec in self.config.features if interval in spec.intervals]
            intervals.append(
                {
                    "interval": interval,
                    "close": close,
                    "close_time": candle["close_time"] if candle else None,
                    "features": [await self._reading(market_id, interval, spec, close) for spec in specs],
                    "strategies": [_opinion(row) for row in signals if row["interval"] == interval],
                }
            )
        return {"market": market, "intervals": intervals}

    async def _reading(self, market_id: int, interval: str, spec: FeatureSpec, close: float | None) -> dict[str, Any]:
        """The newest value; when it is missing or older than the newest candle, how far its warm-up is."""
        row = await self.database.fetchrow(
            "select value, ms(open_time) as open_time from features where market_id = $1 and interval = $2 and"
            " name = $3"
            " order by open_time desc limit 1",
            market_id,
            interval,
            spec.name,
        )
        value = row["value"] if row else None
        reading = {
            "name": spec.name,
            "value": value,
            "posture": None,
            "distance_percent": None,
            "warming": None,
            "open_time": row["open_time"] if row else None,
        }
        if value is None:
            need = load_feature(spec.kind, spec.params).need
            have = await self.database.fetchval(
                "select count(*) from (select 1 from candles where market_id = $1 and interval = $2 and complete"
                " limit $3) c",
                market_id,
                interval,
                need,
            )
            reading["warming"] = f"{have}/{need}"
        elif close is not None:
            reading["posture"] = "ABOVE" if close > value else "BELOW" if close < value else "AT"
            reading["distance_percent"] = round((close / value - 1) * 100, 4) if value else None
        return reading

    async def _now(self, last_closes: list[int | None]) -> tuple[bool, int]:
        """(simulated, the venue's present time in ms). A replay's time is that of its newest event or candle."""
        origin = await self.database.fetchval("select value from database_info where key = 'origin'")
        if origin != "simulator":
            return False, round(time() * 1000)
        newest = await self.database.fetchval(
            "select ms(max(event_time)) from (select event_time from events order by seq desc limit 200) recent"
        )
        return True, max(moment for moment in (newest, *last_closes, 0) if moment is not None)

    async def _warming(self, market_ids: list[int]) -> list[Any]:
        return await self.database.fetch(_WARMING, market_ids)


def _market_health(key: str, row: Any, now: int, signals: list[Any]) -> dict[str, Any]:
    last = row["last_close"] if row else None
    age = max(0, now - last) / 1000 if last is not None else None
    feed = {"feed_up": "up", "feed_down": "down", None: "unknown"}[row["feed"] if row else None]
    found = []
    if age is None:
        found.append(("down", "no closed 1m candle yet"))
    elif age > _DOWN_AFTER_S:
        found.append(("down", f"the last 1m candle closed {age:.0f} s ago"))
    elif age > _DEGRADED_AFTER_S:
        found.append(("degraded", f"the last 1m candle closed {age:.0f} s ago"))
    if feed == "down":
        found.append(("degraded", "the feed is down"))
    if row and row["holes"]:
        found.append(("degraded", f"{row['holes']} unresolved hole{'s' if row['holes'] > 1 else ''}"))
    return {
        "market": key,
        "status": max((status for status, _ in found), key=_RANK.__getitem__, default="ok"),
        "reasons": [reason for _, reason in found],
        "feed": feed,
        "last_close": last,
        "age_s": age,
        "unresolved_holes": row["holes"] if row else 0,
        "warming": [
            {"name": item["name"], "interval": item["interval"], "warming": f"{item['warm_have']}/{item['warm_need']}"}
            for item in signals
            if row and item["market_id"] == row["id"] and item["status"] == "warming"
        ],
    }


def _opinion(row: Any) -> dict[str, Any]:
    ready = row["status"] == "ready"
    return {
        "name": row["name"],
        "status": row["status"],
        "target": row["target"],
        "confidence": row["confidence"],
        "warming": None if ready else f"{row['warm_have']}/{row['warm_need']}" if row["status"] == "warming" else None,
        "close_time": row["close_time"],
    }
