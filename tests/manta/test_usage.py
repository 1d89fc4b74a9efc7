"""One JSON value on stdout whatever happens, words on stderr, and an exit status that tells the kind of trouble."""

import json
import socket
from pathlib import Path

import pytest
import yaml

from tests.manta.conftest import Place
from trading.config.loading import default_text

VERBS = (
    ("demo",),
    ("up",),
    ("down",),
    ("status",),
    ("logs",),
    ("config", "check"),
    ("config", "show"),
    ("config", "schema"),
    ("sim", "serve"),
    ("db", "migrate"),
    ("db", "reset"),
    ("backtest", "run"),
    ("backtest", "list"),
    ("backtest", "report"),
    ("backtest", "reproduce"),
    ("backtest", "compare"),
    ("walkforward", "run"),
    ("walkforward", "list"),
    ("walkforward", "show"),
    ("walkforward", "report"),
    ("walkforward", "delete"),
    ("cluster", "join"),
    ("cluster", "show"),
    ("cluster", "token"),
    ("decisions", "explain"),
    ("verify", "parity"),
    ("verify", "crash"),
    ("verify", "data"),
    ("data", "list"),
    ("gaps", "scan"),
    ("gaps", "list"),
    ("gaps", "export"),
    ("gaps", "rebuild"),
    ("data", "schedule"),
    ("data", "import"),
    ("data", "holes"),
    ("data", "verify"),
    ("data", "repair"),
    ("data", "download"),
    ("data", "export"),
)
ERROR_KEYS = {"error", "message", "field", "value", "fix"}


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_an_unknown_option_is_one_json_value_and_status_2(place: Place, verb: tuple[str, ...]) -> None:
    answer = place.run(*verb, "--nonsense", "--json")
    assert answer.status == 2
    assert set(answer.value) == ERROR_KEYS
    assert "--nonsense" in answer.value["message"]
    assert "--nonsense" in answer.err


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself(place: Place, verb: tuple[str, ...]) -> None:
    answer = place.run(*verb, "--help")
    assert answer.status == 0
    assert "--json" in answer.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense", "--json"),
        ("--json",),
        ("config", "--json"),
        ("backtest", "run", "--json"),
        ("verify", "parity", "--json"),
        ("logs", "--json", "--lines"),
        ("logs", "--lines", "many", "--json"),
        ("demo", "--speed", "0", "--json"),
        ("demo", "--for", "9y", "--json"),
        ("sim", "serve", "--port", "70000", "--json"),
        ("logs", "--follow", "--json"),
        ("db", "reset", "--json"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_json_value_and_status_2(place: Place, arguments: tuple[str, ...]) -> None:
    answer = place.run(*arguments)
    assert answer.status == 2
    assert answer.value["error"] == "BadInput"
    assert answer.value["fix"]


def test_without_json_wrong_usage_writes_nothing_to_stdout(place: Place) -> None:
    answer = place.run("status", "--nonsense")
    assert answer.status == 2
    assert answer.out == ""
    assert "--nonsense" in answer.err


def test_nothing_running_is_told_by_status_and_down(place: Place) -> None:
    status = place.run("status", "--json")
    assert (status.status, status.value["running"]) == (1, False)
    assert "manta up" in place.run("status").out
    down = place.run("down", "--json")
    assert (down.status, down.value) == (0, {"stopped": False})
    assert place.run("logs", "--json").value == []


def test_the_configuration_is_checked_shown_and_described(place: Place) -> None:
    place.config(default_text())
    assert place.run("config", "check", "--json").value["valid"] is True
    shown = place.run("config", "show", "--json").value
    assert shown["serve"]["port"] == 8000
    assert yaml.safe_load(place.run("config", "show").out) == shown
    schema = place.run("config", "schema", "--json").value
    assert set(schema["properties"]) >= {"markets", "intervals", "strategies", "books", "serve", "storage", "ray"}


def test_secrets_are_never_shown(place: Place) -> None:
    place.environ["DISCORD_WEBHOOK_URL"] = "https://discord.example/api/webhooks/1/very-secret"
    answer = place.run("config", "show", "--json")
    assert answer.value["secrets"]["DISCORD_WEBHOOK_URL"] is not None
    assert "very-secret" not in answer.out + answer.err


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("intervals: [7x]\n", "intervals", "7x"),
        ("markets: [binance]\n", "markets", "binance"),
        ("markets: [kraken:XBTUSD]\n", "markets", "kraken"),
        ("books: {paper: {costs: {taker_fee: -0.1}}}\n", "books.paper.costs.taker_fee", "-0.1"),
        ("serve: {port: 99999}\n", "serve.port", "99999"),
        ("colour: red\n", "colour", "red"),
        ("markets: [binance:BTCUSDT\n", None, "manta.yaml"),
    ],
)
@pytest.mark.parametrize("verb", [("config", "check"), ("up",), ("up", "-d"), ("db", "migrate")], ids=" ".join)
def test_a_wrong_configuration_names_field_value_and_fix(
    place: Place, verb: tuple[str, ...], text: str, field: str | None, said: str
) -> None:
    place.config(text)
    answer = place.run(*verb, "--json")
    assert answer.status == 2
    assert answer.value["error"] == "ConfigError"
    assert said in json.dumps(answer.value)
    if field is not None:
        assert answer.value["field"].startswith(field)
        assert "line 1" in answer.value["message"]
    assert not place.data_dir.exists()


def test_all_mistakes_are_told_at_once(place: Place) -> None:
    place.config("intervals: [7x]\nserve: {port: 0}\ncolour: red\n")
    answer = place.run("config", "check", "--json")
    assert {problem["key"] for problem in answer.value["problems"]} >= {"serve.port", "colour"}


@pytest.mark.parametrize("option", ["--port", "--control-port"])
def test_the_simulator_names_a_taken_port(place: Place, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = place.run("sim", "serve", option, str(taken.getsockname()[1]), "--json")
    assert answer.status == 2
    assert answer.value["fix"]


@pytest.mark.parametrize(
    "arguments", [("--file", "candles.csv"), ("--file", "BTCUSDT=absent.csv"), ("--start", "soon")]
)
def test_the_simulator_names_what_it_cannot_play(place: Place, arguments: tuple[str, ...]) -> None:
    answer = place.run("sim", "serve", *arguments, "--json")
    assert answer.status == 2
    assert answer.value["fix"]


def test_the_simulator_prints_its_addresses_once_and_ends_on_a_signal(place: Place) -> None:
    server = place.popen("sim", "serve", "--json")
    assert server.stdout is not None
    first = json.loads(server.stdout.readline())
    server.terminate()
    rest, _ = server.communicate(timeout=120)
    assert first["rest_url"].startswith("http://127.0.0.1:")
    assert (rest, server.returncode) == ("", 0)


def test_parity_names_a_file_it_cannot_use(place: Place, tmp_path: Path) -> None:
    absent = place.run("verify", "parity", "--file", str(tmp_path / "absent.csv"), "--json")
    assert (absent.status, absent.value["field"]) == (2, "file")
    interval = place.run("verify", "parity", "--file", "x.csv", "--interval", "7x", "--json")
    assert (interval.status, interval.value["error"]) == (2, "BadInput")
