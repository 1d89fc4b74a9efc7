"""Parameter sweeps: many combinations of a strategy's parameters over the same candles."""
