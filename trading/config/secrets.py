"""Secrets: read from the environment or files named there, kept in one 0600 file, never shown.

``BASE_RPC_URL``, ``DB_PASSWORD``, ``DISCORD_WEBHOOK_URL`` and ``MANTA_API_TOKEN`` hold the secret; with ``_FILE`` after
the name, the path of a file that does.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NoReturn

from trading.errors import ConfigError

__all__ = [
    "MASK",
    "SECRETS_FILE",
    "SECRET_NAMES",
    "Redactor",
    "Secret",
    "environment_secret",
    "environment_secrets",
    "read_secrets",
    "write_secret",
    "write_secrets",
]

SECRET_NAMES = ("BASE_RPC_URL", "DB_PASSWORD", "DISCORD_WEBHOOK_URL", "MANTA_API_TOKEN")
SECRETS_FILE = "secrets.json"
MASK = "**********"

# What gives a secret away by its surroundings, whether or not its value is known here. Group 1 stays.
_SHAPES = (
    re.compile(r"(/api/(?:v\d+/)?webhooks/)[^\s\"'<>]+"),
    re.compile(r"(\bapi\.telegram\.org/(?:file/)?bot)[^/\s\"'<>]+"),
    re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:)[^\s/@\"']+(?=@)"),
    re.compile(r"((?i:\b(?:bearer|basic)\s+))[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(
        r"((?i:\b[a-z0-9_-]*(?:password|passwd|secret|token|api_?key|webhook_url)[\"']?\s*[=:]\s*[\"']?))"
        r"(?!\*{4})[^\s\"',;&})\]]{4,}"
    ),
)
_SECRET_KEY = re.compile(r"(?i)(?:password|passwd|secret|token|api_?key|webhook_url)$")
# A shorter value would blot out ordinary words and numbers.
_SHORTEST = 4


class Secret:
    """A value that shows only when asked to. Its repr and str are a mask, and it refuses to be pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret({MASK!r})" if self._value else "Secret('')"

    def __str__(self) -> str:
        return MASK if self._value else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not travel: send the path of the secrets file instead")


class Redactor:
    """Masks the given values and everything that looks like a credential, in text and in nested data.

    Usable as a structlog processor: every value of the event is masked, whatever its type.
    """

    def __init__(self, secrets: Iterable[Secret | str] = ()) -> None:
        plain = {item.reveal() if isinstance(item, Secret) else item for item in secrets}
        # As JSON shows them too; the longest first, so that no part of one remains.
        known = {form for text in plain if len(text) >= _SHORTEST for form in (text, json.dumps(text)[1:-1])}
        self._known = sorted(known, key=len, reverse=True)

    def text(self, text: str) -> str:
        for value in self._known:
            text = text.replace(value, MASK)
        for shape in _SHAPES:
            text = shape.sub(rf"\g<1>{MASK}", text)
        return text

    def data(self, value: Any) -> Any:
        """``value`` with every string masked; what is neither a container nor a plain number becomes masked text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._named(str(key), item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.data(item) for item in value]
        return self.text(str(value))

    def _named(self, key: str, value: Any) -> Any:
        if _SECRET_KEY.search(key) and isinstance(value, str | Secret):
            return MASK if value else ""
        return self.data(value)

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            # structlog's own keys, and what only the traceback renderer understands, are no text yet.
            if not key.startswith("_") and key != "exc_info":
                event[key] = self._named(key, value)
        return event


def environment_secret(environ: Mapping[str, str], name: str) -> Secret:
    """The secret ``name``, or what the file in ``name_FILE`` holds; empty when neither is set."""
    direct = environ.get(name, "")
    path = environ.get(f"{name}_FILE", "").strip()
    if direct and path:
        raise ConfigError(f"Both {name} and {name}_FILE are set.", field=name, fix="Unset one of them.")
    if not path:
        return Secret(direct)
    try:
        return Secret(Path(path).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{name}_FILE names {path}, which cannot be read: {reason}.",
            field=f"{name}_FILE",
            value=path,
            fix="Give the path of a readable file that holds only the secret.",
        ) from error


def environment_secrets(environ: Mapping[str, str]) -> dict[str, Secret]:
    """Every secret that is set, by its name without ``_FILE``."""
    found = {name: environment_secret(environ, name) for name in SECRET_NAMES}
    return {name: secret for name, secret in found.items() if secret}


def write_secret(path: Path, secret: str) -> Path:
    """Write ``secret`` to ``path``, readable by its owner only from the first byte on; replaces what was there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(secret)
    fresh.replace(path)
    return path


def write_secrets(folder: Path, environ: Mapping[str, str]) -> Path:
    """Put every secret of the environment into ``folder/secrets.json``, mode 0600, and return its path.

    Processes are told this path; the secrets themselves are never arguments or environment of another process.
    """
    values = {name: secret.reveal() for name, secret in environment_secrets(environ).items()}
    return write_secret(folder / SECRETS_FILE, json.dumps(values))


def read_secrets(path: Path | str | None) -> dict[str, Secret]:
    """What ``write_secrets`` wrote; ConfigError when others can read it or it is no such file."""
    if path is None:
        return {}
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(
                    f"The secrets file {path} can be read by other users.",
                    field="secrets",
                    fix=f"Run: chmod 600 {path}",
                )
            values = json.load(file)
    except (OSError, ValueError) as error:
        # The text of a JSON error quotes nothing, but its cause holds the whole document.
        raise ConfigError(
            f"The secrets file {path} cannot be read: {type(error).__name__}.",
            field="secrets",
            fix="Start Manta again: it writes the file anew.",
        ) from None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ConfigError(
            f"The secrets file {path} is no JSON object of texts.",
            field="secrets",
            fix="Start Manta again: it writes the file anew.",
        )
    return {name: Secret(value) for name, value in values.items()}
