"""Metric table and monitoring configuration; imports nothing of the other packages."""
