"""Venue adapters, one folder each, and the venue simulator."""
