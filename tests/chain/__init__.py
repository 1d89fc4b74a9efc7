"""The real contracts of Base on a local node."""
