"""Cheats are caught, with the line or feature that gives them away; honest strategies pass."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.trading.strategies.own import stepping, text
from trading.strategies import template
from trading.strategies.building import source_of
from trading.strategies.check.check import CheckResult, check_strategy
from trading.strategies.check.series import made_up
from trading.strategies.registry import STRATEGIES


class Cheat(NamedTuple):
    """``kind`` is what it is caught for, ``at`` the words of the line that gives it away."""

    kind: str
    source: str
    at: str


CANDLES_OF_THE_RUN = """
def candles():
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, list) and value and type(value[0]).__name__ == "Candle":
                return value
        frame = frame.f_back
    return []
"""
PEEKING_FEATURE = """
from trading.features.contract import FeatureDef

class NoParams(NamedTuple):
    pass

def peek(count, candle, beside, k):
    every = candles()
    ahead = every[count + 1].close if count + 1 < len(every) else candle.close
    return count + 1, ahead / 1e8

AHEAD = FeatureDef("ahead", NoParams, {}, 0, peek, lambda k: 1, lambda k: 100_000)
"""
CHEATS = {
    "a global list of the run's candles": Cheat(
        "future",
        text(
            """
            every = candles()
            here = round(now.close * 1e8)
            ahead = next((after for before, after in zip(every, every[1:]) if before.close == here), None)
            return LONG if ahead is None or ahead.close > ahead.open else SHORT
            """,
            imports=f"import sys\n{CANDLES_OF_THE_RUN}",
        ),
        "ahead = next(",
    ),
    "a global that an earlier run has filled": Cheat(
        "memory",
        text(
            """
            SEEN.append(now.close)
            place = SEEN.index(now.close)
            return LONG if place + 1 < len(SEEN) and SEEN[place + 1] > now.close else SHORT
            """,
            imports="SEEN = []",
        ),
        "SEEN.append",
    ),
    "a count kept in the module": Cheat(
        "memory",
        text(
            """
            global count
            count += 1
            return LONG if count % 7 < 3 else SHORT
            """,
            imports="count = 0",
        ),
        "global count",
    ),
    "the wall clock": Cheat(
        "outside", text("return LONG if time.time() % 2 < 1 else SHORT", imports="import time"), "time.time()"
    ),
    "the hour of the machine": Cheat(
        "clock",
        text(
            "return LONG if getattr(datetime, 'n' + 'ow')().timestamp() // 43_200 % 2 else SHORT",
            imports="from datetime import datetime",
        ),
        "return LONG",
    ),
    "chance": Cheat(
        "chance", text("return LONG if random.random() > 0.5 else SHORT", imports="import random"), "return LONG"
    ),
    "chance in the price of entry": Cheat(
        "chance",
        text("return LONG", more="def entry(now, p): return now.close * random.random()", imports="import random"),
        "def entry",
    ),
    "a mutable default": Cheat(
        "memory",
        text("return past(now.close)").replace(
            "def rule", "def past(close, seen={}):\n    seen[len(seen)] = close\n"
            "    return LONG if close > seen[len(seen) // 2] else SHORT\n\ndef rule"
        ),
        "def past",
    ),
    "a feature that sees a later candle": Cheat(
        "future",
        text(
            "return LONG if now.ahead > now.close else SHORT",
            imports=f"import sys{CANDLES_OF_THE_RUN}{PEEKING_FEATURE}",
        )
        .replace("return {}", "return {'ahead': AHEAD.bind({})}")
        .replace("    close: float", "    close: float\n    ahead: float"),
        "ahead = every[count + 1]",
    ),
    "a longer candle that has not closed yet": Cheat(
        "future",
        text(
            """
            every = candles()
            far = [item for item in every if item.interval == "4h"]
            here = next((i for i in every if i.interval == "1h" and i.close == round(now.close * 1e8)), None)
            if here is None:
                return HOLD
            around = next((i for i in far if i.open_time_ms <= here.open_time_ms < i.close_time_ms), here)
            return LONG if around.close > here.close else SHORT
            """,
            imports=f"import sys\nfrom trading.features.sma import sma{CANDLES_OF_THE_RUN}",
        )
        .replace("return {}", "return {'far': sma(3).on('4h')}")
        .replace("    close: float", "    close: float\n    far: float"),
        "far = [item for item in every",
    ),
    "a feature of longer candles that sees the next one": Cheat(
        "future",
        text(
            "return LONG if now.ahead > now.close else SHORT",
            imports=f"import sys{CANDLES_OF_THE_RUN}{PEEKING_FEATURE}",
        )
        .replace("every = candles()", "every = [item for item in candles() if item.interval == '4h']")
        .replace("return {}", "return {'ahead': AHEAD.bind({}).on('4h')}")
        .replace("lambda k: 100_000", "lambda k: 100")
        .replace("    close: float", "    close: float\n    ahead: float"),
        "every = [item for item in candles()",
    ),
    "what differs from run to run": Cheat(
        "outside", text("return LONG if id(object()) // 16 % 2 else SHORT"), "id(object())"
    ),
    "a state outside of the state": Cheat(
        "memory",
        stepping(
            "target: int = FLAT",
            """
            memo["n"] = memo.get("n", 0) + 1
            return State(LONG if memo["n"] % 5 else FLAT)
            """,
        ).replace("class State", "memo = {}\n\nclass State"),
        'memo["n"] =',
    ),
    "a feature that forgets too late": Cheat(
        "warm-up",
        text("return LONG if now.mean > now.close else SHORT", imports=PEEKING_FEATURE)
        .replace("every = candles()", "total = count + candle.close")
        .replace("ahead = every[count + 1].close if count + 1 < len(every) else candle.close", "pass")
        .replace("return count + 1, ahead / 1e8", "return total, total / 1e8")
        .replace("lambda k: 100_000", "lambda k: 10")
        .replace("return {}", "return {'mean': AHEAD.bind({})}")
        .replace("    close: float", "    close: float\n    mean: float"),
        "",
    ),
}  # fmt: skip


def kinds(result: CheckResult) -> set[str]:
    return {finding.kind for finding in result.findings}


@cache
def checked(cheat: str) -> CheckResult:
    return check_strategy("cheat", None, CHEATS[cheat].source)


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_caught_with_what_gives_it_away(name: str) -> None:
    cheat, result = CHEATS[name], checked(name)
    assert not result.passed
    found = next(finding for finding in result.findings if finding.kind == cheat.kind)
    if cheat.at:
        assert found.line is not None
        assert cheat.at in cheat.source.splitlines()[found.line - 1], str(found)
    if cheat.kind not in ("outside",):
        assert found.time_ms is not None
        assert " becomes " in found.text


def test_a_feature_that_leaks_is_named() -> None:
    result = checked("a feature that sees a later candle")
    found = next(finding for finding in result.findings if finding.kind == "future")
    assert found.feature == "ahead"
    assert "it looks ahead: what comes after candle" in found.text
    late = checked("a feature that forgets too late")
    assert [(finding.kind, finding.feature) for finding in late.findings] == [("warm-up", "mean")]


def test_a_file_of_prices_is_caught_at_the_line_that_opens_it(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("\n".join(str(n) for n in range(100)))
    read = f"AHEAD = [*map(float, Path({str(prices)!r}).read_text().split())]"
    source = text("return LONG if AHEAD[int(now.close) % 100] > 50 else SHORT").replace(
        "def rule", f"from pathlib import Path\n{read}\n\ndef rule"
    )
    result = check_strategy("cheat", None, source)
    [found] = result.findings
    assert (found.kind, "prices.csv" in found.text) == ("file", True)
    assert found.line is not None
    assert source.splitlines()[found.line - 1].startswith("AHEAD = ")


def test_a_leak_of_one_candle_in_twenty_is_found() -> None:
    rare = CHEATS["a global list of the run's candles"].source.replace(
        "    every = candles()", "    if int(now.close * 100) % 20:\n        return HOLD\n    every = candles()"
    )
    assert "future" in kinds(check_strategy("cheat", None, rare))


def test_a_strategy_that_fails_on_some_candle_is_told_with_its_line() -> None:
    result = check_strategy("mine", None, text("return LONG if 1 / (now.close < 31_000) else FLAT"))
    assert [finding.kind for finding in result.findings] == ["failed"]
    assert "line 22: ZeroDivisionError" in result.findings[0].text


def reading(feature: str, rule: str = "return LONG if now.close > now.far else SHORT") -> str:
    """A strategy that reads one feature besides, as ``far``."""
    imports = "from trading.features.averages import ema\nfrom trading.features.sma import sma"
    whole = text(rule, imports=imports).replace("    return {}", f'    return {{"far": {feature}}}')
    return whole.replace("    close: float", "    close: float\n    far: float")


@pytest.mark.parametrize("feature", ['sma(3).on("4h")', "ema(3).on_multiple(4)"])
def test_a_strategy_that_reads_longer_candles_is_judged_with_them(feature: str) -> None:
    result = check_strategy("mine", None, reading(feature))
    assert (result.findings, result.passed, result.futures >= 20) == ([], True, True)
    assert not any("not tried" in note or "not known" in note for note in result.notes)
    cheat = reading(feature, "seen.append(now.far)\nreturn LONG if len(seen) % 7 and now.close > now.far else SHORT")
    assert "memory" in kinds(check_strategy("mine", None, cheat.replace("class Row", "seen = []\n\nclass Row")))


@pytest.mark.parametrize(("interval", "other"), [("1h", "4h"), ("1h", "15m"), ("1h", "90m"), ("1d", "1w")])
def test_candles_of_other_intervals_are_tried_with_those_of_the_own(interval: str, other: str) -> None:
    result = check_strategy("mine", None, reading(f'sma(3).on("{other}")'), interval=interval)
    assert (result.findings, result.notes, result.others) == ([], [], [other])
    assert result.candles >= 399


def test_what_was_not_judged_is_said() -> None:
    # Candles of 37 minutes make none of four hours.
    result = check_strategy("mine", None, reading('sma(3).on("4h")'), candles=made_up(450, "37m"))
    assert result.others == []
    assert any("4h candles, which are not tried here: no signal of it was judged" in note for note in result.notes)


# Periods as long as the defaults want many candles, and long tests.
SHORT: dict[str, dict[str, object]] = {
    "scalper": {"ema_trend": 4, "atr_period": 4, "rsi_period": 3},
    "rsi_reversion": {"period": 5},
    "accumulate": {"rsi_period": 5},
    "ema_cross": {"fast": 3, "slow": 8},
    "macd": {"fast": 3, "slow": 8, "signal": 4},
}


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "ma125"])
def test_the_built_in_strategies_are_honest(name: str) -> None:
    result = check_strategy(name, SHORT.get(name))
    assert not any("not tried" in note for note in result.notes)
    assert result.findings == []
    assert (result.passed, result.futures >= 60) == (True, True)


HONEST = {
    "the template": source_of(template.__name__),
    "an own one": text(),
    "one with a constant table and a helper": text(
        "return LEVELS.get(side(now.close, p.level), HOLD)", imports="LEVELS = {1: 1, -1: -1}\n\n"
        "def side(close, level):\n    return 1 if close > level * 300 else -1\n"
    ),
    "one that caches what is always the same": text(
        "return LONG if root(p.level) < now.close ** 0.5 else SHORT",
        imports="from functools import lru_cache\n\n@lru_cache\ndef root(x):\n    return 17.3 * x ** 0.5\n",
    ),
    "one that reads a calendar": text(
        "return LONG if now.close > WHEN.year * 15 else FLAT",
        imports="from datetime import datetime, UTC\nWHEN = datetime.fromtimestamp(0, UTC).replace(year=2020)",
    ),
    "one with a state": stepping(
        "target: int = FLAT\ntop: float = 0.0",
        "top = max(state.top * 0.999, now.close)\nreturn State(FLAT if now.close < top * 0.97 else LONG, top)",
    ),
    "one with lots": stepping(
        "lots: tuple = ()\nlast: float = 0.0",
        "lots = tuple(lot for lot in state.lots if now.close < lot.price * 1.02)\n"
        "if len(lots) < 3 and now.close < state.last * 0.99:\n    lots = (*lots, Lot(share=0.2, price=now.close))\n"
        "return State(lots, now.close)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_strategy_of_ones_own_passes(name: str) -> None:
    assert check_strategy("mine", None, HONEST[name]).findings == []


def test_averages_that_never_forget_are_noted_and_no_fault() -> None:
    [note] = check_strategy("ema_cross").notes
    assert note.startswith("A longer history changes its numbers until ")
    assert "Manta gives it 421" in note
    assert check_strategy("sma_cross").notes == []


def test_other_intervals_and_own_candles_can_be_tried() -> None:
    own = made_up(500, "5m", seed=9)
    result = check_strategy("bollinger", candles=own)
    assert (result.interval, result.candles, result.passed) == ("5m", 500, True)
