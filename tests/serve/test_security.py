"""The door: Host, Origin, token, and what a bind beyond loopback needs."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serve.security import Door, read_token
from tests.serve.conftest import CONFIG, TOKEN, Records, Server
from trading.config.model import ServeSettings
from trading.errors import ConfigError
from trading.storage.settings import DatabaseTarget

RUN = {"symbol": "BTC", "intervals": ["37m"], "start_date": "2025-01-01"}


@pytest.mark.covers("S1-28")
@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "nas.lan"])
def test_a_bind_beyond_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="MANTA_API_TOKEN") as caught:
        Door.of(ServeSettings(host=host), None)
    assert caught.value.field == "serve.host"
    assert Door.of(ServeSettings(host=host), TOKEN).token_for_reads


def test_the_token_file_must_be_private(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"MANTA_API_TOKEN": TOKEN}))
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    assert read_token(tmp_path / "absent.json") is None


def test_the_token_shows_in_no_text() -> None:
    assert TOKEN not in repr(Door.of(ServeSettings(), TOKEN))


async def test_a_foreign_host_name_is_not_served(server: Server) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example"):
        async with server.client.get(f"{server.url}/api/v1/health", headers={"Host": host}) as response:
            assert response.status == 421
            assert (await response.json(content_type=None))["field"] == "Host"
    async with server.client.get(f"{server.url}/", headers={"Host": "localhost:8000"}) as response:
        assert response.status == 200


async def test_a_foreign_origin_is_refused_even_from_another_local_port(server: Server) -> None:
    for origin in ("https://evil.example", "http://127.0.0.1:1", "null"):
        async with server.client.get(f"{server.url}/api/v1/health", headers={"Origin": origin}) as response:
            assert response.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await server.client.ws_connect(f"{server.url}/api/v1/stream", origin=origin)
        assert caught.value.status == 403
    async with server.client.ws_connect(f"{server.url}/api/v1/stream", origin=server.url) as socket:
        assert (await socket.receive_json())["kind"] == "hello"


async def test_changing_calls_need_the_token(server: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer"}):
        async with server.client.post(f"{server.url}/api/v1/backtests", json=RUN, headers=headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert "Authorization" in (await response.json(content_type=None))["field"]
    assert server.launched == []
    async with server.client.post(f"{server.url}/api/v1/backtests", json=RUN, headers=server.headers) as response:
        assert response.status == 202


async def test_without_any_token_nothing_can_be_changed(
    database: DatabaseTarget, records: Records, serve_at: Callable[..., Any]
) -> None:
    async with serve_at(database, token=None) as server:
        url = f"{server.url}/api/v1/backtests"
        async with server.client.post(url, json=RUN, headers=server.headers) as response:
            assert response.status == 401
            assert "MANTA_API_TOKEN" in (await response.json(content_type=None))["fix"]


async def test_beyond_loopback_reads_need_the_token_too(
    database: DatabaseTarget, records: Records, serve_at: Callable[..., Any]
) -> None:
    config = CONFIG.model_copy(update={"serve": ServeSettings(host="0.0.0.0")})
    protocols = ["manta.v1", "bearer." + base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")]
    async with serve_at(database, config) as server:
        assert (await server.refused("/api/v1/candles", symbol="BTC"))[0] == 401
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await server.client.ws_connect(f"{server.url}/api/v1/stream")
        async with server.client.get(f"{server.url}/api/v1/health?quiet=1", headers=server.headers) as response:
            assert response.status == 200
        async with server.client.ws_connect(f"{server.url}/api/v1/stream", protocols=protocols) as socket:
            assert socket.protocol == "manta.v1"
            assert (await socket.receive_json())["kind"] == "hello"
        for path in ("/dashboard", "/dashboard/app.js", "/docs"):
            async with server.client.get(server.url + path) as response:
                assert response.status == 200


async def test_pages_carry_a_strict_policy_and_no_inline_code(server: Server) -> None:
    for path in ("/dashboard", "/docs", "/api/v1/candles?symbol=BTC", "/nowhere"):
        async with server.client.get(server.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            text = await response.text()
            assert "<script>" not in text
            assert "style=" not in text


async def test_a_large_body_is_refused(server: Server) -> None:
    async with server.client.post(
        f"{server.url}/api/v1/backtests", data=b"x" * 70_000, headers=server.headers
    ) as response:
        assert response.status == 413


async def test_no_path_leads_out_of_the_dashboard(server: Server) -> None:
    for path in ("/dashboard/../app.py", "/dashboard/%2e%2e/app.py", "/dashboard/vendor/index.html"):
        async with server.client.get(server.url + path) as response:
            assert response.status == 404
            assert response.content_type == "application/problem+json"


async def test_the_token_is_in_no_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with server.client.post(
            f"{server.url}/api/v1/backtests", json={"capital": -1}, headers=server.headers
        ) as response:
            assert response.status == 422
    assert TOKEN not in caplog.text
