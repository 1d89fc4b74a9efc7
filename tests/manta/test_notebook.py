"""Manta in a notebook: the page about it is run as it stands, and what it gives is what the commands give."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from manta import notebook
from manta.service import database_target
from tests.backtest.test_bad_input import rows_of, write
from tests.backtest.test_run import BTC
from tests.manta.conftest import Place
from tests.trading.strategies.own import put, text
from trading.candle_files import load_candles
from trading.candles import UNIT, Candle
from trading.errors import BadInput, DataHole, MantaError
from trading.fold import fold
from trading.intervals import DAY_MS, HOUR_MS
from trading.storage.candles import upsert_candles
from trading.storage.database import Database
from trading.storage.markets import upsert_market
from trading.storage.migrate import migrate

PAGE = (Path(__file__).parents[2] / "docs" / "notebook.md").read_text(encoding="utf-8")
# A block of Python, and the output that the page shows for it, if any.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", PAGE, re.DOTALL)
MARKET = BTC.key


@pytest.fixture(autouse=True)
def own_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks run in a folder without a configuration, and have a data directory of their own."""
    for name in ("DB_HOST", "MANTA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MANTA_DATA_DIR", str(place.data_dir))
    monkeypatch.chdir(place.folder)


@pytest.fixture(scope="module")
def days() -> list[Candle]:
    """The first three days of the sample, in minutes."""
    first = load_candles(notebook.SAMPLE, MARKET)[0].open_time_ms
    return load_candles(notebook.SAMPLE, MARKET, end_ms=first + 3 * DAY_MS)


