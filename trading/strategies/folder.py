"""A user's own strategies: one file each, in a folder that the configuration names.

A file travels as its text from the moment a configuration or a request is read, so that what runs, restarts or is
replayed later is what was read then, whatever became of the file. Only files that lie in the folder itself are read,
and one is run only when it is asked for by name or listed. One that is broken says where and stops no other.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import re
import stat
import sys
import traceback
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from trading.errors import BadInput

__all__ = [
    "NAME",
    "OwnFile",
    "failed_line",
    "fresh_module",
    "module_from",
    "own_files",
    "own_names",
    "own_source",
    "unsafe",
]

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_BYTES = 1_000_000
_OTHERS = stat.S_IWOTH


class OwnFile(NamedTuple):
    """A file of the folder: the strategy's name, where it lies, and its text."""

    name: str
    path: Path
    source: str


def own_files(folder: Path, taken: Iterable[str] = ()) -> tuple[list[OwnFile], list[BadInput]]:
    """The strategies in ``folder`` by name, and what is wrong with files that cannot be one; runs none of them.

    ``taken`` are names that no file may have. A folder that is not there holds nothing.
    """
    found: list[OwnFile] = []
    wrong: list[BadInput] = []
    for path in sorted(folder.glob("*.py")) if folder.is_dir() else ():
        if path.name.startswith(("_", ".")):
            continue
        try:
            found.append(_read(folder, path, taken))
        except BadInput as error:
            wrong.append(error)
    return found, wrong


def own_names(folder: Path) -> tuple[str, ...]:
    """Names of the files in ``folder`` that may hold a strategy."""
    names = (path.stem for path in sorted(folder.glob("*.py"))) if folder.is_dir() else ()
    return tuple(name for name in names if NAME.fullmatch(name))


def own_source(folder: Path, name: str, taken: Iterable[str] = ()) -> str:
    """The text of the strategy ``name`` of ``folder``; empty when there is no such file, BadInput when it is unfit."""
    path = folder / f"{name}.py"
    if not NAME.fullmatch(name) or not path.exists():
        return ""
    return _read(folder, path, taken).source


def unsafe(folder: Path) -> list[str]:
    """A warning for the folder, and for each strategy in it, that someone else could change."""
    if not folder.is_dir():
        return []
    files = (path for path in sorted(folder.glob("*.py")))
    return [text for path in (folder, *files) if (text := _writable(path))]


@lru_cache(maxsize=256)
def module_from(name: str, source: str) -> ModuleType:
    """The module of a strategy file's text, which is run once for each text; BadInput names the line that fails."""
    return fresh_module(name, source)


def fresh_module(name: str, source: str) -> ModuleType:
    """Run the text of a strategy file anew, with nothing left of earlier runs in its globals."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    title = f"strategy_{name}_{digest}"
    file = f"<{name}.py {digest}>"
    module = ModuleType(title)
    module.__file__ = file
    # Where tracebacks, and whoever asks for the source of a function, look for the text.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    sys.modules[title] = module
    try:
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's own code
    except SyntaxError as error:
        del sys.modules[title]
        raise _broken(name, error.lineno, f"{type(error).__name__}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        del sys.modules[title]
        raise _broken(name, failed_line(error, file), f"{type(error).__name__}: {error}") from error
    return module


def failed_line(error: BaseException, file: str) -> int | None:
    """The innermost line of ``file`` that ``error`` passed through; None when it passed through none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _read(folder: Path, path: Path, taken: Iterable[str]) -> OwnFile:
    name = path.stem
    if not NAME.fullmatch(name):
        raise _unfit(path, f"{name!r} is no name for a strategy", "Use small letters, digits and _, a letter first.")
    if name in taken:
        raise _unfit(path, f"there is a built-in strategy called {name!r}", "Give the file another name.")
    if path.resolve().parent != folder.resolve():
        raise _unfit(path, "it lies outside of the folder", "Put the file itself there, not a link to it.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _unfit(path, f"it has more than {_MAX_BYTES} bytes", "A strategy is a small file.")
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise _unfit(path, f"it cannot be read: {error.strerror}", "Give it read permission.") from error
    except UnicodeDecodeError as error:
        raise _unfit(path, "it is not UTF-8 text", "Save it as UTF-8.") from error
    if "\0" in text:
        raise _unfit(path, "it holds a zero byte", "Save it as text.")
    return OwnFile(name, path, text)


def _writable(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    mine = found.st_uid in (os.geteuid(), 0)
    by_group = bool(found.st_mode & stat.S_IWGRP) and found.st_gid != os.getegid()
    if mine and not by_group and not found.st_mode & _OTHERS:
        return ""
    return f"{path} can be changed by other users of this machine, and what is in it is run: chmod go-w it."


def _unfit(path: Path, what: str, fix: str) -> BadInput:
    return BadInput(f"{path}: {what}.", field="strategy", value=path.stem, fix=fix)


def _broken(name: str, line: int | None, what: str) -> BadInput:
    where = f"{name}.py, line {line}" if line else f"{name}.py"
    return BadInput(f"{where}: {what}.", field="strategy", value=name, fix="Mend that line.")
