"""Candle files kept up to date from a venue."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from tests.trading.venues.pionex.venue import MINUTE_MS, START, Venue, answering, refusal
from trading.config.model import Config
from trading.downloads import CandleFiles, ScheduledDownloads, check_intervals, logging_to
from trading.errors import BadInput, ConfigError, VenueRetryable
from trading.intervals import DAY_MS, HOUR_MS
from trading.seed_files import read_seed_rows

DAY_MINUTES = 1440


class Known(Venue):
    """A venue that knows its symbol, fails the first ``failing`` questions about candles, and answers the first
    ``spoiled`` ones with ten times the price of the last closed candle.
    """

    failing = 0
    spoiled = 0

    def answer(self, request: web.Request) -> web.Response:
        if request.path.endswith("/symbols"):
            info = {
                "symbol": "BTC_USDT", "type": "SPOT", "baseCurrency": "BTC", "quoteCurrency": "USDT",
                "basePrecision": 6, "quotePrecision": 2, "minAmount": "10", "enable": True,
            }  # fmt: skip
            is_known = request.query.get("symbols", "BTC_USDT") == "BTC_USDT"
            body = {"result": True, "data": {"symbols": [info]}, "timestamp": self.now_ms}
            return web.json_response(body if is_known else refusal("MARKET_INVALID_SYMBOL"))
        if self.failing and "endTime" in request.query:
            self.failing -= 1
            return web.Response(status=500)
        answer = super().answer(request)
        if self.spoiled and "endTime" in request.query:
            self.spoiled -= 1
            body = json.loads(answer.body)  # type: ignore[arg-type]
            last_closed = body["data"]["klines"][1]
            last_closed |= {name: f"{last_closed[name]}0" for name in ("open", "high", "low", "close")}
            return web.json_response(body)
        return answer

    def limits(self) -> list[int]:
        return [int(query["limit"]) for query in self.asked if "endTime" in query]


def days(count: int) -> Known:
    """A venue with a candle for each minute of ``count`` days, and a little more."""
    return Known(START + count * DAY_MS + 90_000, list(range(0, count * DAY_MINUTES + 1, 60)))


def times(path: Path) -> list[int]:
    return [(row.open_time_ms - START) // HOUR_MS for row in read_seed_rows(path)]


@pytest.mark.covers("S0-2", "S0-9", "S0-23")
async def test_the_newest_candles_become_a_file_of_the_first_downloaders(tmp_path: Path) -> None:
    venue = days(10)
    async with answering(venue.answer) as history:
        files = CandleFiles(history, "pionex:BTC_USDT", tmp_path)
        for interval, name, rows in (("60M", "60m", 100), ("4H", "4h", 60), ("1D", "1d", 10)):
            done = await files.bring_up(interval, bars=100)
            assert done.path == tmp_path / f"btc_usdt_{name}_pionex.csv"
            assert (done.received, done.rows_before, done.rows_after) == (rows, 0, rows)
    first, second, *_ = (tmp_path / "btc_usdt_1d_pionex.csv").read_text().splitlines()
    assert first == "time,open,high,low,close,volume"
    assert second == "2025-07-16 00:00:00,100,100,100,100,1.5"


@pytest.mark.covers("S0-8", "W15")
async def test_a_download_joins_what_the_file_has_however_long_ago_that_was(tmp_path: Path) -> None:
    venue = days(4)
    async with answering(venue.answer) as history:
        files = CandleFiles(history, "pionex:BTC_USDT", tmp_path)
        await files.bring_up("1h", bars=10)
        venue.now_ms += 2 * DAY_MS
        venue.minutes += range(4 * DAY_MINUTES + 60, 6 * DAY_MINUTES + 60, 60)
        done = await files.bring_up("1h", bars=5)
        assert times(done.path) == list(range(86, 144))
        again = await files.bring_up("60M", bars=5)
        assert (again.path, again.rows_before, again.rows_after) == (done.path, 58, 58)


@pytest.mark.covers("S0-7")
async def test_a_year_of_hours_comes_in_questions_of_at_most_500_rows(tmp_path: Path) -> None:
    venue = days(365)
    told: list[tuple[int, int, int]] = []
    async with answering(venue.answer) as history:
        files = CandleFiles(history, "pionex:BTC_USDT", tmp_path)
        done = await files.bring_up("60M", bars=365 * 24, tell=lambda *reached: told.append(reached))
        assert times(done.path) == list(range(365 * 24))
    assert max(venue.limits()) == 500
    assert len(venue.limits()) == 365 * 24 // 500 + 1
    assert [reached for _, reached, _ in told] == sorted(reached for _, reached, _ in told)
    assert told[-1][1] == told[-1][2]


@pytest.mark.covers("S0-8")
async def test_a_shorter_history_never_replaces_a_longer_one(tmp_path: Path) -> None:
    venue = days(20)
    async with answering(venue.answer) as history:
        files = CandleFiles(history, "pionex:BTC_USDT", tmp_path)
        await files.bring_up("1h", bars=300)
        venue.kept = 50
        done = await files.bring_up("1h", bars=480)
        assert times(done.path) == list(range(180, 480))


async def test_what_lies_before_the_venues_horizon_is_not_asked_for(tmp_path: Path) -> None:
    venue = days(450)
    async with answering(venue.answer) as history:
        done = await CandleFiles(history, "pionex:BTC_USDT", tmp_path).bring_up("1h", bars=450 * 24)
        assert (done.received, done.unusable, done.is_cut) == (9_999, 0, True)
        assert not (await CandleFiles(history, "pionex:BTC_USDT", tmp_path).bring_up("1h", bars=5)).is_cut


async def test_what_arrived_before_a_failure_is_kept(tmp_path: Path) -> None:
    venue = days(60)
    async with answering(venue.answer) as history:
        files = CandleFiles(history, "pionex:BTC_USDT", tmp_path)

        def fail_after_the_first(*_: int) -> None:
            venue.failing = 3

        with pytest.raises(VenueRetryable):
            await files.bring_up("1h", bars=1200, tell=fail_after_the_first)
        assert times(tmp_path / "btc_usdt_60m_pionex.csv") == list(range(240, 740))
        venue.failing = 0
        done = await files.bring_up("1h", bars=5)
        assert times(done.path) == list(range(240, 1440))


@pytest.mark.covers("S0-11")
async def test_a_schedule_fetches_ten_candles_at_its_start_and_five_in_each_turn(tmp_path: Path) -> None:
    venue = days(3)
    async with answering(venue.answer) as history:
        venue.now_ms += 15 * MINUTE_MS
        downloads = ScheduledDownloads("pionex:BTC_USDT", tmp_path, ("1h", "1d"))
        assert [(each.interval, each.received) for each in await downloads.work(history, venue.now_ms)] == [
            ("1h", 10),
            ("1d", 3),
        ]
        assert await downloads.work(history, venue.now_ms) == []
        venue.now_ms += HOUR_MS
        venue.minutes.append(3 * DAY_MINUTES + 60)
        (done,) = await downloads.work(history, venue.now_ms)
        assert (done.interval, done.received, done.rows_after) == ("1h", 5, 11)


@pytest.mark.covers("S0-10")
async def test_a_failure_is_logged_in_full_and_stops_no_other_timeframe(tmp_path: Path) -> None:
    venue = days(3)
    venue.failing = 3
    with logging_to(tmp_path, "pionex") as log:
        async with answering(venue.answer) as history:
            downloads = ScheduledDownloads("pionex:BTC_USDT", tmp_path, ("1h", "1d"))
            assert [each.interval for each in await downloads.work(history, venue.now_ms)] == ["1d"]
            assert downloads.schedule.next_ms(venue.now_ms) == venue.now_ms + MINUTE_MS
            venue.now_ms += MINUTE_MS
            assert [each.interval for each in await downloads.work(history, venue.now_ms)] == ["1h"]
    assert log == tmp_path / "pionex_downloader.log"
    failed, *rest = log.read_text().splitlines()
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR pionex:BTC_USDT 1h failed: VenueRetryable: "
        r"market/klines: HTTP 500",
        failed,
    )
    assert [line.split()[1] for line in rest] == ["INFO", "INFO"]


async def test_a_file_that_is_no_candle_file_is_left_alone_and_said(tmp_path: Path) -> None:
    venue = days(3)
    path = tmp_path / "btc_usdt_60m_pionex.csv"
    path.write_text("something else\n")
    async with answering(venue.answer) as history:
        with pytest.raises(BadInput, match="not the header"):
            await CandleFiles(history, "pionex:BTC_USDT", tmp_path).bring_up("1h", bars=5)
    assert path.read_text() == "something else\n"


async def test_a_price_that_jumps_alone_is_not_written_and_comes_right_later(tmp_path: Path) -> None:
    venue = days(4)
    venue.spoiled = 1
    with logging_to(tmp_path, "pionex") as log:
        async with answering(venue.answer) as history:
            files = CandleFiles(history, "pionex:BTC_USDT", tmp_path)
            done = await files.bring_up("1h", bars=20)
            assert times(done.path) == list(range(76, 95))
            done = await files.bring_up("1h", bars=5)
            assert times(done.path) == list(range(76, 96))
    assert "WARNING pionex:BTC_USDT 1h: left out: prices" in log.read_text()
    assert len({row.texts[0] for row in read_seed_rows(done.path)}) > 1
    assert max(float(row.texts[0]) for row in read_seed_rows(done.path)) < 200


@pytest.mark.covers("W14")
async def test_two_downloaders_of_one_file_lose_nothing(tmp_path: Path) -> None:
    venue = days(20)
    async with answering(venue.answer) as history:
        files = [CandleFiles(history, "pionex:BTC_USDT", tmp_path) for _ in range(6)]
        await asyncio.gather(*(each.bring_up("1h", bars=60 * (n + 1)) for n, each in enumerate(files)))
    assert times(tmp_path / "btc_usdt_60m_pionex.csv") == list(range(480 - 360, 480))


async def test_an_unknown_symbol_and_an_unserved_timeframe_are_refused(tmp_path: Path) -> None:
    async with answering(days(1).answer) as history:
        with pytest.raises(ConfigError, match="Did you mean BTC_USDT"):
            await CandleFiles(history, "pionex:BTC_USD", tmp_path).bring_up("1h", bars=5)
    with pytest.raises(BadInput, match="pionex has no candles of 2h") as caught:
        check_intervals("pionex", ("60M", "2h"))
    assert caught.value.field == "timeframes"
    assert check_intervals("pionex", ("60M", "1h", "4H", "daily")) == ("1h", "4h", "1d")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"), logging_to(tmp_path / "file" / "data", "pionex"):
        pass


@pytest.mark.parametrize(
    ("downloads", "message"),
    [
        ({"enabled": True, "timeframes": ["60M", "2h"]}, "pionex:BTC_USDT has no candles of 2h"),
        ({"enabled": True, "markets": ["bitfinex:BTCUSD"]}, "no connection to venue 'bitfinex'"),
        ({"enabled": True, "markets": ["BTC_USDT"]}, "is not venue:symbol"),
        ({"timeframes": []}, "timeframes"),
    ],
)
def test_a_configuration_that_no_venue_can_serve_is_refused(downloads: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate({"downloads": downloads})


def test_a_configuration_takes_the_first_downloaders_names() -> None:
    config = Config.model_validate({"downloads": {"enabled": True, "timeframes": ["60M", "4H", "daily"]}})
    assert config.downloads.timeframes == ("1h", "4h", "1d")
    assert not Config().downloads.enabled
