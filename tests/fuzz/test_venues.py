"""Whatever a venue sends, on its socket or as an answer, is read, refused or told as an anomaly."""

import importlib.util
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz.explore import EXAMPLES, answering, explore, json_values, mutated, recorded, run
from trading.candles import Candle, check_candle
from trading.config.loading import default_config
from trading.errors import MantaError
from trading.markets import VENUES
from trading.venues.adapter import Budget, adapter
from trading.venues.limits import WeightLimiter

CONNECTED = [venue for venue in VENUES if importlib.util.find_spec(f"trading.venues.{venue}")]
SYMBOLS = {"binance": "BTCUSDT", "binance_usdm": "BTCUSDT", "pionex": "BTC_USDT", "hyperliquid": "BTC"}
FOLDERS = {"binance_usdm": "binance"}
NOW = 1_752_624_000_000
venues = pytest.mark.parametrize("venue", CONNECTED)


def _raw(shared_data: Path, venue: str) -> st.SearchStrategy[str | bytes]:
    messages = mutated(recorded(shared_data, FOLDERS.get(venue, venue)))
    as_json = st.one_of(messages, json_values).map(lambda value: json.dumps(value, default=str))
    cut = st.tuples(as_json, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
    return st.one_of(as_json, as_json.map(str.encode), cut, st.text(max_size=60), st.binary(max_size=60))


@EXAMPLES
@venues
def test_no_message_makes_a_reader_or_a_wire_raise(shared_data: Path, venue: str, examples: int) -> None:
    found = adapter(venue)
    symbol = SYMBOLS[venue]
    reader = found.reader(f"{venue}:{symbol}", symbol)
    wire = found.wire(default_config({}).venues.of(venue))

    def work(raw: str | bytes) -> None:
        wire.route(raw)
        wire.answer(raw)
        for message in reader.read(raw, 1):
            assert not isinstance(message, Candle) or check_candle(message) is None
        reader.read(raw, 1, want_forming=False)

    explore(examples, _raw(shared_data, venue), work)


@EXAMPLES
@venues
def test_no_answer_makes_the_rest_side_raise_anything_else(shared_data: Path, venue: str, examples: int) -> None:
    found = adapter(venue)
    symbol = SYMBOLS[venue]
    bodies = st.tuples(
        st.one_of(mutated(recorded(shared_data, FOLDERS.get(venue, venue))), json_values),
        st.sampled_from([200, 200, 200, 200, 400, 404, 500]),
    )

    with answering() as (url, answer):
        settings = default_config({}).venues.of(venue).model_copy(update={"rest_url": url})

        async def ask(question: str) -> Any:
            # Nobody is on the other side who could mind how often it is asked.
            limiter = WeightLimiter(Budget(10**9, 1.0), time.monotonic)
            async with found.history(settings, origin="simulator", jitter=lambda: 0.0, limiter=limiter) as history:
                if question == "page":
                    return await history.page(symbol, "1m", NOW - 600_000, NOW, NOW)
                return await (history.time() if question == "time" else history.market(symbol))

        def work(body: tuple[Any, int]) -> None:
            answer["body"], answer["status"] = json.dumps(body[0], default=str).encode(), body[1]
            for question in ("page", "time", "market"):
                explore_one(question)

        def explore_one(question: str) -> None:
            with suppress(MantaError):
                page = run(lambda: ask(question))
                if question == "page":
                    assert all(check_candle(candle) is None for candle in page.candles)

        explore(max(10, examples // 4), bodies, work)
