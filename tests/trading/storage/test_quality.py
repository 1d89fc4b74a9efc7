"""Every minute is a candle or a hole with its reason (I1), through heals of any shape."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trading.storage.conftest import MARKET, MINUTE, START
from trading.candles import Hole
from trading.events import Heal
from trading.feed_events import Anomaly
from trading.hole_keeper import HORIZON, OUTAGE, Why
from trading.storage.candles import upsert_candles
from trading.storage.quality import (
    explain_hole,
    holes_between,
    open_holes,
    read_health,
    record_anomaly,
    record_hole,
    resolve_hole,
    unaccounted,
)


def at(number: int) -> int:
    return START + number * MINUTE


def hole(first: int, end: int, reason: str = "missing", detail: str = "") -> Hole:
    return Hole(MARKET, at(first), at(end), reason, detail)


async def heal(connection, minute, first, end, present=(), absent=()) -> None:
    told = Heal(
        MARKET, at(first), at(end), tuple(minute(n) for n in present), tuple(hole(*span, "absent") for span in absent)
    )
    async with connection.transaction():
        await upsert_candles(connection, told.candles)
        await resolve_hole(connection, told)


async def test_a_hole_is_one_row_however_often_it_is_told(connection) -> None:
    for _ in range(3):
        await record_hole(connection, hole(3, 7, detail="REST 503"))
    assert await open_holes(connection, MARKET) == [hole(3, 7, detail="REST 503")]


@pytest.mark.covers("S1-34")
async def test_a_heal_in_the_middle_splits_the_hole(connection, minute) -> None:
    await record_hole(connection, hole(0, 10, detail="lost"))
    await heal(connection, minute, 3, 6, present=(3, 4), absent=((5, 6),))
    assert await open_holes(connection, MARKET) == [hole(0, 3, detail="lost"), hole(6, 10, detail="lost")]
    assert await holes_between(connection, MARKET, at(0), at(20)) == [
        hole(0, 3, detail="lost"), hole(5, 6, "absent"), hole(6, 10, detail="lost"),
    ]  # fmt: skip
    assert await holes_between(connection, MARKET, at(1), at(7), reason="missing") == [
        hole(1, 3, detail="lost"), hole(6, 7, detail="lost"),
    ]  # fmt: skip


async def test_repeating_hole_and_heal_changes_nothing(connection, minute) -> None:
    for _ in range(2):
        await record_hole(connection, hole(0, 4))
        await heal(connection, minute, 0, 4, present=(0, 1, 3), absent=((2, 3),))
    assert await open_holes(connection, MARKET) == []
    assert await holes_between(connection, MARKET, at(0), at(4)) == [hole(2, 3, "absent")]


async def test_a_late_candle_ends_an_absent_minute(connection, minute) -> None:
    await record_hole(connection, hole(0, 3, "absent"))
    await heal(connection, minute, 0, 3, present=(1,))
    assert await holes_between(connection, MARKET, at(0), at(3)) == [hole(0, 1, "absent"), hole(2, 3, "absent")]


spans = st.tuples(st.integers(0, 29), st.integers(1, 12)).map(lambda pair: (pair[0], min(30, pair[0] + pair[1])))
heals = st.lists(st.tuples(spans, st.sets(st.integers(0, 29)), st.booleans()), max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(first=spans, heals=heals)
async def test_any_heals_leave_exactly_the_unknown_minutes_open(connection, minute, first, heals) -> None:
    await connection.execute("delete from data_quality; delete from candles")
    await record_hole(connection, hole(*first))
    unknown = set(range(*first))
    absent: set[int] = set()
    for (start, end), present, rest_is_absent in heals:
        filled = {n for n in range(start, end) if n in present}
        nothing = {n for n in range(start, end) if rest_is_absent and n not in filled and n in unknown}
        await heal(connection, minute, start, end, sorted(filled), [(n, n + 1) for n in sorted(nothing)])
        absent = (absent | nothing) - filled
        unknown -= filled | nothing

    def minutes(holes: list[Hole]) -> list[int]:
        return [n for one in holes for n in range((one.from_ms - START) // MINUTE, (one.to_ms - START) // MINUTE)]

    assert minutes(await open_holes(connection, MARKET)) == sorted(unknown)
    assert minutes(await holes_between(connection, MARKET, at(0), at(30), reason="absent")) == sorted(absent)


@pytest.mark.covers("S1-10")
async def test_minutes_that_nobody_explains_are_found(connection, minute) -> None:
    await upsert_candles(connection, [minute(n) for n in (0, 1, 5, 6, 12)])
    await record_hole(connection, hole(2, 4))
    await record_hole(connection, hole(8, 11, "absent"))
    assert await unaccounted(connection, MARKET) == [(at(4), at(5)), (at(7), at(8)), (at(11), at(12))]


@pytest.mark.covers("S1-10", "S1-34", "S2-7")
async def test_health_counts_candles_holes_and_anomalies(connection, minute) -> None:
    await upsert_candles(connection, [minute(n) for n in (0, 1, 9)])
    await record_hole(connection, hole(2, 4))
    await record_hole(connection, hole(4, 9, "absent"))
    await record_anomaly(connection, Anomaly(MARKET, "malformed", "no price", at(1), at(2)))
    assert await read_health(connection) == [(MARKET, at(0), at(10), 3, 5, 2, 1)]
    row = await connection.fetchrow("select * from data_health")
    assert (row["market"], row["open_holes"], row["anomalies"]) == (MARKET, 1, 1)


async def test_money_in_json_stays_a_plain_number_text(connection) -> None:
    assert await connection.fetchval("select $1::jsonb", {"price": Decimal("0.10")}) == {"price": "0.10"}


@pytest.mark.covers("W15")
async def test_a_hole_keeps_the_reason_why_nobody_healed_it_until_that_is_over(connection, minute) -> None:
    for each in (hole(0, 3, detail="REST 503"), hole(5, 9), hole(20, 30)):
        await record_hole(connection, each)

    async def told() -> list[tuple[str | None, str | None]]:
        rows = await connection.fetch("select detail from data_quality where not resolved order by from_time")
        return [(row[0].get("why"), row[0].get("text")) for row in rows]

    before = await told()
    for _ in range(2):
        await explain_hole(connection, Why(MARKET, at(0), at(9), OUTAGE, "it does not answer"))
        assert await told() == [(OUTAGE, "it does not answer")] * 2 + [(None, None)]
    await explain_hole(connection, Why(MARKET, at(5), at(9), HORIZON, "too old"))
    await explain_hole(connection, Why(MARKET, at(0), at(3), "", ""))
    assert await told() == [(None, "REST 503"), (HORIZON, "too old"), (None, None)]
    await explain_hole(connection, Why(MARKET, at(0), at(30), "", ""))
    assert await told() == before
    # However it was explained, it resolves when data appears.
    await explain_hole(connection, Why(MARKET, at(5), at(9), HORIZON, "too old"))
    await heal(connection, minute, 5, 9, present=range(5, 9))
    assert await open_holes(connection, MARKET) == [hole(0, 3, detail="REST 503"), hole(20, 30)]
