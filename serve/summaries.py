"""Health, 24-hour statistics and technical state: a few small queries each, and the judgement over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serve.database import Database
from serve.parameters import Markets
from trading.condition import report
from trading.config.model import Config, FeatureSpec
from trading.features.registry import load_feature
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage.condition import read_condition, read_now

__all__ = ["Summaries"]

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
        """What ``trading.condition`` says of the whole; a simulation's ages are those of its own time."""
        async with self.database.connection() as connection:
            condition = await read_condition(connection, self.config.markets)
        return {**report(condition), "intervals": ["1m", *self.config.all_intervals()]}

    async def stats(self, market: str, market_id: int) -> dict[str, Any]:
        last = await self.database.fetchval(
            "select ms(close_time) from candles where market_id = $1 and interval = '1m' order by open_time desc"
            " limit 1",
            market_id,
        )
        async with self.database.connection() as connection:
            _, now = await read_now(connection, market, [last])
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

    async def _warming(self, market_ids: list[int]) -> list[Any]:
        return await self.database.fetch(_WARMING, market_ids)


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
