"""The documented manta.yaml, the reference page and the model say the same."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from trading.config.document import document
from trading.config.keys import children, keys_of
from trading.config.loading import default_config, default_text, parse_config
from trading.config.model import Config

ROOT = Path(__file__).resolve().parents[3]
TEXT = default_text()
# With the commented Discord channel switched on.
FULL = re.sub(r"^    # ( *)(discord|kind|events|username|min_interval_s|max_attempts)", r"    \1\2", TEXT, flags=re.M)
# What the file chooses beyond the model's own defaults.
CHOSEN = {"markets", "features", "strategies"}


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key path of parsed YAML, in the notation of ``keys_of``."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from paths(item, (*path, "[]"))
    elif isinstance(value, dict):
        for key, item in value.items():
            named = path[-1:] in (("books",), ("channels",))
            here = (*path, "<name>" if named else key)
            if path[-1:] != ("params",):
                if not named:
                    yield here
                yield from paths(item, here)


def test_the_packaged_file_is_the_one_in_the_repository():
    assert (ROOT / "manta.yaml").read_text(encoding="utf-8") == TEXT


def test_every_key_of_the_model_is_documented_and_every_documented_key_exists():
    assert set(paths(yaml.safe_load(FULL))) == {path for path, _ in keys_of(Config)}
    assert set(parse_config(FULL, "manta.yaml", {}).notify.channels) == {"log", "discord"}


def test_every_key_has_a_comment():
    seen: set[str] = set()
    for line in FULL.splitlines():
        match = re.match(r" *(?:- )?([a-z][a-z0-9_]*):(.*)", line)
        if match and match[1] not in seen and match[1] not in {"paper", "log", "discord"}:
            seen.add(match[1])
            assert "  # " in match[2], f"{match[1]} has no comment"


def test_the_values_are_the_models_defaults():
    documented, model = default_config(), Config()
    for name in set(Config.model_fields) - CHOSEN:
        assert getattr(documented, name) == getattr(model, name), name


@pytest.mark.covers("S1-15")
def test_the_defaults_are_two_averages_on_three_intervals():
    config = default_config()
    intervals = ("37m", "148m", "1d")
    assert config.markets == ("binance:BTCUSDT",)
    assert config.intervals == intervals
    assert [(item.name, item.params, item.intervals) for item in config.features] == [
        ("sma44", {"period": 44}, intervals),
        ("sma125", {"period": 125}, intervals),
    ]
    assert [(item.name, item.strategy, item.profile, item.intervals) for item in config.strategies] == [
        ("ma44", "ma44", "perp", intervals),
        ("ma125", "ma125", "spot", intervals),
    ]
    assert (config.books["paper"].capital, config.books["paper"].currency) == (Decimal(10_000), "USDT")
    assert list(config.notify.channels) == ["log"]


def test_every_key_of_the_model_says_what_it_means():
    for path, field in keys_of(Config):
        assert field.description or children(field.annotation), ".".join(path)


def test_the_reference_page_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == document(), "run: python -m trading.config.document > docs/configuration.md"
