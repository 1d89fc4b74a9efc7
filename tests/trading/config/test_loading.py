"""What a user's manta.yaml and variables become, and what they are told when something in them is wrong."""

import json
import pickle
from decimal import Decimal
from pathlib import Path

import pytest

from trading.config.commands import check_command, show_command
from trading.config.loading import (
    InvalidConfig,
    config_path,
    data_dir,
    default_config,
    effective,
    json_schema,
    load_config,
    parse_config,
    require_secrets,
)
from trading.config.model import Config
from trading.errors import ConfigError

# Assembled here, so that the scan for leaked credentials has nothing to find.
WEBHOOK = "https://discord.com/api/" + "webhooks/1/abcdefgh"


def mistakes(text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """The paragraph for each key that is wrong in ``text``."""
    with pytest.raises(InvalidConfig) as caught:
        parse_config(text, "manta.yaml", environ or {})
    assert str(caught.value) == "\n\n".join(map(str, caught.value.problems))
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_a_yaml_file_decides_what_runs(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("markets: ['binance:ETHUSDT']\nintervals: [60M, 1D]\nbooks: {paper: {capital: 5.5}}\n")
    config = load_config(path, {})
    assert (config.markets, config.intervals) == (("binance:ETHUSDT",), ("1h", "1d"))
    assert config.books["paper"].capital == Decimal("5.5")
    assert config.strategies == ()


@pytest.mark.parametrize(
    ("text", "key", "parts"),
    [
        ("serve: {port: 99999}", "serve.port", ["99999", "whole number from 1 to 65535", "line 1"]),
        ("intervals: [37m, 7x]", "intervals", ["'7x'", "37m, 4h or 1d"]),
        (
            "books:\n  paper:\n    costs:\n      taker_fee: -0.1",
            "books.paper.costs.taker_fee",
            ["-0.1", "from 0", "line 4"],
        ),
        ("books: {paper: {costs: {slipage: 1}}}", "books.paper.costs.slipage", ["Did you mean 'slippage'?"]),
        ("serv: {port: 1}", "serv", ["not a key", "Did you mean 'serve'?"]),
        ("strategies: [{name: x, strategy: ma45}]", "strategies.x.strategy", ["'ma45'", "Did you mean 'ma44'?"]),
        ("strategies: [{name: x, strategy: ma44, params: {perod: 3}}]", "strategies.x.params.perod", ["'period'"]),
        (
            "features: [{name: q, kind: sma, params: {period: 0}, intervals: [1m]}]",
            "features.q.params.period",
            ["0", "10000"],
        ),
        ("strategies: [{strategy: ma44}]", "strategies.0.name", ["is missing"]),
        ("strategies: [{name: x, strategy: ma44, leverage: 2}]", "strategies.x", ["profile spot", "set leverage 1"]),
        ("markets: [kraken:XBT]", "markets", ["kraken", "imported candles", "use one of binance"]),
        ("markets: [BTCUSDT]", "markets", ["binance:BTCUSDT"]),
        ("books: {Paper: {}}", "books.Paper", ["'Paper'", "small letters"]),
        ("books: {paper: {mode: live}}", "books.paper.mode", ["'live'", "Allowed: paper"]),
        ("notify: {channels: {a: {kind: fax}}}", "notify.channels.a", ["log or discord"]),
        ("notify: {channels: {a: {kind: log, events: [fils]}}}", "notify.channels.a.events.0", ["'fils'", "fill"]),
        ("serve: {port: yes}", "serve", ["port is a truth value"]),
        ("history: {min_days: 9, max_days: 3}", "history", ["lower it or raise max_days"]),
        ("history: {second: [binance:BTCUSDT]}", "history.second", ["pionex:BTC_USDT=binance:BTCUSDT"]),
        ("history: {second: ['a:B=binance:BTCUSDT']}", "history.second", ["write it like"]),
    ],
)
def test_each_mistake_names_key_value_and_fix(text: str, key: str, parts: list[str]):
    found = mistakes(text)
    assert list(found) == [key]
    for part in parts:
        assert part in found[key]


def test_all_mistakes_are_told_at_once():
    assert set(mistakes("serve: {port: 0, replicas: 9}\nmarkts: []")) == {"serve.port", "serve.replicas", "markts"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: [1\nb: 2", ["line 2, column 2", "close every quote and bracket"]),
        ("serve:\n\tport: 1", ["line 2, column 1", "Indent with spaces"]),
        ("serve: {}\nray: {}\nserve: {}", ["line 3", "the key serve is there twice, first in line 1"]),
        ("- 1", ["holds no keys"]),
        ("a: 1\n---\nb: 2", ["Keep one document"]),
        ("a: &a [*a]", ["refers to itself"]),
        ("a: !!python/object/apply:os.system [true]", ["line 1", "not valid YAML"]),
    ],
)
def test_what_is_no_usable_yaml_is_told_with_its_place(text: str, parts: list[str]):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "manta.yaml", {})
    for part in parts:
        assert part in str(caught.value)


def test_a_missing_file_is_an_error_and_never_the_defaults(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", {})


def test_a_webhook_written_into_the_file_is_refused_without_being_shown():
    found = mistakes(f"notify: {{channels: {{d: {{kind: discord, webhook_url: '{WEBHOOK}'}}}}}}")
    assert "abcdefgh" not in found["notify.channels.d.webhook_url"]


def test_variables_override_every_depth_and_entries_of_lists_by_name():
    config = default_config(
        {
            "MANTA__SERVE__PORT": "8001",
            "MANTA__INTERVALS": "[1d]",
            "MANTA__STRATEGIES__MA44__LEVERAGE": "2",
            "MANTA__STRATEGIES__1__SHARE": "3",
            "MANTA__BOOKS__PAPER__COSTS__TAKER_FEE": "0.002",
            "MANTA__NOTIFY__CHANNELS__D": '{"kind": "discord"}',
            "MANTA__NOTIFY__CHANNELS__D__USERNAME": "yes",
            "MANTA__RAY__ADDRESS": "",
            "MANTA_DATA_DIR": "/elsewhere",
        }
    )
    assert config.serve.port == 8001
    assert config.intervals == ("1d",)
    assert [item.leverage for item in config.strategies] == [2, 1]
    assert [item.share for item in config.strategies] == [1, 3]
    assert config.books["paper"].costs.taker_fee == Decimal("0.002")
    assert config.notify.channels["d"].model_dump()["username"] == "yes"
    assert config.ray.address is None


@pytest.mark.parametrize(
    ("name", "value", "key", "part"),
    [
        ("MANTA__SERVE__PROT", "1", "serve.prot", "Did you mean 'port'?"),
        ("MANTA__STRATEGIES__MA45__LEVERAGE", "2", "strategies.ma45.leverage", "ma44, ma125"),
        ("MANTA__SERVE__PORT", "http", "serve.port", "whole number"),
        ("MANTA__INTERVALS", "[1d", "intervals", "YAML or JSON"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, key: str, part: str):
    with pytest.raises(InvalidConfig) as caught:
        default_config({name: value})
    (problem,) = caught.value.problems
    assert problem.key == key
    assert f"from {name}" in str(problem)
    assert part in str(problem)


def test_what_is_in_force_is_itself_a_valid_configuration():
    config = default_config()
    assert Config.model_validate(json.loads(json.dumps(effective(config)))) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_schema_refuses_unknown_keys():
    assert json_schema()["additionalProperties"] is False
    assert set(json_schema()["properties"]) == set(Config.model_fields)


def test_the_file_is_the_option_then_the_variable_then_the_one_in_the_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path(None, {}) is None
    (tmp_path / "manta.yaml").write_text("markets: ['binance:SOLUSDT']\n")
    assert load_config(None, {}).markets == ("binance:SOLUSDT",)
    assert config_path(None, {"MANTA_CONFIG": "/x/y.yaml"}) == Path("/x/y.yaml")
    assert config_path(Path("/a/b.yaml"), {"MANTA_CONFIG": "/x/y.yaml"}) == Path("/a/b.yaml")


def test_state_lives_beside_the_configuration_file_unless_told_otherwise(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data_dir(None, {}) == tmp_path / "var"
    assert data_dir(Path("/a/b.yaml"), {}) == Path("/a/var")
    assert data_dir(Path("/a/b.yaml"), {"MANTA_DATA_DIR": "/c"}) == Path("/c")


def test_a_discord_channel_needs_its_address():
    config = parse_config("notify: {channels: {d: {kind: discord}}}", "manta.yaml", {})
    with pytest.raises(ConfigError, match="DISCORD_WEBHOOK_URL"):
        require_secrets(config, {})
    require_secrets(config, {"DISCORD_WEBHOOK_URL": WEBHOOK})


def test_check_says_what_is_valid_and_show_hides_secrets(tmp_path: Path):
    path = tmp_path / "manta.yaml"
    path.write_text("strategies: [{name: mine, strategy: ma44}]\n")
    environ = {"MANTA_API_TOKEN": "a-made-up-token", "DB_PASSWORD": ""}
    assert check_command(path, environ) == {
        "valid": True,
        "path": str(path),
        "data_dir": str(tmp_path / "var"),
        "markets": ["binance:BTCUSDT"],
        "strategies": ["mine"],
    }
    shown = show_command(path, environ)
    assert "a-made-up-token" not in json.dumps(shown)
    assert shown["secrets"] == {
        "BASE_RPC_URL": None, "DB_PASSWORD": None, "DISCORD_WEBHOOK_URL": None, "MANTA_API_TOKEN": "*" * 10,
    }  # fmt: skip
