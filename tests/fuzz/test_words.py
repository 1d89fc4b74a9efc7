"""Whatever a person or a client writes: configuration, names, times, numbers, query parameters."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from manta.options import parse_seconds, parse_time
from serve.parameters import interval_name, span, time_ms
from tests.fuzz.explore import EXAMPLES, explore, json_values, mutated, texts
from trading.candles import to_units
from trading.config.loading import default_text, parse_config
from trading.intervals import parse_interval
from trading.markets import split_market
from trading.seed_files import seed_file_name
from trading.storage.imported_markets import named_market

WORDS: dict[str, Callable[[str], object]] = {
    "interval": parse_interval,
    "market": split_market,
    "imported market": lambda text: named_market(text, 2),
    "symbol of a file": lambda text: seed_file_name(text, "1h"),
    "interval of a file": lambda text: seed_file_name("BTC_USDT", text),
    "number": to_units,
    "time of a command": lambda text: parse_time(text, "from"),
    "duration": parse_seconds,
    "time of a query": lambda text: time_ms(text, "from"),
    "interval of a query": interval_name,
}
_LIKELY = st.sampled_from(
    [
        "1m",
        "0m",
        "999999d",
        "1M",
        "60M",
        "-1d",
        "0001-01-01",
        "9999-12-31T23:59:59-12:00",
        "2025-02-30",
        "binance:BTCUSDT",
        "binance:",
        ":",
        "a:/..",
        "1e999999999",
        "1e-999999999",
        "-0",
        "inf",
        "nan",
        "٣m",
        "-" + "9" * 30 + "d",
        "9" * 400,
    ]
)
_SHAPED = st.from_regex(r"-?[0-9]{0,20}[a-zA-Z:.]{0,3}", fullmatch=True)


@EXAMPLES
@pytest.mark.parametrize("name", list(WORDS))
def test_no_word_makes_its_parser_raise_anything_else(name: str, examples: int) -> None:
    explore(
        examples, st.one_of(_LIKELY, texts, st.from_regex(r"-?[0-9]{0,20}[a-zA-Z:.]{0,3}", fullmatch=True)), WORDS[name]
    )


@EXAMPLES
def test_no_span_makes_its_parser_raise_anything_else(examples: int) -> None:
    ends = st.one_of(st.none(), _LIKELY, texts)
    explore(examples, st.tuples(ends, ends), lambda pair: span(*pair))


@EXAMPLES
def test_no_configuration_makes_its_parser_raise_anything_else(tmp_path: Path, examples: int) -> None:
    changed = mutated([yaml.safe_load(default_text())]).map(lambda value: yaml.safe_dump(value, allow_unicode=True))
    names = st.sampled_from(
        ["MANTA__SERVE__PORT", "MANTA__MARKETS", "MANTA__BOOKS__PAPER__CAPITAL", "MANTA__X", "MANTA__"]
    )
    environ = st.dictionaries(names, st.one_of(texts, json_values.map(str)), max_size=2)
    documents = st.tuples(st.one_of(changed, changed, st.text(max_size=80), json_values.map(str)), environ)
    explore(max(20, examples // 3), documents, lambda pair: parse_config(pair[0], "manta.yaml", pair[1]))
