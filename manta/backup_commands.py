"""``manta db backup``, ``backups`` and ``restore``: their options and words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from manta.options import AsJson, ConfigPath
from manta.output import fail, finish, guarded
from trading.errors import BadInput

__all__ = ["mount"]


def mount(app: typer.Typer) -> None:
    """Give ``app`` the verbs."""
    app.command("backup")(backup)
    app.command("backups")(backups)
    app.command("restore")(restore)


def backup(
    folder: Annotated[
        Path | None, typer.Option(help="Where to; default: storage.backup_folder, where older ones are deleted.")
    ] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Back the database up into one compressed file; Manta may run meanwhile."""
    from manta.backups import backup_words, make_backup

    result = guarded(lambda: make_backup(config, folder), as_json=as_json)
    finish(result, as_json=as_json, words=backup_words(result))


def backups(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List the backups, newest first."""
    from manta.backups import backup_words, stored_backups

    result = guarded(lambda: stored_backups(config), as_json=as_json)
    finish(
        result, as_json=as_json, words="\n".join(map(backup_words, result)) or "none yet: `manta db backup` makes one"
    )


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `manta db backup` wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the whole database, which is backed up first. Asks; Manta must not run."""
    from manta.backups import restore_backup

    if not yes:
        if not sys.stdin.isatty():
            fail(
                BadInput("`db restore` replaces everything and nobody can be asked.", fix="Add --yes if you mean it."),
                as_json=as_json,
            )
        typer.confirm(f"Replace all candles, decisions, orders and books by those of {file}?", abort=True, err=True)
    result = guarded(lambda: restore_backup(config, file), as_json=as_json)
    words = f"restored {result['restored']}"
    if result["before"]:
        words += f"; what was there is kept in {result['before']}"
    finish(result, as_json=as_json, words=words)
