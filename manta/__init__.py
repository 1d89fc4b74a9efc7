"""The `manta` command and the host process: the composition root, which nothing imports."""

__version__ = "0.1.0"
