"""What ``manta config check`` and ``manta config show`` do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trading.config.loading import config_path, data_dir, effective, load_config, require_secrets
from trading.config.secrets import MASK, SECRET_NAMES, environment_secrets

__all__ = ["check_command", "show_command"]


def check_command(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Load everything that a start would load; raises ConfigError with a paragraph for each mistake."""
    config = load_config(path, environ)
    require_secrets(config, environ)
    found = config_path(path, environ)
    return {
        "valid": True,
        "path": str(found) if found else "the built-in configuration",
        "data_dir": str(data_dir(path, environ)),
        "markets": list(config.markets),
        "strategies": [item.name for item in config.strategies],
    }


def show_command(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """The effective configuration; of secrets only whether they are set."""
    shown = effective(load_config(path, environ))
    known = environment_secrets(environ)
    shown["secrets"] = {name: MASK if name in known else None for name in SECRET_NAMES}
    return shown
