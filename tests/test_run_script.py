"""`./run` makes an environment on any machine, keeps it honest, and costs nothing when nothing changed.

The script runs from a copy beside a lock of one small package, which pip takes from a local folder.
"""

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = [
    "sh",
    "awk",
    "cat",
    "cksum",
    "date",
    "dirname",
    "grep",
    "mkdir",
    "mv",
    "rm",
    "rmdir",
    "sed",
    "sleep",
    "tail",
    "uname",
]
MANTA = 'import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ["RAY_USAGE_STATS_ENABLED"], os.getcwd()]))\n'
SECRET_INDEX = "https://reader" + ":hunter2@127.0.0.1:9/simple"

Run = Callable[..., subprocess.CompletedProcess[str]]


def _build_wheel(folder: Path, version: str) -> str:
    """Write a wheel of an empty package and return its lock line."""
    path = folder / f"tiny-{version}-py3-none-any.whl"
    files = {
        "tiny.py": f"VERSION = {version!r}\n",
        f"tiny-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"tiny-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},\n"
        for name, text in files.items()
    )
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"tiny-{version}.dist-info/RECORD", record)
    return f"tiny=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Checkout:
    """A folder with `run`, locks and a `manta` package that prints what it was given."""

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root = root
        self.wheels = wheels
        shutil.copy(REPOSITORY / "run", root / "run")
        (root / "manta").mkdir()
        (root / "manta" / "__main__.py").write_text(MANTA)
        wheels.mkdir()
        self.lock("1.0")

    def lock(self, version: str) -> None:
        line = _build_wheel(self.wheels, version)
        for name in ("requirements.lock", "requirements-dev.lock"):
            (self.root / name).write_text(line)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "MANTA_PYTHON": sys.executable}
        settings |= {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull} | environment
        return subprocess.Popen(
            [str(self.root / "run"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root.parent,
            env=settings,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def installed_version(self) -> str:
        command = [str(self.root / ".venv/bin/python"), "-c", "import tiny; print(tiny.VERSION)"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a folder"
    root.mkdir()
    return Checkout(root, tmp_path / "wheels")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout whose environment is made; tests leave it as it is."""
    root = tmp_path_factory.mktemp("installed") / "manta"
    root.mkdir()
    checkout = Checkout(root, root.parent / "wheels")
    outcome = checkout.run("status")
    assert outcome.returncode == 0, outcome.stderr
    return checkout


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """Return a folder to use as PATH: the tools of a small system, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return folder


def _pretend_python(folder: Path, answer: str, status: int) -> None:
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\necho {answer}\nexit {status}\n")
    path.chmod(0o755)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited 60 s in vain"
        time.sleep(0.01)


def test_first_start_installs_and_reaches_manta_with_clean_stdout(checkout: Checkout):
    outcome = checkout.run("backtest", "run", "--file", "a b.csv")

    assert outcome.stdout == f'[["backtest", "run", "--file", "a b.csv"], "0", "{checkout.root.parent}"]\n'
    assert "Installing 1 locked packages" in outcome.stderr
    assert checkout.installed_version() == "1.0"


def test_unchanged_start_says_nothing(installed: Checkout, record_property: Callable[[str, object], None]):
    began = time.perf_counter()
    outcome = installed.run("no-such-verb")

    record_property("unchanged_start_ms", round((time.perf_counter() - began) * 1000))
    assert outcome.stdout.startswith('[["no-such-verb"]')
    assert outcome.stderr == ""


def test_demo_is_a_manta_verb(installed: Checkout):
    assert installed.run("demo", "--for", "60s", "--json").stdout.startswith('[["demo", "--for", "60s", "--json"]')


def test_changed_lock_is_installed(checkout: Checkout):
    checkout.run("status")
    checkout.lock("2.0")

    outcome = checkout.run("status")

    assert outcome.returncode == 0, outcome.stderr
    assert checkout.installed_version() == "2.0"


def test_two_first_starts_install_once(checkout: Checkout):
    first, second = checkout.start("first"), checkout.start("second")
    (_, first_log), (_, second_log) = first.communicate(timeout=120), second.communicate(timeout=120)

    assert (first.returncode, second.returncode) == (0, 0), first_log + second_log
    assert (first_log + second_log).count("Installed in") == 1
    assert not (checkout.root / ".venv.lock").exists()


def test_killed_install_is_redone(checkout: Checkout):
    process = checkout.start("status")
    _wait_for((checkout.root / ".venv" / "bin").is_dir)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (checkout.root / ".venv.lock").exists(), "killed too late to prove anything"

    outcome = checkout.run("status")

    assert outcome.returncode == 0, outcome.stderr
    assert checkout.installed_version() == "1.0"
    assert not (checkout.root / ".venv.lock").exists()


def test_interrupted_install_leaves_no_lock(checkout: Checkout):
    process = checkout.start("status")
    _wait_for((checkout.root / ".venv" / "bin").is_dir)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert not (checkout.root / ".venv.lock").exists()
    assert checkout.run("status").returncode == 0


def test_moved_checkout_gets_an_environment_of_its_own(checkout: Checkout, tmp_path: Path):
    checkout.run("status")
    checkout.root = checkout.root.rename(tmp_path / "elsewhere")

    outcome = checkout.run("status")

    assert "was moved" in outcome.stderr
    assert outcome.stdout.startswith('[["status"]')


def test_failed_install_shows_the_log_without_the_index_address(checkout: Checkout):
    outcome = checkout.run("status", PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL=SECRET_INDEX, PIP_RETRIES="0")

    assert outcome.returncode == 1
    assert "No matching distribution" in outcome.stderr
    assert "Fix:" in outcome.stderr
    assert "127.0.0.1" not in outcome.stderr
    assert "hunter2" not in outcome.stderr


def test_failed_install_keeps_the_environment_that_worked(checkout: Checkout):
    checkout.run("status")
    before = (checkout.root / "requirements.lock").read_text()
    (checkout.root / "requirements.lock").write_text("tiny==9.9 --hash=sha256:" + "0" * 64 + "\n")
    assert checkout.run("status").returncode == 1

    (checkout.root / "requirements.lock").write_text(before)
    outcome = checkout.run("status")

    assert outcome.returncode == 0
    assert outcome.stderr == ""


def test_missing_python_names_the_fix(checkout: Checkout, bare_path: Path):
    outcome = checkout.run("status", PATH=str(bare_path), MANTA_PYTHON="")

    assert outcome.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in outcome.stderr
    assert "Fix:" in outcome.stderr
    assert "MANTA_PYTHON" in outcome.stderr
    assert not (checkout.root / ".venv").exists()
    assert not (checkout.root / ".venv.lock").exists()


def test_old_python_is_not_taken(checkout: Checkout, bare_path: Path):
    _pretend_python(bare_path, "python3.9", 3)

    assert "none was found" in checkout.run("status", PATH=str(bare_path), MANTA_PYTHON="").stderr


def test_python_without_venv_names_the_fix(checkout: Checkout, bare_path: Path):
    _pretend_python(bare_path, "python3.12", 4)

    outcome = checkout.run("status", PATH=str(bare_path), MANTA_PYTHON="")

    assert outcome.returncode == 1
    assert "python3.12 is here but cannot make an environment" in outcome.stderr
    if Path("/etc/debian_version").exists():
        assert "apt install python3.12-venv" in outcome.stderr


def test_unsuitable_manta_python_leaves_the_environment_alone(installed: Checkout):
    outcome = installed.run("status", MANTA_PYTHON="/nowhere/python3")

    assert outcome.returncode == 1
    assert "MANTA_PYTHON is set to '/nowhere/python3'" in outcome.stderr
    assert installed.run("status").stderr == ""


@pytest.mark.parametrize("arguments", [(), ("help",)])
def test_help_needs_no_environment(checkout: Checkout, arguments: tuple[str, ...]):
    outcome = checkout.run(*arguments)

    assert outcome.returncode == 0
    assert "usage: ./run <verb>" in outcome.stdout
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("script", ["run", ".ci/run"])
def test_scripts_pass_shellcheck(script: str):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed, so the shell scripts were not linted: apt install shellcheck")
    outcome = subprocess.run(["shellcheck", REPOSITORY / script], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stdout
