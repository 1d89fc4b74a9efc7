"""The check in a process of its own: a strategy that ends or hangs harms only that one."""

from __future__ import annotations

import pytest

from tests.trading.strategies.own import text
from trading.errors import BadInput
from trading.strategies.check.apart import check_apart, require_honest


def test_an_honest_strategy_is_let_through_and_a_cheat_is_not() -> None:
    answer = require_honest("mine", {"level": 900}, text(more="print('hello')"), "1h")
    assert (answer["passed"], answer["findings"], answer["interval"]) == (True, [], "1h")
    with pytest.raises(BadInput, match="mine was not run: line 22: it draws by chance") as caught:
        require_honest("mine", {}, text("return LONG if random.random() > 1 else FLAT", imports="import random"), "1h")
    assert "manta strategies check mine" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (text("while True: pass"), "had not answered after 3 s"),
        (text(imports="import os\nos._exit(5)"), "ended the process that checked it, with status 5"),
        (text(imports="x ="), "mine.py, line 5: SyntaxError"),
    ],
)
def test_what_does_not_answer_is_an_error(source: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        check_apart("mine", {}, source, "1h", within_s=3 if "while" in source else 60)
