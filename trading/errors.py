"""Every error Manta raises on purpose.

MantaError
├── ConfigError       fix the configuration, then start again
├── BadInput          fix the argument, file or request, then repeat it
├── VenueRetryable    wait (``retry_after_s`` if given), then ask the venue again
├── VenueAuth         stop using this venue until its credentials are fixed
├── OutcomeUnknown    ask the venue what happened; never send again blindly
├── DataHole          candles are missing; wait for healing or choose another range
├── StorageRetryable  wait until Postgres is back, then repeat the whole transaction
└── Halt              stop this process; another owner or an operator is in charge
"""

from __future__ import annotations

__all__ = [
    "BadInput",
    "ConfigError",
    "DataHole",
    "Halt",
    "MantaError",
    "OutcomeUnknown",
    "StorageRetryable",
    "VenueAuth",
    "VenueRetryable",
]


class MantaError(Exception):
    """Base of all deliberate errors.

    ``field`` names what was wrong, ``value`` what was given (never a secret), ``fix`` what to do next.
    ``exit_code`` is the process exit status and ``http_status`` the API status for this kind of error.
    """

    exit_code = 1
    http_status = 500
    title = "Internal error"

    def __init__(self, message: str, *, field: str | None = None, value: object = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(kind: type[MantaError], state: dict[str, object]) -> MantaError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state["message"],)
    return error


class ConfigError(MantaError):
    """The configuration cannot be used; the message names key, value and fix."""

    exit_code = 2
    http_status = 500
    title = "Configuration error"


class BadInput(MantaError):
    """An argument, file row or request is wrong; nothing was changed."""

    exit_code = 2
    http_status = 422
    title = "Bad input"


class VenueRetryable(MantaError):
    """The venue could not answer now; try again after ``retry_after_s`` seconds if given."""

    exit_code = 3
    http_status = 503
    title = "Venue unavailable"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        field: str | None = None,
        value: object = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, field=field, value=value, fix=fix)
        self.retry_after_s = retry_after_s


class VenueAuth(MantaError):
    """The venue refused our credentials or address."""

    exit_code = 4
    http_status = 502
    title = "Venue refused credentials"


class OutcomeUnknown(MantaError):
    """A request may or may not have taken effect; ask, never repeat."""

    exit_code = 5
    http_status = 502
    title = "Outcome unknown"


class DataHole(MantaError):
    """Candles that the request needs are missing."""

    exit_code = 6
    http_status = 409
    title = "Data hole"


class Halt(MantaError):
    """This process must stop: its lease is gone or an operator said so."""

    exit_code = 7
    http_status = 503
    title = "Halted"


class StorageRetryable(MantaError):
    """Postgres could not be reached or dropped the connection before commit; nothing was written."""

    exit_code = 8
    http_status = 503
    title = "Database unavailable"
