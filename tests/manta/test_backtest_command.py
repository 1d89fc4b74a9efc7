"""``manta backtest run`` over files and over stored candles: checked, run, printed, stored and visible."""

import asyncio
import csv
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manta.service import database_target
from tests.manta.conftest import Place
from tests.trading.strategies.own import put
from tests.trading.strategies.own import text as rule_text
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.intervals import DAY_MS
from trading.storage import candles as stored_candles
from trading.storage import markets as stored_markets
from trading.storage.database import Database
from trading.storage.migrate import migrate
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
FIGURES = {
    "trades", "open_trades", "total_return", "final_equity", "sharpe", "sortino", "max_drawdown", "win_rate",
    "profit_factor", "fees",
}  # fmt: skip
DAYS = 3


@pytest.fixture(scope="module")
def sample() -> list[Candle]:
    first = load_candles(SAMPLE_FILE, SAMPLE_MARKET)[0].open_time_ms
    return load_candles(SAMPLE_FILE, SAMPLE_MARKET, end_ms=first + DAYS * DAY_MS)


@pytest.fixture(scope="module")
def files(sample: list[Candle], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same candles as csv, csv.gz and parquet."""
    folder = tmp_path_factory.mktemp("candles")
    rows = [
        (c.open_time_ms, *(f"{units / 1e8:.8f}" for units in (c.open, c.high, c.low, c.close, c.volume)))
        for c in sample
    ]
    plain = folder / "candles.csv"
    with plain.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    packed = folder / "candles.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    columns = list(zip(*rows, strict=True))
    table = pa.table(
        {"open_time": pa.array(columns[0], pa.int64())}
        | {
            name: pa.array([float(text) for text in column])
            for name, column in zip(COLUMNS[1:], columns[1:], strict=True)
        }
    )
    pq.write_table(table, folder / "candles.parquet")
    return {"csv": plain, "csv.gz": packed, "parquet": folder / "candles.parquet"}


async def _runs(place: Place) -> list[dict[str, Any]]:
    async with database_target(None) as target, Database(target) as database:
        rows = await database.run(lambda c: c.fetch("select * from backtest_runs order by created_at"))
        return [dict(row) for row in rows]


def runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setenv("MANTA_DATA_DIR", str(place.data_dir))
    return asyncio.run(_runs(place))


async def _store(sample: list[Candle]) -> None:
    from backtest.sources import market_named

    async with database_target(None) as target:
        await migrate(target, "venue")
        async with Database(target) as database:
            await database.run(lambda c: stored_markets.upsert_market(c, market_named(SAMPLE_MARKET)))
            await database.run(lambda c: stored_candles.upsert_candles(c, sample))


def strip(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("run_id", "book", "assumptions")}


@pytest.mark.covers("S1-24", "S1-25", "S1-33", "S0-24")
def test_files_and_the_database_give_the_same_complete_result(
    place: Place, files: dict[str, Path], sample: list[Candle], monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("backtest", "run", "--strategy", "ma44", "--intervals", "37m,1h", "--json")
    monkeypatch.setenv("MANTA_DATA_DIR", str(place.data_dir))
    asyncio.run(_store(sample))
    results = [place.run(*common, "--symbol", "BTC")]
    results += [place.run(*common, "--market", SAMPLE_MARKET, "--file", str(file)) for file in files.values()]
    assert [answer.status for answer in results] == [0, 0, 0, 0], [answer.err for answer in results]
    first = results[0].value
    assert set(first) > FIGURES | {"run_id", "capital", "start", "end", "candles", "intervals", "pessimistic", "fills"}
    assert first["trades"] > 0
    assert first["candles"] == len(sample)
    assert set(first["intervals"]) == {"37m", "1h"}
    assert set(first["pessimistic"]) >= FIGURES
    assert all(strip(answer.value) == strip(first) for answer in results)

    stored = runs(place, monkeypatch)
    assert [str(row["run_id"]) for row in stored] == [answer.value["run_id"] for answer in results]
    assert {row["status"] for row in stored} == {"done"}
    assert stored[0]["results"]["trades"] == first["trades"]
    assert stored[0]["config"]["intervals"] == ["37m", "1h"]


def test_words_show_both_the_assumed_and_the_doubled_costs(place: Place, files: dict[str, Path]) -> None:
    answer = place.run("backtest", "run", "--strategy", "ma44", "--file", str(files["csv"]))
    assert answer.status == 0, answer.err
    for text in ("run ", "twice the costs", "total return", "Sharpe", "max drawdown", "profit factor", "Taker fee"):
        assert text in answer.out


def test_a_symbol_that_fits_several_markets_lists_them(place: Place, files: dict[str, Path]) -> None:
    place.config("markets: [binance:BTCUSDT, binance:BTCUSDC, binance:ETHUSDT]\n")
    run = ("backtest", "run", "--strategy", "ma44", "--file", str(files["csv"]), "--json")
    answer = place.run(*run, "--symbol", "BTC")
    assert (answer.status, answer.value["field"]) == (2, "symbol")
    assert "binance:BTCUSDT, binance:BTCUSDC" in answer.value["fix"]
    assert "ETHUSDT" not in answer.value["fix"]
    nothing = place.run(*run)
    assert (nothing.status, nothing.value["field"]) == (2, "market")
    both = place.run(*run, "--symbol", "ETH", "--market", "binance:ETHUSDT")
    assert (both.status, both.value["field"]) == (2, "symbol")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--strategy", "ma45"), "strategy"),
        (("--strategy", "ma44", "--intervals", "7x"), "intervals"),
        (("--strategy", "ma44", "--intervals", ""), "intervals"),
        (("--strategy", "ma44", "--market", "BTCUSDT"), "market"),
        (("--strategy", "ma44", "--symbol", "DOGE"), "symbol"),
        (("--strategy", "ma44", "--capital", "-5"), "capital"),
        (("--strategy", "ma44", "--capital", "nan"), "capital"),
        (("--strategy", "ma44", "--leverage", "500"), "leverage"),
        (("--strategy", "ma44", "--leverage", "0.5"), "leverage"),
        (("--strategy", "ma44", "--profile", "margin"), "profile"),
        (("--strategy", "ma44", "--start", "soon"), "start"),
        (("--strategy", "ma44", "--start", "2025-07-02", "--end", "2025-07-01"), "start"),
        (("--strategy", "ma44", "--profile", "spot", "--leverage", "2"), "leverage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_argument_is_named_before_anything_starts(place: Place, arguments: tuple[str, ...], field: str) -> None:
    answer = place.run("backtest", "run", *arguments, "--json")
    assert answer.status == 2
    assert answer.value["error"] == "BadInput"
    assert answer.value["field"] == field
    assert not place.data_dir.exists()


def test_a_corrupt_row_is_named_by_its_line_and_the_run_says_why_it_failed(
    place: Place, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = files["csv"].read_text(encoding="utf-8").splitlines()
    lines[99] = lines[99].replace(",", ",x", 1)
    broken = tmp_path / "broken.csv"
    broken.write_text("\n".join(lines), encoding="utf-8")
    answer = place.run("backtest", "run", "--strategy", "ma44", "--file", str(broken), "--json")
    assert (answer.status, answer.value["error"]) == (2, "BadInput")
    assert "100" in answer.value["message"]
    row = runs(place, monkeypatch)[0]
    assert row["status"] == "failed"
    assert "100" in row["error"]


def test_files_that_hold_nothing_usable_are_named(place: Place, files: dict[str, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for file in (empty, tmp_path / "absent.csv", tmp_path):
        answer = place.run("backtest", "run", "--strategy", "ma44", "--file", str(file), "--json")
        assert (answer.status, answer.value["error"]) == (2, "BadInput")
        assert file.name in answer.value["message"]
    late = place.run(
        "backtest", "run", "--strategy", "ma44", "--file", str(files["csv"]), "--start", "2030-01-01", "--json"
    )
    assert (late.status, late.value["error"]) == (6, "DataHole")


def test_without_candles_the_fix_says_where_to_get_some(place: Place) -> None:
    answer = place.run("backtest", "run", "--strategy", "ma44", "--json")
    assert (answer.status, answer.value["field"]) == (2, "market")
    assert "--file" in answer.value["fix"]


def test_a_strategy_of_ones_own_is_checked_before_its_first_run(
    place: Place, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = rule_text("return LONG if now.close > p.level * 1_000 else FLAT")
    cheat = rule_text("return LONG if random.random() > 0.5 else FLAT", imports="import random")
    place.config("markets: [binance:BTCUSDT]\n")
    put(place.folder / "strategies", mine=honest, lucky=cheat)
    common = ("--intervals", "1h", "--file", str(files["csv"]), "--json")
    first = place.run("backtest", "run", "--strategy", "mine", *common)
    assert first.status == 0, first.err
    assert first.value["strategy_check"]["passed"] is True
    # Remembered: the check is not done again, so it need not even be there.
    monkeypatch.setattr("backtest.checked.require_honest", None)
    assert place.run("backtest", "run", "--strategy", "mine", *common).status == 0
    monkeypatch.undo()
    refused = place.run("backtest", "run", "--strategy", "lucky", *common)
    assert (refused.status, refused.value["field"]) == (2, "strategy")
    assert "line 22: it draws by chance" in refused.value["message"]
    last = runs(place, monkeypatch)[-1]
    assert (last["status"], last["results"]) == ("failed", None)
