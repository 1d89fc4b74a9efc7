"""How ``validate`` methods say that a state contradicts itself; unlike ``assert`` it speaks under ``python -O`` too."""

from __future__ import annotations

__all__ = ["require"]


def require(holds: bool, *detail: object) -> None:
    """Raise AssertionError with ``detail`` unless ``holds``."""
    if not holds:
        raise AssertionError(*detail)
