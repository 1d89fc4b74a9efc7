"""Names resolved against the venue's own recorded lists: exact, or with the nearest ones named, never silently."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.trading.venues.hyperliquid.recorded import answer
from trading.errors import ConfigError, VenueRetryable
from trading.venues.hyperliquid.symbols import Names


@pytest.fixture(scope="module")
def names(shared_data: Path) -> Names:
    return Names(
        answer(shared_data, "meta", "rest_recorded_go_sdk"), answer(shared_data, "spotMeta", "rest_recorded_go_sdk")
    )


def test_hl_20_a_perp_takes_its_decimals_from_its_size_decimals(names: Names) -> None:
    market = names.market("BTC")
    assert (market.key, market.kind, market.base, market.quote, market.warning) == (
        "hyperliquid:BTC", "perp", "BTC", "USDC", "",
    )  # fmt: skip
    assert (market.size_decimals, market.price_decimals) == (5, 1)
    assert (market.lot_size, market.tick_size, market.min_notional) == (Decimal("0.00001"), Decimal("0.1"), Decimal(10))
    assert names.market("kPEPE").price_decimals == 6


@pytest.mark.parametrize(
    ("name", "coin", "base", "quote", "decimals"),
    [
        ("PURR/USDC", "PURR/USDC", "PURR", "USDC", (0, 8)),
        ("@107", "@107", "HYPE", "USDC", (2, 6)),
        ("HYPE/USDC", "@107", "HYPE", "USDC", (2, 6)),
        ("UBTC/USDC", "@142", "UBTC", "USDC", (5, 3)),
    ],
)
def test_hl_21_a_spot_pair_is_found_by_its_tokens_and_by_its_number(
    names: Names, name: str, coin: str, base: str, quote: str, decimals: tuple[int, int]
) -> None:
    market = names.market(name)
    assert (market.symbol, market.kind, market.base, market.quote) == (coin, "spot", base, quote)
    assert (market.size_decimals, market.price_decimals) == decimals
    assert (market.warning == "") == (name == coin)


@pytest.mark.parametrize(
    ("name", "coin"),
    [
        ("cbBTC", "BTC"),
        ("cbBTC-PERP", "BTC"),
        ("CBBTC", "BTC"),
        ("cbBTC/USDC", "@142"),
        ("cbBTC-SPOT", "@142"),
        ("BTC/USDC", "@142"),
    ],
)
@pytest.mark.covers("S1-34")
def test_hl_22_what_the_venue_has_under_another_name_is_used_with_a_warning(names: Names, name: str, coin: str) -> None:
    market = names.market(name)
    assert market.symbol == coin
    assert f"has no {name}" in market.warning
    assert "is used instead" in market.warning


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("btc", "Did you mean BTC? The venue tells capital from small letters."),
        ("KPEPE", "Did you mean kPEPE? The venue tells capital from small letters."),
        ("purr/usdc", "Did you mean PURR/USDC? The venue tells capital from small letters."),
        ("BTCUSDT", "Did you mean BTC?"),
        ("ETH-PERP", "Did you mean ETH?"),
        ("XQZW", "Use a perp such as BTC or a spot pair such as UBTC/USDC."),
    ],
)
@pytest.mark.covers("S1-34")
def test_hl_23_an_unknown_name_fails_with_the_nearest_ones(names: Names, name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        names.market(name)
    assert caught.value.message == f"Hyperliquid does not know {name!r}."
    assert caught.value.fix == hint


def test_hl_24_a_delisted_market_is_refused_by_name(names: Names) -> None:
    with pytest.raises(ConfigError, match="has delisted MATIC"):
        names.market("MATIC")


@pytest.mark.parametrize(("meta", "spot"), [(None, {}), ({"universe": [1]}, {"tokens": [], "universe": []}), ([], [])])
def test_an_unreadable_list_is_asked_for_again_later(meta: object, spot: object) -> None:
    with pytest.raises(VenueRetryable, match="unreadable"):
        Names(meta, spot)
