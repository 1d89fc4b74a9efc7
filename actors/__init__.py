"""Thin Ray actors: sockets, SQL and Ray calls around the pure state classes of ``trading``."""

from actors.lean import slim

slim()
