"""Results of the nightly checks over HTTP: newest first, and each with its differences."""

import pytest

from tests.serve.conftest import Records, Server

DAYS = ["2025-06-01", "2025-06-02", "2025-06-03"]


async def test_results_are_listed_newest_first_and_in_pages(server: Server, records: Records) -> None:
    await records.connection.execute(
        "insert into books (book, mode, capital, currency) values ('other', 'paper', 1, 'USDT')"
    )
    for day in DAYS:
        await records.parity(day)
    await records.parity(DAYS[1], book="other", status="explained", explained=2)
    listed = await server.get("/api/v1/parity")
    assert [(item["day"], item["book"]) for item in listed["items"]] == [
        (DAYS[2], "paper"), (DAYS[1], "paper"), (DAYS[1], "other"), (DAYS[0], "paper"),
    ]  # fmt: skip
    first = listed["items"][0]
    assert (first["status"], first["complete"], first["unexplained"]) == ("identical", True, 0)
    assert first["counts"] == {"candles": 1440, "decisions": 7}
    assert first["finished_at"] >= first["started_at"]
    assert "differences" not in first

    page = await server.get("/api/v1/parity", limit=3)
    rest = await server.get("/api/v1/parity", limit=3, cursor=page["next_cursor"])
    assert page["items"] + rest["items"] == listed["items"]
    assert rest["next_cursor"] is None
    assert [item["day"] for item in (await server.get("/api/v1/parity", book="other"))["items"]] == [DAYS[1]]
    assert [item["book"] for item in (await server.get("/api/v1/parity", status="explained"))["items"]] == ["other"]


async def test_a_day_shows_its_differences_the_unexplained_first(server: Server, records: Records) -> None:
    await records.parity(DAYS[0], status="different", explained=1, unexplained=1)
    day = await server.get(f"/api/v1/parity/paper/{DAYS[0]}")
    assert (day["status"], day["explained"], day["unexplained"]) == ("different", 1, 1)
    assert [(item["cause"], item["explained"]) for item in day["differences"]] == [("value", False), ("late", True)]
    first = day["differences"][0]
    assert (first["kind"], first["field"], first["live"], first["reference"]) == ("fill", "price", "100.5", "100.4")
    assert first["time"] % 60_000 == 0


async def test_before_the_first_night_there_is_nothing(server: Server, records: Records) -> None:
    assert await server.get("/api/v1/parity") == {"items": [], "next_cursor": None}
    status, problem = await server.refused("/api/v1/parity/paper/2025-06-01")
    assert (status, problem["field"]) == (404, "day")
    assert "manta verify parity --day 2025-06-01" in problem["fix"]


@pytest.mark.parametrize("day", ["2025-06-31", "yesterday", "1748736000000000000"])
async def test_a_day_that_is_none_is_refused_by_name(server: Server, records: Records, day: str) -> None:
    status, problem = await server.refused(f"/api/v1/parity/paper/{day}")
    assert (status, problem["field"]) == (422, "day")
