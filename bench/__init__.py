"""Measurements against the budgets in ``docs/benchmarks.md``. A bench reports; it never fails a build by time."""
