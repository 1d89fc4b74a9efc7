"""Sweeps: many sets of parameters of one strategy on every core there is, kept as they come, resumed after a crash.

``docs/sweeps.md`` says how to use them and how to read what they find.
"""
