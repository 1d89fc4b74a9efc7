"""The sweeps page in a real browser: start a sweep, watch it, see where its grid is good, stop and delete it."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Browser, Page

from backtest.sweep.coordinator import run_sweep
from backtest.sweep.pool import HerePool
from tests.serve.browser import NEEDS_BROWSER, keep, listened
from tests.serve.conftest import MARKET, START_MS, TOKEN, Records, Server
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget
from trading.storage.sweeps import JOBS

pytestmark = NEEDS_BROWSER
PATH = "/dashboard/sweeps"


async def opened(browser: Browser, server: Server, width: int = 1360) -> tuple[Page, list[str]]:
    """The page with a token that was given before, once it shows what there is."""
    page, complaints = await listened(browser, width, 900, "dark")
    await page.add_init_script(f"sessionStorage.setItem('manta-token', '{TOKEN}')")
    await page.goto(server.url + PATH)
    await page.wait_for_selector("#params input")
    await page.wait_for_selector("#runs p, #runs table")
    return page, complaints


async def asked(page: Page, strategy: str, intervals: str, **grid: str) -> None:
    """Fill the form and send it."""
    await page.select_option("#strategy", strategy)
    await page.select_option("#market", MARKET)
    await page.fill("#intervals", intervals)
    for name, text in grid.items():
        await page.fill(f"#params input[name={name}]", text)
    await page.get_by_role("button", name="Start").click()


@pytest.mark.covers("S1-29")
async def test_a_sweep_is_started_from_the_form_and_its_mistakes_are_told(browser: Browser, server: Server) -> None:
    page, complaints = await opened(browser, server)
    await asked(page, "ma44", "37m")
    await page.wait_for_selector("#params input[name=period][aria-invalid=true]")
    assert "several values" in await page.inner_text("#params label:has([name=period]) .refused")
    # What the page itself can tell, and what only the API knows: which field, its value and the fix, beside the field.
    for text, *said in (
        ("9:5:1", "period 9:5:1 cannot be read as FIRST:LAST:STEP.", "Write 5:50:5, or 5, 10, 20."),
        ("0:10:5", "period", "0", "a whole number from"),
        ("5, x", "period 5, x: x is no number.", "Write 5:50:5, or 5, 10, 20."),
        ("1:9:0.0001", "period 1:9:0.0001 has 80,001 values.", "at most 2,000"),
        ("5, 5.5", "5.5", "a whole number from"),
        ("1, 2, 99999", "99999", "a whole number from"),
    ):
        await asked(page, "ma44", "37m", period=text)
        told = page.locator("#params label:has([name=period]) .refused", has_text=said[0])
        await told.wait_for()
        words = await told.inner_text()
        assert [each for each in said if each not in words] == [], words
        assert await page.inner_text("#refused") == "Not started: see period."
        assert await page.evaluate("document.activeElement.name") == "period"
        if text == "0:10:5":
            await keep(page, "sweep-refused")
    await asked(page, "ma44", "7x", period="5:9:2")
    await page.wait_for_selector("#intervals[aria-invalid=true]")
    assert "7x" in await page.inner_text("label:has(#intervals) .refused")
    assert await page.locator("#start .refused").count() == 2
    assert server.swept == []

    await page.fill("#start-day", "2025-06-01")
    await page.select_option("#objective", "sortino")
    await page.fill("#min-trades", "3")
    await asked(page, "ma44", "37m", period="5:9:2")
    await page.wait_for_selector("#runs tbody tr")
    [(_, request)] = server.swept
    assert (request["grid"], request["objective"], request["min_trades"]) == ({"period": [5, 7, 9]}, "sortino", 3)
    assert (request["backtest"]["intervals"], request["backtest"]["start_ms"]) == (["37m"], START_MS)
    assert "queued" in await page.inner_text("#runs")
    # The browser itself tells of answers that refuse.
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def test_what_a_sweep_found_is_mapped_ranked_and_deleted(
    browser: Browser, server: Server, records: Records, database: DatabaseTarget
) -> None:
    await records.candles(3 * 1440)
    page, complaints = await opened(browser, server)
    # Two intervals, so that nothing is compiled.
    await asked(page, "sma_cross", "30m, 60m", fast="2, 3", slow="4:8:2")
    await page.wait_for_selector("#runs tbody tr")
    [(run_id, _)] = server.swept
    async with Database(database, application_name="manta test") as worker:
        await run_sweep(worker, run_id, HerePool())
    await page.get_by_text("✓ done").wait_for()
    await page.get_by_role("button", name="Details").click()
    await page.get_by_text("6 combinations were tried").wait_for()

    shown = await cells_of(page, "#map tr")
    assert (shown[0], [row[0] for row in shown[1:]]) == (["slow ↓ fast →", "2", "3"], ["4", "6", "8"])
    assert [row[:2] for row in await cells_of(page, "#scores tbody tr")] == await ranked(server, run_id, "sharpe")
    await keep(page, "sweep")
    await page.select_option("#by", "max_drawdown")
    await page.wait_for_function(
        "wanted => JSON.stringify([...document.querySelectorAll('#scores tbody tr')]"
        ".map(row => [...row.cells].slice(0, 2).map(cell => cell.innerText))) === JSON.stringify(wanted)",
        arg=await ranked(server, run_id, "max_drawdown"),
    )

    assert await page.locator("#lines polyline").count() == 6
    assert await page.locator("#lines polyline.chosen").count() == 1

    await page.get_by_role("link", name="Report").click()
    await page.get_by_text("How honest is it?").wait_for()
    assert "fast" in await page.inner_text(".heat")
    await keep(page, "sweep-report")
    await page.get_by_role("link", name="← Sweeps").click()
    await page.wait_for_selector("#runs tbody tr")

    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await page.get_by_text("No sweep yet.").wait_for()
    assert await page.is_hidden("#sweep-panel")
    assert complaints == []


async def test_a_sweep_that_waits_is_stopped_and_the_page_fits_a_phone(
    browser: Browser, server: Server, records: Records
) -> None:
    page, complaints = await opened(browser, server, 390)
    await asked(page, "ma44", "37m", period="5, 7")
    await page.get_by_role("button", name="Stop").click()
    await page.get_by_text("stopped at 0 %").wait_for()
    await keep(page, "sweeps-phone")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await records.connection.fetchval("select status from sweeps") == "stopped"
    assert complaints == []


async def test_a_sweep_that_runs_is_followed_by_the_stream(browser: Browser, server: Server, records: Records) -> None:
    page, complaints = await opened(browser, server)
    await asked(page, "ma44", "37m", period="5, 7")
    await page.wait_for_selector("#runs tbody tr")
    [(run_id, _)] = server.swept
    await JOBS.take(records.connection, run_id, uuid4())
    news = {
        "status": "running",
        "progress": 0.25,
        "done": 640,
        "total": 2060,
        "refused": 100,
        "rate": 83.3,
        "eta_s": 18,
    }
    # A halving: of 500 sets, some have run in a second stage.
    news |= {"tried": 500, "sets": 2000, "held": 0, "held_total": 0}
    best = {"objective": "sharpe", "best": {"period": 7}, "value": 1.25}
    # Once for the page to read that it runs, and then for what it says of it.
    await JOBS.tell(records.connection, run_id, news | best)
    await page.get_by_text("83.3 sets/s, 18 s left").wait_for()
    shown = await page.inner_text("#runs tbody tr")
    assert ("period 7, so far" in shown, "1.25" in shown, "500 of 2,000, 100 refused" in shown, "25 %" in shown) == (
        True,
    ) * 4
    await keep(page, "sweep-runs")
    assert complaints == []


async def test_two_finished_sweeps_are_compared(
    browser: Browser, server: Server, records: Records, database: DatabaseTarget
) -> None:
    await records.candles(8 * 1440)
    page, complaints = await opened(browser, server)
    async with Database(database, application_name="manta test") as worker:
        for period, holdout in (("5, 7", "34"), ("9, 11", "")):
            await page.fill("#holdout", holdout)
            await asked(page, "ma44", "30m, 60m", period=period)
            run_id, _ = await until_swept(server, 2 if holdout == "" else 1)
            await run_sweep(worker, run_id, HerePool())
    await page.reload()
    for place in range(2):
        await page.get_by_role("checkbox").nth(place).check()
    await page.wait_for_selector("#compared tbody tr")
    words = await page.inner_text("#compared")
    for said in ("period: 2 from 5 to 7", "period: 2 from 9 to 11", "return held out"):
        assert said in words
    await keep(page, "sweeps-compared")
    assert complaints == []


async def until_swept(server: Server, count: int) -> tuple[Any, Any]:
    """The newest sweep that the page asked for, once there are ``count``."""
    while len(server.swept) < count:
        await asyncio.sleep(0.05)
    newest: tuple[Any, Any] = server.swept[-1]
    return newest


async def cells_of(page: Page, rows: str) -> list[list[str]]:
    found: list[list[str]] = await page.locator(rows).evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    return found


async def ranked(server: Server, run_id: Any, by: str) -> list[list[str]]:
    """The searched parameters of each set as the API ranks them, as text."""
    items = (await server.get(f"/api/v1/sweeps/{run_id}/results", by=by))["items"]
    return [[str(item["params"][name]) for name in ("fast", "slow")] for item in items]
