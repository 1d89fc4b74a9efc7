"""The `manta` command and the host process: the composition root, which nothing imports."""

from trading import __version__

__all__ = ["__version__"]
