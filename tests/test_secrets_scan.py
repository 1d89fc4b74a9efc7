"""The secret scan finds what must never be committed, and names the place without repeating the secret."""

import subprocess
import sys
from pathlib import Path

import pytest

# Put together here, so that this file itself holds none of them.
PLANTED = {
    "Discord webhook": "https://discord.com/api/" + "webhooks/" + "1" * 18 + "/" + "aB3-" * 17,
    "AWS Access Key": "AKIA" + "Q3EGRPLDTNQYK2XN",
    "Private Key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "Telegram Bot Token": "123456789" + ":" + "AbCdE" * 7,
    "Basic Auth Credentials": "postgres://btc_bot" + ":hunter2@db.example/btc_data",
    "GitHub Token": "ghp_" + "a1B2" * 9,
    "wallet private key": "private_key: " + "0x" + "ab" * 32,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "module.py").write_text('CANDLES = "0x' + "cd" * 32 + '"\n')
    return tmp_path


def scan(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.secrets_scan", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)


def test_clean_checkout_passes(checkout: Path):
    outcome = scan(checkout)

    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.covers("W23")
@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "about to be added"])
def test_planted_credentials_are_all_found(checkout: Path, tracked: bool):
    lines = [f'value = "{secret}"' if " " not in secret else secret for secret in PLANTED.values()]
    (checkout / "settings.yaml").write_text("\n".join(lines) + "\n")
    if tracked:
        subprocess.run(["git", "-C", str(checkout), "add", "."], check=True)

    outcome = scan(checkout)

    assert outcome.returncode == 1
    for line, kind in enumerate(PLANTED, start=1):
        assert f"settings.yaml:{line}: {kind}" in outcome.stdout
    assert not [secret for secret in PLANTED.values() if secret in outcome.stdout]


def test_ignored_files_and_allowed_lines_are_left_out(checkout: Path):
    secret = PLANTED["Telegram Bot Token"]
    (checkout / ".gitignore").write_text("local.env\n")
    (checkout / "local.env").write_text(secret + "\n")
    (checkout / "example.py").write_text(f'TOKEN = "{secret}"  # pragma: allowlist secret\n')

    assert scan(checkout).returncode == 0
