"""Binance spot market data: stream and history."""
