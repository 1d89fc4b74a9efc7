"""Price gaps: a pattern of three candles that leaves a zone of prices behind, and what becomes of that zone."""
