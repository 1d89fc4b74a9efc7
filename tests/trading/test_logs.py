"""Logs: one line an event, UTC, masked, bounded on disk, told once."""

import datetime as dt
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from trading.clock import ReplayClock
from trading.config.secrets import MASK, Secret, write_secrets
from trading.logs import Availability, DailyFile, configure_logging, shutdown_logging

VALUE = "made-up-value"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    shutdown_logging()
    structlog.reset_defaults()
    logging.getLogger().setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_json_with_utc_time_level_and_logger():
    out = io.StringIO()
    configure_logging(stream=out)
    structlog.get_logger("feed:binance:BTCUSDT").info("ready", candles=3)
    logging.getLogger("trading.storage").warning("away: %s", "x")
    first, second = lines(out)
    assert list(first)[:4] == ["timestamp", "level", "logger", "event"]
    moment = dt.datetime.fromisoformat(str(first["timestamp"]))
    assert moment.utcoffset() == dt.timedelta(0)
    assert (first["logger"], first["event"], first["candles"]) == ("feed:binance:BTCUSDT", "ready", 3)
    assert (second["level"], second["event"]) == ("warning", "away: x")


@pytest.mark.parametrize("console", [False, True])
@pytest.mark.covers("W23")
def test_no_secret_reaches_the_log_by_any_way(tmp_path: Path, console: bool):
    out = io.StringIO()
    configure_logging(stream=out, console=console, secrets=write_secrets(tmp_path, {"DB_PASSWORD": VALUE}))
    log = structlog.get_logger("host")
    log.info(f"in the event {VALUE}", field=f"x{VALUE}", nested={"a": [VALUE]}, thing=Secret(VALUE))
    logging.getLogger("aiohttp").warning("argument %s", VALUE)
    logging.getLogger("trading.x").info("extra", extra={"password": VALUE})
    try:
        raise ValueError(VALUE)
    except ValueError as error:
        log.error("failed", exc_info=error)
        logging.getLogger("asyncio").exception("failed too")
    log.info("sent to https://discord.com/api/" + "webhooks/1/abcdefgh")
    assert VALUE not in out.getvalue()
    assert "abcdefgh" not in out.getvalue()
    assert out.getvalue().count(MASK) >= 8
    assert out.getvalue().count("ValueError: ") == 2


def test_libraries_are_heard_from_warnings_on_and_do_not_flood():
    out = io.StringIO()
    configure_logging(stream=out, level="DEBUG")
    other = logging.getLogger("aiohttp.access")
    other.info("GET /")
    for number in range(100):
        other.warning("retry %d", number)
    structlog.get_logger("host").info("ours")
    told = [line["event"] for line in lines(out)]
    assert "GET /" not in told
    # At most five a minute; the loop may cross into a second minute.
    assert 1 <= sum(str(event).startswith("retry") for event in told) <= 10
    assert told[-1] == "ours"


def test_configuring_again_replaces_the_first_destination(tmp_path: Path):
    first = io.StringIO()
    configure_logging(stream=first)
    configure_logging(tmp_path / "deep" / "host.log")
    structlog.get_logger("host").info("where")
    shutdown_logging()
    assert first.getvalue() == ""
    assert json.loads((tmp_path / "deep" / "host.log").read_text())["event"] == "where"


@pytest.mark.covers("S4-24")
def test_the_level_is_info_unless_another_is_chosen():
    out = io.StringIO()
    configure_logging(stream=out)
    structlog.get_logger("host").debug("quiet")
    structlog.get_logger("host").info("told")
    assert [line["event"] for line in lines(out)] == ["told"]
    out = io.StringIO()
    configure_logging(stream=out, level="warning")
    structlog.get_logger("host").info("quiet")
    assert out.getvalue() == ""


class Days:
    """A calendar that the test turns."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 11, 1, 23, 59, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now


def write(handler: DailyFile, text: str) -> None:
    handler.handle(logging.LogRecord("host", logging.INFO, "", 0, text, None, None))


@pytest.mark.covers("S4-24")
def test_a_file_a_day_is_kept_for_seven_days(tmp_path: Path):
    days = Days()
    handler = DailyFile(tmp_path / "host.log", now=days)
    for number in range(12):
        write(handler, f"day {number}")
        days.now += dt.timedelta(days=1)
    handler.close()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [*(f"host.2026-11-{day:02}.1.log" for day in range(5, 12)), "host.log"]
    assert (tmp_path / "host.log").read_text() == "day 11\n"


@pytest.mark.covers("S0-20")
def test_logs_stay_small_whatever_is_written(tmp_path: Path):
    handler = DailyFile(tmp_path / "host.log", now=Days(), max_bytes=1_000, max_total_bytes=5_000)
    for number in range(2_000):
        write(handler, f"line {number:05}")
    handler.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert max(sizes) <= 1_000
    assert sum(sizes) <= 6_000
    kept = sorted(line for path in tmp_path.iterdir() for line in path.read_text().splitlines())
    assert kept == [f"line {number:05}" for number in range(2_000 - len(kept), 2_000)]


def test_other_files_beside_the_log_are_left_alone(tmp_path: Path):
    other = tmp_path / "host.notes.2.log"
    other.write_text("mine")
    days = Days()
    handler = DailyFile(tmp_path / "host.log", now=days, keep_days=0, max_total_bytes=0)
    for _ in range(3):
        write(handler, "x")
        days.now += dt.timedelta(days=1)
    handler.close()
    assert other.read_text() == "mine"


def test_a_condition_is_told_when_it_begins_and_when_it_ends():
    out = io.StringIO()
    configure_logging(stream=out)
    clock = ReplayClock()
    feed = Availability(structlog.get_logger("feed"), "feed", clock=clock.monotonic)
    feed.back()
    for _ in range(5):
        feed.down("silent")
        clock.advance(2)
    assert not feed.up
    feed.back()
    feed.back()
    assert [(line["event"], line.get("away_s")) for line in lines(out)] == [
        ("feed is down", None),
        ("feed is back", 10.0),
    ]
