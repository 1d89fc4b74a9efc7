"""Where the API looks for strategies: the built-in ones, and the user's folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from serve.problems import Refused

__all__ = ["Shelf"]

Found = TypeVar("Found")
_PATIENCE_S = 10.0


class Shelf:
    """Asks about strategies in one thread of its own.

    Own files are run to be asked. One that never comes to its end keeps this thread, and with it every later question
    about strategies, which is refused; no other request waits for it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="strategies")

    async def ask(self, question: Callable[[Path], Found]) -> Found:
        """What ``question`` finds in the folder."""
        asked = asyncio.get_running_loop().run_in_executor(self._thread, question, self._folder)
        try:
            return await asyncio.wait_for(asked, _PATIENCE_S)
        except TimeoutError:
            raise Refused(
                f"The strategies in {self._folder.name} were not read within {_PATIENCE_S:g} s.",
                field="strategies_folder",
                fix="Look there for a file that never ends, such as one with a loop outside of its functions.",
            ) from None
