"""What keeps a backtest honest: walk-forward, and statistics of how much of a result is luck or search.

``docs/honesty.md`` explains each with its source and how to read it.
"""
