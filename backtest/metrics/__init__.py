"""Figures of a finished run: from daily equity, from its trades, and by group. ``docs/metrics.md`` has the formulas."""
