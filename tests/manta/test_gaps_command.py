"""``manta gaps`` as cron and people run it: on files, on the store, beside a simulated venue and a webhook."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.manta.conftest import Place
from tests.manta.test_data_schedule import venue
from tests.trading.gaps.reference import lives
from trading.candle_files import load_candles
from trading.fold import fold
from trading.gaps.gaps_file import read_gaps_file
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

__all__ = ["venue"]

HOUR_MS = 3_600_000
HEAD = "time,open,high,low,close,volume\n"
EXAMPLE = """2025-12-21 11:00:00,88400.00,88433.64,88306.00,88387.93,10
2025-12-21 12:00:00,88387.93,88390.00,88000.00,88011.84,10
2025-12-21 13:00:00,88011.84,88149.99,87990.00,88100.00,10
2025-12-21 14:00:00,88100.00,88305.99,88000.00,88200.00,10
"""
FILLING = "2025-12-21 15:00:00,88200.00,88420.00,88140.00,88400.00,10\n"
FOUND = "Gap found G00001 1h down 88149.99 - 88306.00 @21DEC25 - 13:00:00 UTC (14:00:00 CET)"
CLOSED = "Gap closed G00001 1h down gap filled at 88306.00"
DISCORD = "notify: {channels: {phone: {kind: discord, min_interval_s: 0}}}\n"


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """The address of a webhook, and the titles it was sent."""
    titles: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            titles.append(body["embeds"][0]["title"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/webhooks/1/x", titles
    server.shutdown()
    server.server_close()
    thread.join()


def example(place: Place, *more: str) -> Path:
    """A folder as the scheduled download keeps it, with the worked example in it."""
    folder = place.folder / "data"
    folder.mkdir(exist_ok=True)
    (folder / "btc_usdt_60m_pionex.csv").write_text(HEAD + EXAMPLE + "".join(more))
    return folder


@pytest.mark.covers("S0-14", "S0-15", "S0-24")
def test_the_worked_example_from_a_file_is_recorded_and_told_once(place: Place, webhook: tuple[str, list[str]]) -> None:
    place.environ["DISCORD_WEBHOOK_URL"], titles = webhook
    place.config(DISCORD)
    folder = example(place)
    scan = ("gaps", "scan", "-t", "60M", "-m", "b2dir", "--data-dir", str(folder))
    answer = place.call(*scan, "--json")
    assert answer.status == 0
    (report,) = answer.value["intervals"]
    (gap,) = report["gaps"]
    assert (gap["id"], gap["type"], gap["low"], gap["high"], gap["status"], gap["new"]) == (
        "G00001", "down", "88149.99", "88306.00", "touched", True,
    )  # fmt: skip
    assert place.call(*scan).out.splitlines()[0] == "pionex:BTC_USDT: 1 gap in the last 4 bars for 1h:"
    assert titles == [FOUND]
    example(place, FILLING)
    answer = place.call(*scan)
    assert "closed G00001: down gap filled at 88306.00" in answer.out
    assert "NEW" not in answer.out
    assert titles == [FOUND, CLOSED]
    (row,) = read_gaps_file(place.data_dir / "gaps/gaps.csv")
    assert (row.id, row.closed, row.market, row.close_price) == ("G00001", True, "pionex:BTC_USDT", 8830600000000)


@pytest.mark.covers("S0-16", "S0-17", "S0-18")
def test_a_dry_run_shows_every_window_and_leaves_nothing_behind(place: Place, webhook: tuple[str, list[str]]) -> None:
    place.environ["DISCORD_WEBHOOK_URL"], titles = webhook
    place.config(DISCORD)
    folder, output = example(place, FILLING), place.folder / "out.txt"
    before = sorted(place.folder.rglob("*"))
    arguments = ("gaps", "scan", "--data-dir", str(folder), "--dry-run", "--verbose", "--output-file", str(output))
    answer = place.call(*arguments)
    assert answer.status == 0
    assert "  b1 21DEC25 - 11:00:00 UTC  O 88400.00 H 88433.64 L 88306.00 C 88387.93" in answer.out
    assert "  → down gap 88149.99 - 88306.00" in answer.out
    assert answer.out.count("→") == 3
    assert "filled at 88306.00  NEW" in answer.out
    assert sorted(place.folder.rglob("*")) == sorted([*before, output])
    place.call(*arguments)
    assert output.read_text().count(answer.out) == 2
    assert titles == []


@pytest.mark.covers("S0-16c", "S0-16d", "S0-17")
def test_the_preferred_preview_asks_the_venue_and_makes_no_database(venue: Place) -> None:
    place = venue
    answer = place.run(
        "gaps", "scan", "-t", "60M", "-m", "b2dir", "-d", "--download-limit", "48", "--dry-run", "--market",
        "pionex:BTC_USDT", "--json",
    )  # fmt: skip
    assert answer.status == 0
    (report,) = answer.value["intervals"]
    assert report["bars"] == 48
    assert report["gaps"] == truth(report)
    assert len(report["gaps"]) > 3
    assert not place.data_dir.exists()


def truth(report: dict[str, Any]) -> list[Any]:
    """The gaps of a report, if they are those of the replayed file read word by word; else what they should be."""
    hours = fold(load_candles(SAMPLE_FILE, SAMPLE_MARKET), "1h")
    bars = [hour for hour in hours if report["from_ms"] <= hour.open_time_ms < report["to_ms"]]
    expected = lives(bars, "b2dir")
    seen = {
        (gap["start_time_ms"], gap["type"]): tuple(
            None if gap[name] is None else round(float(gap[name]) * 1e8) if name in ("low", "high", "close_price")
            else gap[name]
            for name in ("low", "high", "touched_time_ms", "closed_time_ms", "close_price")
        )
        for gap in report["gaps"]
    }  # fmt: skip
    return report["gaps"] if seen == expected else [expected]


@pytest.mark.covers("S0-14", "S0-16", "W13")
def test_the_store_keeps_what_is_scanned_and_can_be_listed_exported_and_rebuilt(
    venue: Place, webhook: tuple[str, list[str]]
) -> None:
    place = venue
    place.environ["DISCORD_WEBHOOK_URL"], titles = webhook
    place.config(DISCORD)
    scan = ("gaps", "scan", "-t", "1h,4H", "-d", "--download-limit", "40", "--market", "pionex:BTC_USDT", "--json")
    first = place.call(*scan)
    assert first.status == 0, first.err
    gaps = [gap for report in first.value["intervals"] for gap in report["gaps"]]
    assert gaps
    assert all(gap["new"] for gap in gaps)
    assert [title.split()[2] for title in titles] == [f"G{n + 1:05}" for n in range(len(gaps))]
    again = place.call(*scan)
    # A candle may have closed meanwhile; what was recorded stays so.
    known = [gap for report in again.value["intervals"] for gap in report["gaps"] if not gap["new"]]
    assert {gap["id"] for gap in known} >= {gap["id"] for gap in gaps[1:]}
    listed = place.call("gaps", "list", "-t", "60M", "--json").value
    assert {gap["interval"] for gap in listed} == {"1h"}
    exported = place.call("gaps", "export", "--json").value
    assert len(read_gaps_file(Path(exported["file"]))) == exported["rows"] >= len(gaps)
    # All gaps were found as a pass over everything finds them.
    preview = place.call("gaps", "rebuild", "-t", "1h", "--market", "pionex:BTC_USDT", "--json").value
    (series,) = preview["series"]
    assert (preview["applied"], series["removed"], series["changed"]) == (False, [], [])
    assert series["kept"] >= len([gap for gap in gaps if gap["interval"] == "1h"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("-m", "fuzzy"), "mode"),
        (("-t", "7x"), "interval"),
        (("-t", ","), "timeframes"),
        (("--type", "sideways"), "type"),
        (("--min-size", "0.000000001"), "min_size"),
        (("--market", "nowhere"), "market"),
        (("--file", "absent.csv"), "file"),
        (("--file", "a.csv", "--data-dir", "b"), "file"),
        (("--file", "a.csv", "-t", "1h,4h"), "timeframes"),
        (("--file", "a.csv", "-d"), "download_latest"),
        (("--dry-run",), "market"),
    ],
)
def test_wrong_arguments_name_the_field_and_the_fix(place: Place, arguments: tuple[str, ...], field: str) -> None:
    answer = place.run("gaps", "scan", "--dry-run", *arguments, "--json")
    assert (answer.status, answer.value["field"]) == (2, field)
    assert answer.value["fix"]
    assert not place.data_dir.exists()


@pytest.mark.covers("S0-15", "S0-19")
def test_every_command_in_the_docs_is_understood(place: Place) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "price-gaps.md").read_text(encoding="utf-8")
    said = re.findall(r"(?:^manta|run) (gaps (?:scan|list|export|rebuild)[^#\n>;]*)", page, flags=re.M)
    assert len(said) >= 11
    for text in said:
        answer = place.run(*shlex.split(text), "--help")
        assert (answer.status, text) == (0, text), answer.err
    (cron,) = re.findall(r"^10 2 \* \* \* (.*)$", page, flags=re.M)
    assert all(word.startswith("/") for word in cron.split() if "/" in word and ":" not in word)
