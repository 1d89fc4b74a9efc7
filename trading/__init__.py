"""The domain: candles, strategies, books, venues and storage. Nothing here imports Ray."""
