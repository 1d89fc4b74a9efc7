"""The cluster's request limits, for a command that runs beside it."""

from __future__ import annotations

import os
from pathlib import Path

from trading.config.loading import data_dir
from trading.config.model import Config
from trading.storage.postgres import running_server
from trading.storage.settings import server_from_environment
from trading.venues.cluster_limits import ClusterLimits

__all__ = ["running_limits"]


def running_limits(config: Config, config_path: Path | None) -> ClusterLimits | None:
    """The limits that the running Manta keeps in its database; None when there is no database to ask."""
    folder = data_dir(config_path, os.environ)
    target = server_from_environment(os.environ, folder / "secrets") or running_server(folder / "postgres")
    return None if target is None else ClusterLimits(config, target, application_name="manta command limits")
