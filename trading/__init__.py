"""The domain: candles, strategies, books, venues and storage. Nothing here imports Ray."""

__version__ = "0.1.0"
