"""Where the database is: a server named by DB_HOST, or the bundled one when DB_HOST is not set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from trading.config.secrets import environment_secret, write_secret
from trading.errors import BadInput, ConfigError

__all__ = [
    "DATABASE_NAME",
    "DATABASE_PORT",
    "DATABASE_USER",
    "DatabaseTarget",
    "dsn_target",
    "server_from_environment",
    "write_secret",
]

DATABASE_NAME = "btc_data"
DATABASE_USER = "btc_bot"
DATABASE_PORT = 5432


@dataclass(frozen=True, slots=True)
class DatabaseTarget:
    """One database of one server. Safe to log and to send: it holds only the path of the 0600 file with the secret.

    ``host`` is a host name, or the absolute path of the folder that holds the server's Unix socket.
    """

    host: str
    port: int = DATABASE_PORT
    database: str = DATABASE_NAME
    user: str = DATABASE_USER
    password_file: str | None = None

    def password(self) -> str | None:
        """Read the password now; raise ConfigError when its file is gone."""
        if self.password_file is None:
            return None
        try:
            return Path(self.password_file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise ConfigError(
                f"The database password in {self.password_file} cannot be read: {error.strerror}.",
                field="DB_PASSWORD",
                fix="Start Manta again, or set DB_PASSWORD.",
            ) from error

    def with_database(self, name: str) -> DatabaseTarget:
        """The database ``name`` of the same server."""
        return replace(self, database=name)

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


def server_from_environment(environment: Mapping[str, str], secrets_dir: Path) -> DatabaseTarget | None:
    """The server that DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD name; None without DB_HOST.

    The password is put into a 0600 file below ``secrets_dir``, so that processes can be told where it is, not what.
    """
    host = environment.get("DB_HOST", "").strip()
    if not host:
        return None
    text = environment.get("DB_PORT", "").strip() or str(DATABASE_PORT)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigError(
            f"DB_PORT is {text!r}, which is no port.", field="DB_PORT", value=text, fix="Give a number from 1 to 65535."
        )
    password = environment_secret(environment, "DB_PASSWORD").reveal()
    return DatabaseTarget(
        host=host,
        port=int(text),
        database=environment.get("DB_NAME", "").strip() or DATABASE_NAME,
        user=environment.get("DB_USER", "").strip() or DATABASE_USER,
        password_file=str(write_secret(secrets_dir / "db_password", password)) if password else None,
    )


def dsn_target(dsn: str, secrets_dir: Path, password: str = "") -> DatabaseTarget:
    """The database of ``postgresql://USER@HOST:PORT/NAME``; for a socket, ``?host=/FOLDER``.

    ``password`` serves a DSN that has none behind USER. Raises BadInput, which never repeats what may hold one.
    """
    try:
        parts = urlsplit(dsn)
        port = parts.port or DATABASE_PORT
    except ValueError as error:
        raise _no_dsn(f"cannot be read: {error}") from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise _no_dsn("does not begin with postgresql://")
    asked = parse_qs(parts.query)
    if unknown := sorted(set(asked) - {"host"}):
        raise _no_dsn(f"asks for {', '.join(unknown)}, which is not known")
    host = asked["host"][0] if "host" in asked else unquote(parts.hostname or "")
    if not host:
        raise _no_dsn("names no host")
    secret = unquote(parts.password) if parts.password else password
    return DatabaseTarget(
        host=host,
        port=port,
        database=unquote(parts.path.lstrip("/")) or DATABASE_NAME,
        user=unquote(parts.username) if parts.username else DATABASE_USER,
        password_file=str(write_secret(secrets_dir / "dsn_password", secret)) if secret else None,
    )


def _no_dsn(why: str) -> BadInput:
    return BadInput(f"The DSN {why}.", field="dsn", fix="Write it like postgresql://btc_bot@nas:5432/btc_data.")
