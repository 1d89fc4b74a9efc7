"""Thin Ray actors around the state classes of the domain."""
