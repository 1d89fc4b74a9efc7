"""What is said of the whole: every thing that is not as it should be, in words, with its cause."""

from dataclasses import replace
from typing import Any

import pytest

from trading.condition import (
    ActorState,
    ChannelState,
    Condition,
    CursorState,
    HeldPosition,
    InstanceState,
    MarketState,
    OpenOrder,
    ParityState,
    judge,
    report,
    span_text,
)

BTC = "binance:BTCUSDT"
NOW = 1_752_624_000_000
MINUTE = 60_000


def condition(**facts: Any) -> Condition:
    """All is well, but for ``facts``."""
    well = Condition(
        now_ms=NOW,
        simulated=False,
        markets=(MarketState(BTC, NOW - 20_000, "up", "", 0),),
        cursors=tuple(
            CursorState(name, NOW - 20_000, 20.0)
            for name in (f"recorder:{BTC}", f"timeframe:{BTC}", f"brain:{BTC}", f"execution:paper:{BTC}")
        ),
        instances=(InstanceState("trend", "paper", BTC, "37m", "ready", 44, 44),),
        actors=(ActorState("brain", "ok", 7, 0, "", 900.0, 5.0),),
    )
    return replace(well, **facts)


def said(**facts: Any) -> list[str]:
    return [f"{reason.level} {reason}" for reason in judge(condition(**facts))]


def at(lag_min: float, moved_s: float = 300.0, *, of: str = "brain") -> tuple[CursorState, ...]:
    return tuple(
        CursorState(c.name, NOW - 20_000 - round(lag_min * MINUTE), moved_s) if c.name.startswith(of) else c
        for c in condition().cursors
    )


def test_nothing_is_said_when_all_is_well() -> None:
    assert said() == []
    assert report(condition())["status"] == "ok"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"markets": [MarketState(BTC, None, "unknown", "", 0)]}, [f"down {BTC}: no closed 1m candle yet"]),
        (
            {"markets": [MarketState(BTC, NOW - 130_000, "up", "", 0)]},
            [f"degraded {BTC}: catching up: recorded until 2 min ago"],
        ),
        (
            {"markets": [MarketState(BTC, NOW - 400_000, "down", "silent", 2)], "cursors": at(0, 400.0, of="recorder")},
            [
                f"down {BTC}: stale: the last 1m candle closed 7 min ago",
                f"degraded {BTC}: the feed is down (silent)",
                f"degraded {BTC}: 2 unresolved holes",
            ],
        ),
        (
            {"markets": [MarketState(BTC, NOW - 20_000, "down", "silent", 0, "its feed is down: silent", NOW)]},
            [
                f"degraded {BTC}: no target is acted on: its feed is down: silent",
                f"degraded {BTC}: the feed is down (silent)",
            ],
        ),
        ({"cursors": at(2.9)}, []),
        (
            {"cursors": at(12)},
            [f"degraded brain: behind and standing still, 12 min behind the recorder on {BTC}"],
        ),
        (
            {"cursors": at(4000, 1.0, of="execution")},
            [f"degraded execution:paper: catching up, 2.8 days behind the recorder on {BTC}"],
        ),
        (
            {"actors": [ActorState("brain", "not answering", 7, 1, "ActorDiedError", 61.0, 5.0)]},
            ["degraded brain: not answering for 61 s (ActorDiedError)"],
        ),
        (
            {"actors": [ActorState("brain", "ok", 7, 2, "", 240.0, 5.0)]},
            ["note brain: was restarted 2 times, last 4 min ago"],
        ),
        (
            {"actors": [ActorState("brain", "ok", 7, 0, "", 900.0, 500.0)]},
            ["degraded supervisor: has checked nothing for 8 min"],
        ),
        (
            {"orders": [OpenOrder("ab" * 16, "paper", BTC, "OPEN_LONG", "unknown", "", NOW - 30_000)]},
            [
                f"degraded paper: the outcome of OPEN_LONG on {BTC}, order abababab, 30 s old is unknown;"
                " the venue is being asked"
            ],
        ),
        (
            {"orders": [OpenOrder("ab" * 16, "paper", BTC, "OPEN_LONG", "intent", "", NOW - 30_000)]},
            [f"note paper: OPEN_LONG on {BTC}, order abababab, 30 s old: intent"],
        ),
        ({"channels": [ChannelState("log", 3, 0, 5.0, "")]}, []),
        (
            {"channels": [ChannelState("discord", 3, 1, 600.0, "HTTP 503")]},
            [
                "degraded channel discord: 3 messages waiting, the oldest for 10 min; last error: HTTP 503",
                "note channel discord: 1 message given up",
            ],
        ),
        (
            {"instances": [InstanceState("trend", "paper", BTC, "37m", "warming", 37, 44)]},
            [f"note trend: warming 37/44 on {BTC} 37m"],
        ),
        (
            {"instances": [InstanceState("trend", "paper", BTC, "37m", "hole", 3, 44)]},
            [f"degraded trend: held on {BTC} 37m: candles are missing"],
        ),
        (
            {"instances": [InstanceState("trend", "paper", BTC, "1d", "none", 0, 0)]},
            [f"note trend: waits for its first candle on {BTC} 1d"],
        ),
        (
            {"held": [HeldPosition("old", "paper", BTC, "37m", "0.5", False)]},
            [f"note paper: 0.5 kept on {BTC} 37m: no instance has it (old)"],
        ),
        (
            {"held": [HeldPosition("old", "paper", BTC, "37m", "-0.5", True)]},
            [f"note paper: -0.5 being closed on {BTC} 37m: no instance has it (old)"],
        ),
        ({"parity": [ParityState("paper", "2026-11-25", "explained", 3, 0, "")]}, []),
        (
            {"parity": [ParityState("paper", "2026-11-25", "different", 0, 2, "")]},
            ["degraded paper: 2 unexplained differences from the backtest on 2026-11-25"],
        ),
    ],
)
def test_each_trouble_is_told_with_its_cause(facts: dict[str, Any], words: list[str]) -> None:
    assert said(**facts) == words


def test_in_a_replay_the_pipeline_may_be_behind() -> None:
    found = report(replace(condition(cursors=at(300)), simulated=True))
    assert (found["status"], found["reasons"], len(found["notes"])) == ("ok", [], 1)
    assert {row["consumer"]: row["lag_s"] for row in found["behind"]}["brain"] == 300 * 60


def test_notes_are_no_fault_and_the_worst_level_is_the_status() -> None:
    warming = [InstanceState("trend", "paper", BTC, "37m", "warming", 1, 44)]
    assert report(condition(instances=warming))["status"] == "ok"
    silent = [MarketState(BTC, NOW - 400_000, "up", "", 1)]
    found = report(condition(markets=silent, instances=warming))
    assert (found["status"], found["markets"][0]["status"]) == ("down", "down")
    assert found["markets"][0]["warming"] == [{"name": "trend", "interval": "37m", "warming": "1/44"}]


def test_durations_are_told_as_people_tell_them() -> None:
    assert [span_text(s) for s in (0, 119, 120, 7_199, 7_200, 172_799, 172_800)] == [
        "0 s", "119 s", "2 min", "120 min", "2.0 h", "48.0 h", "2.0 days",
    ]  # fmt: skip
