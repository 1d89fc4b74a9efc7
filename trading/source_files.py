"""One digest of many Python files: whether two machines, or two runs, have the same code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["digest_of"]


def digest_of(root: Path, packages: Iterable[str]) -> str:
    """64 hex digits: the SHA-256 of names and contents of all Python files of ``packages`` below ``root``.

    A checkout with the line ends of Windows has the same as one without.
    """
    told = hashlib.sha256()
    for package in sorted(packages):
        for path in sorted((root / package).rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
            name = path.relative_to(root).as_posix().encode()
            # Each part with its length: what is moved from one file to the next is a difference.
            for part in (name, path.read_bytes().replace(b"\r\n", b"\n")):
                told.update(len(part).to_bytes(8, "big") + part)
    return told.hexdigest()
