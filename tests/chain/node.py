"""Installs the locked contracts and the node once, starts a node, and speaks to it as its owner."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
# Beside the environment that ./run makes: removing .venv removes it, and nothing of it is part of the repository.
CACHE = HERE.parents[1] / ".venv" / "chain"
ANVIL = "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
CHAIN_ID = 8453
_GAS = hex(10_000_000)


def installed() -> Path:
    """The folder with ``node_modules`` as the lock file says; made when it is not there, by one process at a time."""
    if shutil.which("npm") is None:
        pytest.skip("NO REAL CONTRACTS: npm is absent, so nothing here was tested against them")
    lock = (HERE / "package-lock.json").read_bytes()
    folder = CACHE / hashlib.sha256(lock).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder / name)
            options = ("--ignore-scripts", "--omit=optional", "--omit=peer", "--no-audit", "--no-fund")
            done = subprocess.run(
                ["npm", "ci", *options], cwd=folder, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, f"npm ci failed: {done.stderr[-400:]}"
            (folder / "done").touch()
    return folder


class Node:
    """A local chain whose first account may do anything."""

    def __init__(self, url: str, artifacts: Path) -> None:
        self.url = url
        self._artifacts = artifacts / "node_modules"
        self.me: str = self.ask("eth_accounts")[0]

    def ask(self, method: str, *parameters: object) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def deploy(self, artifact: str, *words: int | str, text: bytes = b"") -> str:
        """Deploy a contract whose constructor takes ``words`` and then ``text``, encoded; returns its address."""
        bytecode = json.loads((self._artifacts / artifact).read_text())["bytecode"]
        receipt = self._mined({"from": self.me, "data": bytecode + encode(words).hex() + text.hex(), "gas": _GAS})
        return str(receipt["contractAddress"])

    def send(self, to: str, signature: str, *words: int | str) -> None:
        self._mined({"from": self.me, "to": to, "data": self._data(signature, words), "gas": _GAS})

    def call(self, to: str, signature: str, *words: int | str) -> int:
        """The first word of what a read-only call returns."""
        return int(self.ask("eth_call", {"to": to, "data": self._data(signature, words)}, "latest")[:66], 16)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Take back at the end whatever happens to the chain meanwhile."""
        mark = self.ask("evm_snapshot")
        try:
            yield
        finally:
            self.ask("evm_revert", mark)

    def _data(self, signature: str, words: Sequence[int | str]) -> str:
        selector = self.ask("web3_sha3", "0x" + signature.encode().hex())[:10]
        return str(selector) + encode(words).hex()

    def _mined(self, transaction: dict[str, object]) -> dict[str, Any]:
        number = self.ask("eth_sendTransaction", transaction)
        deadline = time.monotonic() + 60
        while (receipt := self.ask("eth_getTransactionReceipt", number)) is None:
            assert time.monotonic() < deadline, "the transaction is not mined"
            time.sleep(0.005)
        assert receipt["status"] == "0x1", receipt
        return dict(receipt)


def encode(words: Sequence[int | str]) -> bytes:
    """Numbers and addresses as the words that contracts take; negative ones in two's complement."""
    numbers = [int(word, 16) if isinstance(word, str) else word for word in words]
    return b"".join((number % (1 << 256)).to_bytes(32, "big") for number in numbers)


@contextmanager
def running(folder: Path, chain_id: int = CHAIN_ID) -> Iterator[Node]:
    """A fresh node for the length of a ``with`` block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [folder / ANVIL, "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id), "--silent"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                yield Node(f"http://127.0.0.1:{port}", folder)
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline, "the node does not answer"
                time.sleep(0.02)
    finally:
        process.terminate()
        process.wait(60)
