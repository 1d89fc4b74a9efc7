"""Backups of the whole database, one compressed file each, by Postgres's own pg_dump, pg_restore and psql.

A backup is whole or not there: it is written under another name, read back, and renamed. A restore is one transaction:
what was there stays when anything fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from trading.errors import BadInput, ConfigError, Halt, MantaError
from trading.storage.settings import DatabaseTarget

__all__ = ["Backup", "back_up", "list_backups", "require_backup", "restore"]

_NAME = "manta-%Y%m%dT%H%M%SZ.dump"
_WHOLE, _PART = "manta-*.dump", "manta-*.part"
_LOCK_WAIT = "60s"
_CHUNK = 1 << 20


class Backup(NamedTuple):
    """A finished backup: when it was begun (epoch ms, UTC) and its size."""

    path: Path
    made_ms: int
    bytes: int


def list_backups(folder: Path) -> list[Backup]:
    """Newest first. Files with other names are none of ours; a folder that is not there holds none."""
    found = []
    for path in folder.glob(_WHOLE):
        with contextlib.suppress(ValueError, FileNotFoundError):
            made = datetime.strptime(path.name, _NAME).replace(tzinfo=UTC)
            found.append(Backup(path, int(made.timestamp() * 1000), path.stat().st_size))
    return sorted(found, key=lambda backup: -backup.made_ms)


async def back_up(
    target: DatabaseTarget, programs: Path, folder: Path, *, now: datetime, keep: int | None = None
) -> Backup:
    """Write the database into a new file of ``folder``, then delete all but the newest ``keep`` (None: delete none).

    ``programs`` is the folder with pg_dump and pg_restore, of the server's version or newer. Reads one snapshot and
    blocks nobody. Raises Halt when another backup into ``folder`` is under way, MantaError when it failed; the backups
    that were there stay then.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / now.astimezone(UTC).strftime(_NAME)
    part = path.with_suffix(".part")
    with _only_one(folder):
        for left in folder.glob(_PART):
            left.unlink()
        if path.exists():
            raise Halt(f"{path} is there already.", fix="Try again in a second.")
        try:
            # Made here, so that nobody else may read it: pg_dump keeps the rights of what it writes into.
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            await _run(
                [
                    _program(programs, "pg_dump"), "--format=custom", "--compress=6", "--no-owner", "--no-privileges",
                    f"--lock-wait-timeout={_LOCK_WAIT}", f"--file={part}",
                ],
                target,
                "The backup failed",
            )  # fmt: skip
            reads = [_program(programs, "pg_restore"), "--file=/dev/null", str(part)]
            await _run(reads, target, "The backup cannot be read back")
            _sync(part)
            part.replace(path)
            _sync(folder)
        finally:
            part.unlink(missing_ok=True)
        if keep is not None:
            for old in list_backups(folder)[max(1, keep) :]:
                old.path.unlink(missing_ok=True)
    return Backup(path, int(now.timestamp() * 1000), path.stat().st_size)


async def require_backup(target: DatabaseTarget, programs: Path, file: Path) -> None:
    """Read all of ``file``; BadInput unless it is a whole backup."""
    if not file.is_file():
        raise BadInput(f"There is no file {file}.", field="file", value=str(file), fix="See `manta db backups`.")
    try:
        await _run([_program(programs, "pg_restore"), "--file=/dev/null", str(file)], target, "")
    except MantaError as error:
        raise BadInput(
            f"{file} is no backup that can be read: {error.message}",
            field="file",
            value=str(file),
            fix="Give a file that `manta db backup` wrote; `manta db backups` lists them.",
        ) from error


async def restore(target: DatabaseTarget, programs: Path, file: Path) -> None:
    """Put what ``file`` holds in the place of all that the database holds. Nobody else may work on it meanwhile.

    One transaction: raises MantaError, and leaves everything as it was, when the file is damaged or does not fit.
    """
    reads = [_program(programs, "pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(file)]
    writes = [_program(programs, "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    async with _started(reads, target, stdout=True) as source, _started(writes, target, stdin=True) as sink:
        complaints = asyncio.gather(_told(source), _told(sink))
        # When psql gives up, it says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await _pour(source, sink)
        await sink.wait()
        await _end(source)
        from_source, from_sink = await complaints
    if sink.returncode or source.returncode:
        raise MantaError(
            f"The restore failed: {from_sink or from_source}", fix="The database is as it was. Try another backup."
        )


async def _pour(source: asyncio.subprocess.Process, sink: asyncio.subprocess.Process) -> None:
    """Let ``sink`` carry out what ``source`` says, and commit only once all of it was said."""
    said, told = source.stdout, sink.stdin
    if said is None or told is None:
        raise RuntimeError("both were to be started with pipes")
    try:
        told.write(b"begin; drop schema public cascade; create schema public;\n")
        while chunk := await said.read(_CHUNK):
            told.write(chunk)
            await told.drain()
        if await source.wait() == 0:
            told.write(b"\ncommit;\n")
            await told.drain()
    finally:
        told.close()


async def _run(command: list[str], target: DatabaseTarget, failed: str) -> None:
    async with _started(command, target) as process:
        complaint = await _told(process)
        if await process.wait():
            raise MantaError(
                f"{failed}: {complaint}" if failed else complaint, fix="Mend what it names, such as a full disk."
            )


@asynccontextmanager
async def _started(
    command: list[str], target: DatabaseTarget, *, stdin: bool = False, stdout: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that talks to ``target``; it ends with the block."""
    pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=pipe if stdin else none,
        stdout=pipe if stdout else none,
        stderr=pipe,
        env=_environment(target),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it, whether or not it has said all that it wanted to."""
    if process.returncode is None:
        process.kill()
    while process.stdout is not None and await process.stdout.read(_CHUNK):
        pass
    await process.wait()


async def _told(process: asyncio.subprocess.Process) -> str:
    """The last thing that it complained of."""
    output = b"" if process.stderr is None else await process.stderr.read()
    lines = output.decode(errors="replace").strip().splitlines()
    wrong = [line for line in lines if "error" in line.lower()]
    return (wrong or lines or ["no answer"])[0][:500]


def _environment(target: DatabaseTarget) -> Mapping[str, str]:
    known = {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "TZ": "UTC",
        "PGAPPNAME": "manta backup",
        "PGCONNECT_TIMEOUT": "10",
        "PGHOST": target.host,
        "PGPORT": str(target.port),
        "PGUSER": target.user,
        "PGDATABASE": target.database,
    }
    password = target.password()
    return known if password is None else known | {"PGPASSWORD": password}


def _program(folder: Path, name: str) -> str:
    path = folder / name
    if not path.exists():
        raise ConfigError(
            f"There is no {name} in {folder}.",
            field="storage.binaries",
            value=str(folder),
            fix=f"Install PostgreSQL's client programs there, or set storage.binaries to a folder that has {name}.",
        )
    return str(path)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / "backup.lock").open("a", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Halt(f"Another backup into {folder} is under way.", fix="Wait until it is done.") from error
        yield


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
