"""An execution actor in a process of its own, without Ray: what takes over, or tries to, while another one is there.

Reads a pickled session from stdin; prints one line when it is rebuilt and has caught up; ends on SIGTERM.
"""

import asyncio
import pickle
import signal
import sys

from actors.execution import ExecutionActor
from actors.session import Session


async def main() -> None:
    session: Session = pickle.load(sys.stdin.buffer)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    actor = ExecutionActor.__new__(ExecutionActor)
    await actor.__init__(session, "paper")
    ready = asyncio.ensure_future(actor.ready())
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([ready, stop], return_when=asyncio.FIRST_COMPLETED)
    print("ready", flush=True)
    await stop
    await actor.stop(5.0)


asyncio.run(main())
