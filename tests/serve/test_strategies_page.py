"""The strategies page in a real browser: what runs and why it decided so, what there is to choose, what is broken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from serve.run_schemas import Instance
from tests.serve.browser import NEEDS_BROWSER, keep, listened
from tests.serve.conftest import CONFIG, MARKET, START_MS, Records, Server
from tests.trading.strategies.own import put, text
from trading.intervals import MINUTE_MS
from trading.storage.database import connect
from trading.storage.settings import DatabaseTarget
from trading.strategies.registry import STRATEGIES

HOSTILE = "<img src=x onerror=alert(1)>"


async def test_instances_are_listed_with_what_each_part_holds_and_decided_last(
    server: Server, records: Records
) -> None:
    await records.candles(20)
    await records.decision(17, ["OPEN_LONG"])
    newest = await records.decision(18, [], outcome="hold")
    await records.decision(18, [], outcome="hold", interval="37m")
    await records.position(19)
    await records.connection.execute(
        "insert into instances select 'gone-1', 'gone', strategy, params, profile, book, markets, intervals, live_from,"
        " false from instances"
    )
    answer = await server.get("/api/v1/instances")
    [found] = answer["items"]
    assert Instance.model_validate(found, strict=True)
    assert (found["name"], found["strategy"], found["mode"]) == ("trend", "ma44", "paper")
    quick, slow = found["sleeves"]
    assert (quick["interval"], quick["quantity"], quick["decision"]["decision_id"]) == ("1m", "0.05", newest)
    assert (quick["decision"]["outcome"], quick["as_of"]) == ("hold", START_MS + 19 * MINUTE_MS)
    assert (slow["market"], slow["quantity"], slow["decision"]["close_time"]) == (
        MARKET,
        None,
        START_MS + 19 * 37 * MINUTE_MS,
    )
    assert (await server.get("/api/v1/instances", book="paper"))["items"] == [found]
    status, problem = await server.refused("/api/v1/instances", book="other")
    assert (status, problem["field"]) == (404, "book")


@NEEDS_BROWSER
@pytest.mark.covers("S1-29")
async def test_what_runs_shows_its_position_and_explains_its_last_decision(
    browser: Browser, server: Server, day: Records
) -> None:
    last = await day.decision(719, ["OPEN_LONG"], outcome="risk")
    await day.connection.execute(
        "update decisions set plan = $2, reason = 'order 7 is still open' where decision_id = $1",
        last,
        {"reasons": [f"5 of 5 {HOSTILE}"], "stop_distance": 12.5},
    )
    page, complaints = await listened(browser, 1360, 900)
    await page.goto(f"{server.url}/dashboard")
    await page.get_by_role("link", name="Strategies").click()
    await page.get_by_role("heading", name="trend").wait_for()
    running = await page.inner_text("#running")
    assert "▲ long 0.05" in running
    assert "flat" in running
    assert "open long" in running
    await page.wait_for_selector("#shelf li")
    await page.wait_for_selector("#live[data-state=on]")
    await keep(page, "strategies-wide")

    await page.get_by_role("button", name=f"Explain the last decision of trend on {MARKET} 1m").press("Enter")
    dialog = page.get_by_role("dialog", name="Why: open long")
    await dialog.get_by_text(f"5 of 5 {HOSTILE}").wait_for()
    words = await dialog.inner_text()
    assert "Held back by a limit (order 7 is still open)." in words
    assert "stop distance 12.5" in words
    assert "No order followed." in words
    assert await page.locator("img[src=x]").count() == 0
    await keep(page, "strategies-explained")
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="detached")
    assert "Explain the last decision of trend" in str(await page.evaluate("document.activeElement.ariaLabel"))

    # What is decided while the page is open shows by itself, and the keyboard stays where it was.
    await day.decision(720, ["CLOSE_LONG"], target="FLAT")
    await day.event("decision", "paper", {"market": MARKET})
    await page.wait_for_function("() => document.querySelector('#running').innerText.includes('close long')")
    assert "Explain the last decision of trend" in str(await page.evaluate("document.activeElement.ariaLabel"))
    assert complaints == []


@NEEDS_BROWSER
async def test_own_and_broken_files_are_shown_as_text_and_lead_to_a_backtest(
    browser: Browser, database: DatabaseTarget, records: Records, serve_at: Callable[..., Any], tmp_path: Path
) -> None:
    put(tmp_path, mine=f'"""Above {HOSTILE}."""\n{text()}', bad="x = 1\ny =\n")
    async with serve_at(database, CONFIG.model_copy(update={"strategies_folder": tmp_path})) as server:
        page, complaints = await listened(browser, 1360, 900)
        await page.goto(f"{server.url}/dashboard/strategies")
        await page.wait_for_selector("#broken-panel:not([hidden])")
        broken = await page.inner_text("#broken")
        assert "line 2" in broken
        assert "bad.py, line 2: SyntaxError" in broken
        assert "Mend that line." in broken
        assert await page.inner_text("#shelf-sum") == f"{len(STRATEGIES)} built in, 1 of your own"
        mine = page.locator("#shelf li[data-strategy=mine]")
        assert f"Above {HOSTILE}." in await mine.inner_text()
        assert "level" in await mine.inner_text()
        await mine.get_by_text("Its text").click()
        await mine.get_by_text("def rule(now, prev, p)").wait_for()
        assert await page.locator("img[src=x]").count() == 0
        await keep(page, "strategies-broken")
        await mine.get_by_role("link", name="Backtest mine").click()
        await page.wait_for_selector("#params input[name=level]")
        assert await page.input_value("#strategy") == "mine"
        assert complaints == []


@NEEDS_BROWSER
async def test_nothing_running_says_what_to_do_and_it_fits_a_phone(
    browser: Browser, server: Server, database: DatabaseTarget, records: Records
) -> None:
    connection = await connect(database, application_name="manta test")
    await connection.execute("update instances set active = false")
    await connection.close()
    page, complaints = await listened(browser, 380, 844, "light")
    await page.goto(f"{server.url}/dashboard/strategies")
    await page.wait_for_selector("#shelf li")
    await page.wait_for_function("() => document.querySelector('#running').innerText.includes('./run reload')")
    await keep(page, "strategies-phone")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 380
    assert complaints == []
