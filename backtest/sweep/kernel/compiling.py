"""How functions of the kernel that make no arrays are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

__all__ = ["inlined", "uncounted"]

_F = TypeVar("_F", bound=Callable[..., Any])


def uncounted(function: _F) -> _F:
    """Compile ``function`` so that it does not count who holds an array, which takes longer than what a walk does.

    It may be called from compiled code that does, with arrays that this keeps meanwhile.
    """
    made: _F = njit(_nrt=False)(function)  # type: ignore[call-overload]
    return made


def inlined(function: _F) -> _F:
    """The same for a function that becomes part of each that calls it."""
    made: _F = njit(forceinline=True, _nrt=False)(function)  # type: ignore[call-overload]
    return made
