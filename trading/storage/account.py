"""Which operating-system account runs Postgres, which refuses to be root.

A plain user runs it as itself. Root runs it in a user namespace of its own, where it is an unnamed user and files stay
root's; where namespaces are forbidden (many containers), as ``nobody`` or whoever owns the data directory.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwnam

from trading.errors import ConfigError

__all__ = ["Account", "choose_account"]

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_INNER_ID = 1000


@dataclass(frozen=True, slots=True)
class Account:
    """How a child process changes who it is. ``uid`` None: stays as it is."""

    uid: int | None = None
    gid: int | None = None
    namespace: bool = False

    def owns(self, path: Path) -> None:
        """Give ``path`` to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def enter(self, dies_with_parent: bool) -> Callable[[], None]:
        """What the child runs between fork and exec: become this account and, if asked, stop when the parent dies.

        Death of the parent means death of the *thread* that forked: fork from the main thread.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        parent = os.getpid()

        def become() -> None:
            if self.namespace:
                _enter_namespace(libc)
            elif self.uid is not None and self.gid is not None:
                os.setgroups([])
                os.setgid(self.gid)
                os.setuid(self.uid)
            os.umask(0o077)
            # Changing the account clears this wish, so it comes last.
            if dies_with_parent and sys.platform == "linux":
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
                if os.getppid() != parent:
                    os._exit(1)

        return become


def _enter_namespace(libc: ctypes.CDLL) -> None:
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{_INNER_ID} {uid} 1"), ("gid_map", f"{_INNER_ID} {gid} 1")):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, line.encode())
        os.close(file)


def choose_account(data_dir: Path, program: str) -> Account:
    """The account that can run ``program`` on ``data_dir``, which need not exist yet; ConfigError if there is none."""
    owner = data_dir.stat() if data_dir.exists() else None
    if os.getuid() != 0:
        if owner is not None and owner.st_uid != os.getuid():
            raise ConfigError(
                f"{data_dir} belongs to another account.",
                field="MANTA_DATA_DIR",
                value=str(data_dir),
                fix="Start Manta as the account that made it, or choose another MANTA_DATA_DIR.",
            )
        return Account()
    if owner is not None and owner.st_uid != 0:
        return _checked(Account(owner.st_uid, owner.st_gid), program)
    if sys.platform == "linux" and _can_run(Account(namespace=True), program):
        return Account(namespace=True)
    nobody = getpwnam("nobody")
    return _checked(Account(nobody.pw_uid, nobody.pw_gid), program)


def _checked(account: Account, program: str) -> Account:
    if _can_run(account, program):
        return account
    raise ConfigError(
        f"PostgreSQL refuses to run as root, and account {account.uid} cannot reach {program}.",
        field="storage.binaries",
        value=program,
        fix="Start Manta as a plain user, install it below a folder that all accounts may enter, or set DB_HOST.",
    )


def _can_run(account: Account, program: str) -> bool:
    try:
        subprocess.run(
            [program, "--version"],
            preexec_fn=account.enter(dies_with_parent=False),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=True,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True
