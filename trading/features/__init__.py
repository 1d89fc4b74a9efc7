"""Scalar feature recurrences, one closed candle at a time."""
