"""Reference engine, statistics and reports over recorded candles."""
