"""One decision explained over HTTP: what it saw, why, what the gate said, and what became of it."""

from uuid import uuid4

import pytest

from backtest.run import BacktestRequest, book_of
from serve.run_schemas import ExplainedDecision
from tests.serve.conftest import MARKET, START_MS, Records, Server, price
from trading.intervals import MINUTE_MS
from trading.strategies.registry import load_strategy


async def explained(server: Server, decision_id: str) -> dict[str, object]:
    found: dict[str, object] = await server.get(f"/api/v1/decisions/{decision_id}")
    return found


@pytest.mark.covers("S1-26e")
async def test_a_decision_that_acted_shows_its_candle_numbers_orders_and_fills(
    server: Server, records: Records
) -> None:
    await records.candles(6)
    decision_id = await records.decision(3, ["OPEN_LONG"])
    await records.fill(4, "BUY", "entry", 1)
    await records.connection.execute("update orders set decision_id = $1", decision_id)
    await records.fill(5, "SELL", "exit", 1)
    found = await explained(server, decision_id)
    assert found["asked"] == {
        "instance": "trend",
        "strategy": "ma44",
        "params": {},
        "summary": load_strategy("ma44").summary,
    }
    assert (found["from_reasons"], found["confidence"], found["position_before"]) == (False, 0.62, "0")
    assert found["conditions"] == [f"close {price(3)}", f"ma44 {price(-17)}", "so it answered LONG"]
    assert found["gate"] == {"passed": True, "text": "Let through: OPEN_LONG."}
    assert found["candle"]["close"] == price(4)  # type: ignore[index]
    assert ExplainedDecision.model_validate(found)
    [order] = found["orders"]  # type: ignore[misc]
    [fill] = order["fills"]
    assert (order["action"], order["status"], order["decision_id"]) == ("OPEN_LONG", "filled", decision_id)
    assert (fill["price"], fill["fee"], fill["time"]) == (str(price(4)), "0.5", START_MS + 4 * MINUTE_MS)
    # The list's row of it says the same.
    [listed] = (await server.get("/api/v1/decisions"))["items"]
    assert {key: found[key] for key in listed} == listed


async def test_the_strategys_own_reasons_come_before_numbers(server: Server, records: Records) -> None:
    decision_id = await records.decision(3, ["OPEN_LONG"])
    plan = {"reasons": ["5/5 for LONG", "longer trend 104000"], "tag": "scalp", "stop_distance": 12.5}
    await records.connection.execute("update decisions set plan = $1", plan)
    found = await explained(server, decision_id)
    assert (found["conditions"], found["from_reasons"], found["plan"]) == (plan["reasons"], True, plan)
    assert (found["candle"], found["orders"]) == (None, [])


@pytest.mark.parametrize(
    ("outcome", "reason", "target", "passed", "words"),
    [
        ("late", "decided 500 s after the close", "LONG", False, "too late after the close to act on (decided 500 s"),
        ("stale", "the market is stale: no candle", "LONG", False, "Held back: the market's data is stale"),
        ("risk", "order 7 is still open", "LONG", False, "Held back by a limit (order 7 is still open)."),
        ("warming", "warming 3/44", "HOLD", False, "Not asked: its numbers are still warming up (warming 3/44)."),
        ("hole", "candles are missing", "HOLD", False, "Not asked: candles that its numbers need are missing"),
        ("hold", "outside its sessions: opens nothing", "LONG", False, "Nothing done: outside its sessions"),
        ("hold", "", "LONG", True, "Nothing to do: what LONG asks for is held already."),
        ("hold", "", "HOLD", True, "Nothing to do: it wants to keep what is held."),
    ],
)
async def test_the_gate_says_in_words_what_stopped_a_decision(
    server: Server, records: Records, outcome: str, reason: str, target: str, passed: bool, words: str
) -> None:
    decision_id = await records.decision(3, [], outcome=outcome, target=target)
    await records.connection.execute("update decisions set reason = $1", reason)
    found = await explained(server, decision_id)
    gate = found["gate"]
    assert isinstance(gate, dict)
    assert gate["passed"] is passed
    assert words in gate["text"]
    assert (found["conditions"] == []) is (outcome in ("warming", "hole"))


async def test_a_backtests_decision_knows_what_was_asked(server: Server, records: Records) -> None:
    run_id = uuid4()
    book = book_of(run_id)
    request = BacktestRequest(strategy="ma44", market=MARKET, intervals=("1m",), params={"period": 9})
    await records.connection.execute(
        "insert into books (book, mode, capital, currency) values ($1, 'backtest', 1, 'USDT')", book
    )
    await records.connection.execute(
        "insert into backtest_runs (run_id, book, strategy, market, intervals, config, status)"
        " values ($1, $2, 'ma44', $3, '{1m}', $4, 'done')",
        run_id,
        book,
        MARKET,
        request.model_dump(mode="json"),
    )
    decision_id = await records.decision(3, ["OPEN_LONG"], book=book)
    await records.connection.execute("update decisions set instance_id = 'ma44-0'")
    asked = (await explained(server, decision_id))["asked"]
    assert isinstance(asked, dict)
    assert (asked["instance"], asked["strategy"], asked["params"]) == (None, "ma44", {"period": 9})


async def test_an_unknown_decision_is_not_found(server: Server, records: Records) -> None:
    for unknown in ("none-such", "%00"):
        status, problem = await server.refused(f"/api/v1/decisions/{unknown}")
        assert (status, problem["field"]) == (404, "decision_id")