@pytest.fixture(scope="module")
def file(days: list[Candle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those days as a file: smaller than the sample, which takes seconds to read."""
    return write(tmp_path_factory.mktemp("candles") / "days.csv", rows_of(days))


async def record(minutes: list[Candle]) -> None:
    async with database_target(None) as target:
        await migrate(target, "venue")
        async with Database(target) as database:
            await database.run(lambda connection: upsert_market(connection, BTC))
            await database.run(lambda connection: upsert_candles(connection, minutes))


def test_the_page_runs_as_it_stands_and_prints_what_it_shows(place: Place) -> None:
    names: dict[str, object] = {}
    for code, shown in BLOCKS:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, "docs/notebook.md", "exec"), names)
        assert said.getvalue() == shown, code
    page = (place.folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "ma44 on binance:BTCUSDT" in page
    # Files and arrays need no database.
    assert not place.data_dir.exists()


def test_candles_of_a_file_are_its_minutes_folded(days: list[Candle], file: Path) -> None:
    found = notebook.candles(market=MARKET, interval="1h", file=file, start="2025-07-01T02:00", end="2025-07-04")
    expected = fold(days, "1h")[2:]
    assert list(found.rows) == expected
    assert found["open_time"].dtype == "datetime64[ms]"
    assert found["open_time"].astype(np.int64).tolist() == [item.open_time_ms for item in expected]
    assert found["close"].tolist() == [item.close / UNIT for item in expected]
    with pytest.raises(ValueError, match="read-only"):
        found["close"][0] = 1.0


async def test_recorded_candles_and_runs_equal_those_of_a_file_inside_a_running_loop(
    days: list[Candle], file: Path
) -> None:
    assert asyncio.get_running_loop().is_running()
    await record(days)
    recorded = notebook.candles(market=MARKET, interval="1h", end="2025-07-04")
    from_file = notebook.candles(market=MARKET, interval="1h", file=file, end="2025-07-04")
    assert len(recorded) == 72
    for name in from_file:
        assert recorded[name].tolist() == from_file[name].tolist(), name
    wanted = {"intervals": "1h", "params": {"period": 5}, "end": "2025-07-04"}
    one = notebook.backtest("ma44", market="BTC", **wanted)
    other = notebook.backtest("ma44", market=MARKET, file=file, **wanted)
    assert one.summary["trades"] == len(one.trades) - one.summary["open_trades"] > 0
    assert one.trades["entry_price"].tolist() == other.trades["entry_price"].tolist()
    with pytest.raises(DataHole, match=r"start 2026-01-01T00:00Z is after the last of binance:BTCUSDT") as caught:
        notebook.candles(market=MARKET, interval="1h", start="2026-01-01")
    assert caught.value.fix == "Choose times from 2025-07-01T00:00Z to 2025-07-04T00:00Z."


def test_a_run_is_what_the_command_says_of_the_same_candles(place: Place, file: Path) -> None:
    run = notebook.backtest("ma44", market=MARKET, intervals="1h,4h", file=file, end="2025-07-04")
    said = place.run(
        "backtest", "run", "--strategy", "ma44", "--intervals", "1h,4h", "--market", MARKET, "--end", "2025-07-04",
        "--file", str(file), "--json",
    ).value  # fmt: skip
    assert said | {"run_id": "", "book": ""} == run.summary | {"run_id": "", "book": ""}
    assert run.equity["equity"][-1] == pytest.approx(float(run.summary["final_equity"]))
    assert int(run.equity["time"][-1].astype(np.int64)) == run.summary["end"]


def test_a_feature_is_unknown_while_it_warms_up_and_after_an_incomplete_candle(file: Path) -> None:
    hours = notebook.candles(market=MARKET, interval="1h", file=file, end="2025-07-03")
    values = notebook.feature(hours, "sma", period=5)
    assert np.flatnonzero(np.isnan(values)).tolist() == [0, 1, 2, 3]
    assert values[10] == pytest.approx(hours["close"][6:11].mean())
    torn = [row._replace(complete=number != 20) for number, row in enumerate(hours.rows)]
    cut = notebook.feature(notebook.Columns(dict(hours), torn), "sma", period=5)
    assert np.flatnonzero(np.isnan(cut)).tolist() == [0, 1, 2, 3, 20, 21, 22, 23, 24]
    assert cut[25:].tolist() == values[25:].tolist()


def test_a_strategy_of_ones_own_is_named_by_its_path_and_checked_first(place: Place, file: Path) -> None:
    put(
        place.folder / "mine",
        honest=text(),
        lucky=text("return LONG if random.random() > 0.5 else FLAT", imports="import random"),
    )
    wanted = {"market": MARKET, "intervals": "1h", "file": file, "end": "2025-07-03"}
    assert notebook.backtest("mine/honest.py", **wanted).summary["trades"] == 0
    with pytest.raises(BadInput, match="lucky was not run: line 22: it draws by chance"):
        notebook.backtest("mine/lucky.py", **wanted)


WRONG = {
    "an unknown strategy": ({"strategy": "ma4"}, "strategy", "Did you mean 'ma44'?"),
    "an unknown parameter": ({"params": {"perod": 4}}, "perod", "Did you mean 'period'?"),
    "an unknown setting": ({"wings": 2}, "wings", None),
    "no capital": ({"capital": 0}, "capital", "It should be greater than 0."),
    "an unknown interval": ({"intervals": "7x"}, "intervals", "Use whole minutes, hours or days"),
    "a reversed range": ({"start": "2025-07-03", "end": "2025-07-02"}, "start", "Give the earlier time as start."),
    "a file that is not there": ({"file": "none.csv"}, "file", "Check the path."),
    "a strategy that is not there": ({"strategy": "none.py"}, "strategy", "Give the path of a strategy."),
    "an unconfigured base": ({"market": "DOGE"}, "symbol", "Give --market, one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_run_names_field_and_fix(name: str, file: Path) -> None:
    changes, field, fix = WRONG[name]
    wanted = {"strategy": "ma44", "market": MARKET, "intervals": "1h", "file": file, **changes}
    with pytest.raises(MantaError) as caught:
        notebook.backtest(**wanted)
    assert caught.value.field == field
    assert (fix or "") in (caught.value.fix or "")


def test_what_is_no_candles_and_what_cannot_be_written_is_told(place: Place, file: Path) -> None:
    run = notebook.backtest("ma44", market=MARKET, intervals="4h", file=file, end="2025-07-02")
    with pytest.raises(BadInput, match="These are no candles") as caught:
        notebook.feature(run.equity, "sma", period=5)
    assert caught.value.field == "of"
    with pytest.raises(BadInput, match="cannot be written: Is a directory"):
        run.report(place.folder)


def test_a_table_without_pandas_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    hours = notebook.candles(market=MARKET, interval="1h", file=file, end="2025-07-02")
    # Python's own mark of a module that is not to be found.
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BadInput, match="pandas is not installed") as caught:
        hours.frame()
    assert "pip install pandas" in str(caught.value)


def test_a_table_has_its_times_in_utc_as_index(file: Path) -> None:
    pytest.importorskip("pandas", reason="Manta does without pandas")
    hours = notebook.candles(market=MARKET, interval="1h", file=file, end="2025-07-02")
    table = hours.frame()
    assert list(table.columns) == [name for name in hours if name != "open_time"]
    assert str(table.index.tz) == "UTC"
    assert (table.index[1] - table.index[0]).total_seconds() * 1000 == HOUR_MS
    assert table["close"].tolist() == hours["close"].tolist()
