"""A local venue that replays real candles over the venue's own protocol."""
