"""Whether a strategy looks ahead, remembers what it should not, or listens to anything but its candles."""
