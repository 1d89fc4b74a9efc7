"""The paper venue: fills orders from candles, with a book of its own. It stands where a real venue will."""
