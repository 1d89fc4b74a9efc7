"""Bytes from outside, at random and as slightly wrong versions of real ones: nothing but a MantaError may escape."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.errors import MantaError

__all__ = ["EXAMPLES", "answering", "explore", "json_values", "mutated", "recorded", "texts"]

EXAMPLES = pytest.mark.parametrize("examples", [60, pytest.param(600, marks=pytest.mark.slow)])

_NUMBERS = st.sampled_from(
    ["0", "-1", "1e400", "NaN", "Infinity", "0.000000001", "1_000", "٣", "9" * 30, "", " 1", "1e-9", "0x10"]
)
texts = st.one_of(st.text(max_size=40), _NUMBERS)
_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), texts, st.just(1e400)
)
json_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5)),
    max_leaves=12,
)


def explore(examples: int, strategy: st.SearchStrategy[Any], work: Callable[[Any], object]) -> None:
    """Call ``work`` with many values of ``strategy``; a MantaError is an answer, anything else a failure."""

    def check(value: Any) -> None:
        with suppress(MantaError):
            work(value)

    limits = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=examples < 100,
    )
    limits(given(strategy)(check))()


@st.composite
def mutated(draw: st.DrawFn, seeds: list[Any]) -> Any:
    """One of the JSON values ``seeds`` with a few of its parts replaced, left out or repeated."""
    value = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 3))):
        paths = list(_paths(value))
        if not paths:
            return draw(json_values)
        *way, last = draw(st.sampled_from(paths))
        parent = value
        for step in way:
            parent = parent[step]
        match draw(st.sampled_from(("replace", "replace", "remove", "repeat"))):
            case "remove":
                del parent[last]
            case "repeat" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            case _:
                parent[last] = draw(json_values)
    return value


def recorded(shared_data: Path, venue: str, most: int = 60) -> list[Any]:
    """What ``venue`` really said, as JSON values, a few of each file."""
    found: list[Any] = []
    for path in sorted((shared_data / "messages" / venue).glob("*.jsonl*")):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = raw.decode().splitlines()
        for line in lines[:: max(1, len(lines) // 12)]:
            entry = json.loads(line)
            body = entry.get("raw", entry.get("text", entry.get("body")))
            with suppress(ValueError, TypeError):
                body = json.loads(body)
            if body is not None and len(json.dumps(body)) < 20_000:
                found.append(body)
    assert found, f"there are no messages of {venue}"
    return found[:: max(1, len(found) // most)]


@contextmanager
def answering() -> Iterator[tuple[str, dict[str, Any]]]:
    """A web server on loopback that answers everything with ``answer["body"]`` and ``answer["status"]``."""
    answer: dict[str, Any] = {"body": b"", "status": 200}

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(answer["status"])
            self.send_header("Content-Length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"])

        do_GET = do_POST = reply  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", answer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(work: Callable[[], Any]) -> Any:
    """Run a coroutine function to its end."""
    return asyncio.run(work())


def _paths(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*way, key)
        yield from _paths(inner, (*way, key))
