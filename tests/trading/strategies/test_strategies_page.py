"""What the page about writing strategies shows can be used as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trading.strategies.check.check import check_strategy
from trading.strategies.registry import STRATEGIES, load_strategy

PAGE = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.covers("S1-17", "S1-21")
def test_the_example_is_a_strategy_of_twenty_lines_that_passes_the_check() -> None:
    smallest = BLOCKS[0]
    assert load_strategy("mine", {"period": 20}, smallest).warmup == 20
    assert sum(1 for line in smallest.splitlines() if line.strip()) <= 20
    assert check_strategy("mine", {"period": 10}, smallest).findings == []


def test_the_example_with_a_price_of_entry_passes_the_check() -> None:
    source = f"{BLOCKS[0]}\n\n{BLOCKS[1]}"
    assert load_strategy("mine", None, source).entry is not None
    assert check_strategy("mine", {"period": 10}, source).findings == []


def test_the_example_with_lots_passes_the_check() -> None:
    before = BLOCKS[0].partition("def rule")[0].replace("FLAT, LONG", "LONG")
    source = f"{before}\nfrom trading.plan import Lot\n\n{BLOCKS[2]}"
    assert load_strategy("mine", None, source).step is not None
    assert check_strategy("mine", {"period": 10}, source).findings == []


def test_every_built_in_strategy_is_on_the_page() -> None:
    table = PAGE.partition("## Built in")[2].partition("| --- | --- |\n")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines() for name in re.findall(r"`([a-z0-9_]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(STRATEGIES)
