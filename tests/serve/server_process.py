"""A process that serves and does nothing else: `python -m tests.serve.server_process DATABASE_TARGET_AS_JSON`.

Prints its port when it serves; ends when its standard input does.
"""

import asyncio
import json
import sys

import uvicorn

from serve.app import build_app
from tests.serve.conftest import CONFIG
from trading.storage.settings import DatabaseTarget


async def main() -> None:
    app = build_app(CONFIG, DatabaseTarget(**json.loads(sys.argv[1])), token=None, launch=lambda *_: None)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
