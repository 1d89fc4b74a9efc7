"""Files that others may be reading: replaced as a whole or not at all, by one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from trading.errors import BadInput, MantaError

__all__ = ["locked", "replacing"]

_WAIT_S = 60.0
_POLL_S = 0.05


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` when the block ends well.

    It is on disk before it is renamed, so after a crash ``path`` holds the old content or the new one, whole. When the
    block raises, or the disk is full (MantaError), the old content stays and nothing else is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise _explained(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _keep_mode(path, temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _explained(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold the right to change ``path`` among all processes that ask for it: a lock on ``.NAME.lock`` beside it.

    The lock ends with its holder, however that ends; the empty file stays, for removing it would let two in. MantaError
    when another holds it for longer than ``wait_s``.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise _explained(path, error) from error
    with file:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise MantaError(
                        f"Another process has been writing {path} for {wait_s:.0f} s.",
                        field="file",
                        value=str(path),
                        fix="Wait for it to end, or end it; then repeat this.",
                    ) from error
                time.sleep(_POLL_S)
        yield


def _keep_mode(old: Path, new: Path) -> None:
    """A temporary file is private; the one it replaces may not be."""
    with suppress(FileNotFoundError):
        new.chmod(old.stat().st_mode & 0o777)
        return
    mask = os.umask(0)
    os.umask(mask)
    new.chmod(0o666 & ~mask)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _explained(path: Path, error: OSError) -> MantaError:
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return MantaError(
            f"There is no room to write {path}: {error.strerror}. What was there before is untouched.",
            field="file",
            value=str(path),
            fix="Make room on that disk, or choose another folder; then repeat this.",
        )
    return BadInput(
        f"{path} cannot be written: {error.strerror or error}.",
        field="file",
        value=str(path),
        fix="Give a folder that exists and may be written to.",
    )
