"""``manta backtest run`` with several markets, several strategies, or the configured instances; over real candles."""

import csv
from pathlib import Path

import pytest

from tests.manta.conftest import Place
from tests.trading.strategies.own import put
from tests.trading.strategies.own import text as rule_text

BTC, ETH = "binance:BTCUSDT", "binance:ETHUSDT"
RANGE = ("--end", "2025-05-24")
CONFIG = f"""
markets: [{BTC}, {ETH}]
books:
  paper: {{capital: 6000, costs: {{slippage: 0.0005}}}}
strategies:
  - {{name: quick, strategy: ma44, params: {{period: 9}}, intervals: [37m], profile: perp, markets: [{BTC}], share: 2}}
  - {{name: calm, strategy: ma44, intervals: [1h], exits: {{stop_loss_percent: 0.2}}}}
"""


@pytest.fixture
def files(shared_data: Path) -> dict[str, Path]:
    return {
        f"binance:{symbol}": shared_data / "candles_1m" / f"binance_spot_{symbol}_1m_20250520-20250818.csv.gz"
        for symbol in ("BTCUSDT", "ETHUSDT")
    }


def given(files: dict[str, Path]) -> list[str]:
    return [text for market, path in files.items() for text in ("--file", f"{market}={path}")]


@pytest.mark.covers("S1-24")
def test_two_markets_are_run_stored_reported_made_again_and_compared(
    place: Place, files: dict[str, Path], tmp_path: Path
) -> None:
    run = ("backtest", "run", "--strategy", "ma44", *RANGE, "--json")
    both = place.run(*run, "--market", BTC, "--market", ETH, *given(files))
    assert both.status == 0, both.err
    parts = {part["market"]: part for part in both.value["parts"]}
    for market, path in files.items():
        one = place.run(*run, "--market", market, "--file", str(path), "--capital", "5000").value
        assert one["trades"] > 1
        for name in ("total_return", "final_equity", "trades", "max_drawdown", "fees"):
            assert parts[market][name] == one[name]
    listed = {row["run_id"]: row for row in place.run("backtest", "list", "--json").value}
    assert listed[both.value["run_id"]]["market"] == f"{BTC}, {ETH}"

    run_id = both.value["run_id"]
    page, table = tmp_path / "page.html", tmp_path / "trades.csv"
    assert place.run("backtest", "report", run_id, "--out", str(page)).status == 0
    assert f"Trades on the chart: {ETH}" in page.read_text("utf-8")
    assert place.run("backtest", "report", run_id, "--format", "csv", "--out", str(table)).status == 0
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    assert {(row["instance"], row["market"]) for row in rows} == {("ma44", BTC), ("ma44", ETH)}

    again = place.run("backtest", "reproduce", run_id, "--json")
    assert (again.status, again.value["same"], again.value["parts"]) == (0, True, {})
    compared = place.run("backtest", "compare", run_id, one["run_id"], "--json").value
    assert compared["request"]["markets"] == [[BTC, ETH], [ETH]]
    assert compared["parts"][f"ma44 {ETH} 37m"] == [one["total_return"], one["total_return"]]
    assert f"ma44 {ETH} 37m" in place.run("backtest", "compare", run_id, one["run_id"]).out

    rule = place.run("decisions", "explain", "--at", "2025-05-22", "--book", both.value["book"], "--json")
    assert {item["asked"]["instance"] for item in rule.value["decisions"]} == {"ma44"}


def test_the_configured_instances_run_as_they_would_live(place: Place, files: dict[str, Path]) -> None:
    place.config(CONFIG)
    ordered = [text for path in files.values() for text in ("--file", str(path))]
    done = place.run("backtest", "run", *RANGE, *ordered, "--json")
    assert done.status == 0, done.err
    result = done.value
    assert [(part["instance"], part["market"], part["interval"]) for part in result["parts"]] == [
        ("quick", BTC, "37m"), ("calm", BTC, "1h"), ("calm", ETH, "1h"),
    ]  # fmt: skip
    assert result["capital"] == "6000"
    assert any("slippage 0.0500%" in line for line in result["assumptions"])
    assert "stop_loss" in result["metrics"]["by"]["exit"]
    # A market alone leaves out who does not trade it.
    [part] = place.run("backtest", "run", *RANGE, "--market", ETH, "--file", str(files[ETH]), "--json").value["parts"]
    assert (part["instance"], part["market"]) == ("calm", ETH)


def test_each_own_strategy_of_a_book_is_checked_before_its_first_run(
    place: Place, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = rule_text("return LONG if now.close > p.level * 1_000 else FLAT")
    cheat = rule_text("return LONG if random.random() > 0.5 else FLAT", imports="import random")
    place.config(f"markets: [{BTC}]\n")
    put(place.folder / "strategies", mine=honest, lucky=cheat)
    run = ("backtest", "run", *RANGE, "--file", str(files[BTC]), "--intervals", "1h", "--strategy", "ma44", "--json")
    done = place.run(*run, "--strategy", "mine")
    assert done.status == 0, done.err
    assert list(done.value["strategy_check"]["by"]) == ["mine"]
    refused = place.run(*run, "--strategy", "lucky")
    assert (refused.status, refused.value["field"]) == (2, "strategy")
    assert "it draws by chance" in refused.value["message"]
    # Remembered: the check is not done again, so it need not even be there.
    monkeypatch.setattr("backtest.checked.require_honest", None)
    assert place.run(*run, "--strategy", "mine").status == 0


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        (("--strategy", "ma44", "--strategy", "ma44", "--market", BTC), "strategy", "ma44 is there twice"),
        (("--strategy", "ma44", "--market", BTC, "--market", BTC), "market", f"{BTC} is there twice"),
        (("--strategy", "ma44", "--market", BTC, "--market", "binance:ETHBTC"), "market", "counts in BTC"),
        (("--strategy", "ma44", "--market", BTC, "--file", f"{ETH}=x.csv"), "file", f"a file of {ETH}, which is not"),
        (("--strategy", "ma44", "--market", BTC, "--market", ETH, "--file", "x.csv"), "file", "1 files for 2 markets"),
        (
            ("--strategy", "ma44", "--market", BTC, "--market", ETH, "--file", f"{BTC}=x.csv"),
            "file",
            f"no file of {ETH}",
        ),
        (
            ("--strategy", "ma44", "--market", BTC, "--file", f"{BTC}=x.csv", "--file", "y.csv"),
            "file",
            "Which market is",
        ),
        (("--strategy", "ma44", "--book", "paper"), "book", "--strategy says what to run"),
        (("--intervals", "1h"), "intervals", "needs --strategy"),
        (("--book", "gold"), "book", "has no instances"),
        (("--market", "binance:SOLUSDT"), "market", "No instance of book paper trades"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused_by_name(
    place: Place, arguments: tuple[str, ...], field: str, words: str
) -> None:
    place.config(CONFIG)
    answer = place.run("backtest", "run", *arguments, "--json")
    assert (answer.status, answer.value["error"], answer.value["field"]) == (2, "BadInput", field)
    assert words in answer.value["message"]
    assert not place.data_dir.exists()


def test_without_instances_the_fix_names_strategies(place: Place) -> None:
    place.config(f"markets: [{BTC}]\n")
    answer = place.run("backtest", "run", "--json")
    assert (answer.status, answer.value["field"]) == (2, "strategy")
    assert "manta strategies list" in answer.value["fix"]
