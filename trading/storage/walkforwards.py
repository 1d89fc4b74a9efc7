"""Walk-forwards, and what each set of parameters scored in the search of each fold, and over all days."""

from __future__ import annotations

from trading.storage.searches import Searches

__all__ = ["JOBS"]

JOBS = Searches("walkforwards", "walkforward_results", "walk-forward")
