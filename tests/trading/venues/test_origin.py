"""Simulated candles never meet a venue, nor a venue's database a simulator."""

import pytest

from trading.errors import ConfigError
from trading.venues.origin import check_origin


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("simulator", "http://127.0.0.1:8080"),
        ("simulator", "ws://localhost:1"),
        ("simulator", "ws://[::1]:9443"),
        ("simulator", "http://127.8.9.1"),
        ("venue", "https://data-api.binance.vision"),
        ("venue", "wss://stream.binance.com:9443"),
    ],
)
def test_fitting(origin: str, url: str) -> None:
    check_origin(origin, url)


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("simulator", "https://api.binance.com"),
        ("simulator", "http://127.0.0.1.example.com"),
        ("simulator", "http://192.168.1.4"),
        ("simulator", "http://127.0.0.1@api.binance.com"),
        ("venue", "http://127.0.0.1:8080"),
        ("venue", "https://localhost"),
        ("venue", "https://[::1]:443"),
        ("venue", "http://api.binance.com"),
        ("venue", "https://user:secret@api.binance.com"),  # pragma: allowlist secret
        ("venue", "ftp://api.binance.com"),
        ("venue", "api.binance.com"),
        ("other", "https://api.binance.com"),
    ],
)
@pytest.mark.conforms("BN-19")
def test_refused(origin: str, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_origin(origin, url, "venues.binance.rest_url")
    assert caught.value.fix
    assert "secret" not in str(caught.value)
