"""The same application behind Ray Serve's proxy."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from serve.security import SUBPROTOCOL
from tests.serve.conftest import CONFIG, TOKEN, Records
from trading.config.model import ServeSettings
from trading.storage.settings import DatabaseTarget

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def launch(run_id: UUID, request: dict[str, Any]) -> None:
    """Starts nothing: the queued row is what the test looks at."""


async def closed(port: int) -> None:
    """Return once nothing listens on ``port`` any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()
        await asyncio.sleep(0.1)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A small Ray of this test's own, on loopback."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(
        address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 * 1024 * 1024,
        log_to_driver=False,
        logging_level="warning", runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.covers("S1-43")
async def test_http_and_stream_through_the_proxy(
    database: DatabaseTarget, records: Records, tmp_path: Path, cluster: None
) -> None:
    from serve.deployment import deploy, remove

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"MANTA_API_TOKEN": TOKEN}))
    secrets.chmod(0o600)
    config = CONFIG.model_copy(update={"serve": ServeSettings(port=port)})
    await records.candles(30)
    url = await asyncio.to_thread(deploy, config, database, str(secrets), launch)
    assert url == f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{url}/api/v1/candles?symbol=BTC") as response:
            assert len((await response.json())["items"]) == 30
            assert "Content-Security-Policy" in response.headers
        async with client.get(f"{url}/dashboard") as response:
            assert response.status == 200
        async with client.get(f"{url}/api/v1/health", headers={"Host": "evil.example"}) as response:
            assert response.status == 421
        body = {"symbol": "BTC", "intervals": ["37m"]}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with client.post(f"{url}/api/v1/backtests", json=body, headers=headers) as response:
            assert response.status == 202
        async with client.ws_connect(f"{url}/api/v1/stream?after=0", protocols=[SUBPROTOCOL]) as stream:
            assert (await stream.receive_json())["kind"] == "hello"
            await records.event("start", "system", {})
            await records.forming(31, 104_000.5)
            kinds = {(await asyncio.wait_for(stream.receive_json(), 60))["kind"] for _ in range(2)}
            assert kinds == {"start", "forming"}
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(f"{url}/api/v1/stream", origin="https://evil.example")
    await asyncio.to_thread(remove)
    await asyncio.wait_for(closed(port), 60)


@pytest.mark.slow
async def test_a_walk_forward_and_a_sweep_that_the_api_starts_are_done_by_workers(
    database: DatabaseTarget, records: Records, tmp_path: Path, cluster: None
) -> None:
    from backtest.tasks import launch_sweep, launch_walkforward
    from serve.deployment import deploy, remove

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"MANTA_API_TOKEN": TOKEN}))
    secrets.chmod(0o600)
    config = CONFIG.model_copy(update={"serve": ServeSettings(port=port)})
    await records.candles(4 * 1440)
    launches = [partial(start, database) for start in (launch_walkforward, launch_sweep)]
    url = await asyncio.to_thread(deploy, config, database, str(secrets), launch, *launches)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession() as client, asyncio.timeout(120):

        async def done(kind: str, **body: Any) -> dict[str, Any]:
            wanted = {"symbol": "BTC", "grid": {"period": [2, 4]}, **body}
            async with client.post(f"{url}/api/v1/{kind}", json=wanted, headers=headers) as response:
                assert response.status == 202
                path = (await response.json())["links"]["self"]
            found: dict[str, Any] = {"status": "queued"}
            while found["status"] in ("queued", "running"):
                await asyncio.sleep(0.1)
                async with client.get(f"{url}{path}") as response:
                    found = await response.json()
            assert (found["status"], found["error"]) == ("done", "")
            return found

        searched = await done("walkforwards", intervals=["1h"], train=2, test=1, purge=0)
        assert len(searched["results"]["folds"]) == 2
        swept = await done("sweeps", intervals=["30m", "1h"], objective="total_return")
        assert (swept["tried"], swept["engine"], swept["results"]["best"]["number"] in (0, 1)) == (2, "reference", True)
    await asyncio.to_thread(remove)
    await asyncio.wait_for(closed(port), 60)
