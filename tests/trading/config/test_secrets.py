"""Secrets are found where they may be, kept where only their owner reads, and shown nowhere."""

import json
import pickle
import stat
from pathlib import Path

import pytest

from trading.config.secrets import MASK, Redactor, Secret, environment_secrets, read_secrets, write_secrets
from trading.errors import ConfigError
from trading.storage.settings import server_from_environment

VALUE = "made up; 'quoted' \"value\""
TOKEN_PATH = "1/" + "abcdefgh"


def test_a_secret_shows_itself_only_when_asked():
    secret = Secret(VALUE)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr({"x": [secret]})):
        assert VALUE not in shown
        assert MASK in shown
    assert secret.reveal() == VALUE
    with pytest.raises(TypeError, match="does not travel"):
        pickle.dumps(secret)


def test_names_and_files_are_read_and_both_at_once_refused(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(f"{VALUE}\n")
    found = environment_secrets({"DB_PASSWORD": "pass", "MANTA_API_TOKEN_FILE": str(file), "OTHER": "x"})
    assert found == {"DB_PASSWORD": Secret("pass"), "MANTA_API_TOKEN": Secret(VALUE)}
    with pytest.raises(ConfigError, match="Both DB_PASSWORD and DB_PASSWORD_FILE"):
        environment_secrets({"DB_PASSWORD": "a", "DB_PASSWORD_FILE": str(file)})
    with pytest.raises(ConfigError, match=r"DB_PASSWORD_FILE names .* cannot be read"):
        environment_secrets({"DB_PASSWORD_FILE": str(tmp_path / "none")})


def test_the_file_is_for_its_owner_only_and_refused_when_it_is_not(tmp_path: Path):
    path = write_secrets(tmp_path / "secrets", {"DB_PASSWORD": VALUE})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_secrets(path) == {"DB_PASSWORD": Secret(VALUE)}
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=r"can be read by other users.*chmod 600"):
            read_secrets(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"DB_PASSWORD": 5}'])
def test_a_damaged_file_is_refused_without_quoting_it(tmp_path: Path, content: str):
    path = write_secrets(tmp_path, {})
    path.write_text(content)
    with pytest.raises(ConfigError, match="secrets file") as caught:
        read_secrets(path)
    assert caught.value.__cause__ is None


def test_the_database_password_may_come_from_a_file(tmp_path: Path):
    file = tmp_path / "password"
    file.write_text(f"{VALUE}\n")
    target = server_from_environment({"DB_HOST": "db", "DB_PASSWORD_FILE": str(file)}, tmp_path / "secrets")
    assert target is not None
    assert target.password() == VALUE
    assert VALUE not in repr(target)


def test_no_path_holds_no_secrets():
    assert read_secrets(None) == {}


@pytest.mark.parametrize(
    ("text", "hidden", "left"),
    [
        (f"POST https://discord.com/api/webhooks/{TOKEN_PATH}?wait=true", "abcdefgh", "discord.com"),
        (f"https://discord.com/api/v10/webhooks/{TOKEN_PATH}", "abcdefgh", "discord.com"),
        ("https://api.telegram.org/bot123:abcdefgh/sendMessage", "abcdefgh", "sendMessage"),
        ("postgres://me:abcdefgh@host/db", "abcdefgh", "@host/db"),  # pragma: allowlist secret
        ("Authorization: Bearer abcdefghijk", "abcdefghijk", "Bearer"),
        ("DB_PASSWORD=abcdefgh and on", "abcdefgh", "and on"),
        ('{"token": "abcdefgh"}', "abcdefgh", "token"),
    ],
)
def test_credentials_are_known_by_their_surroundings(text: str, hidden: str, left: str):
    shown = Redactor().text(text)
    assert hidden not in shown
    assert MASK in shown
    assert left in shown


def test_known_values_are_masked_at_any_depth_and_as_json_shows_them():
    redact = Redactor([Secret(VALUE)])
    nested = redact.data({"a": [{"b": f"x{VALUE}y"}], "token": "abc", "n": 1.5, "error": ValueError(VALUE)})
    assert VALUE not in json.dumps(nested)
    assert nested["n"] == 1.5
    assert nested["token"] == MASK
    assert VALUE not in redact.text(VALUE)
    assert "made up" not in redact.text(json.dumps({"k": VALUE}))


def test_ordinary_words_stay():
    text = "token bucket; basic tier; 65,432.50 at binance:BTCUSDT, secrets: none"
    assert Redactor([Secret("65")]).text(text) == text
