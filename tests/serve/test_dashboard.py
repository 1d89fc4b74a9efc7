"""The dashboard in a real browser."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from tests.serve.conftest import MARKET, Records, Server

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]  # fmt: skip
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO BROWSER: the dashboard was NOT tested. Install one: apt-get install chromium fonts-dejavu-core",
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        await started.close()


@pytest.fixture
async def day(records: Records) -> Records:
    """A working day: candles, averages, trades, a position, and one hole."""
    await records.origin("simulator")
    await records.candles(720)
    await records.candles(720, market="binance:ETHUSDT")
    await records.candles(19, first=0, interval="37m")
    await records.averages()
    await records.averages("37m")
    await records.equity(720)
    for trade, (entry, leave, pnl) in enumerate([(560, 590, "41.25"), (604, 633, "-18.4"), (650, 681, "63.02")], 1):
        await records.decision(entry - 1, ["OPEN_LONG"])
        await records.fill(entry, "BUY", "entry", trade)
        await records.decision(leave - 1, ["CLOSE_LONG"], target="FLAT")
        await records.fill(leave, "SELL", "exit", trade, pnl=pnl)
    await records.decision(699, ["OPEN_LONG"])
    await records.fill(700, "BUY", "entry", 4)
    for n in range(710, 719):
        await records.decision(n, ["HOLD"], outcome="hold")
    await records.decision(706, ["CLOSE_LONG"], outcome="late", target="FLAT")
    await records.position(719)
    await records.position(719, "0", "37m")
    await records.signal(719, "1m")
    await records.signal(18, "37m", status="warming", have=19, need=44)
    await records.hole(100, 10, resolved=True)
    await records.event("feed_up", MARKET, {"market": MARKET})
    await records.event("feed_up", "binance:ETHUSDT", {"market": "binance:ETHUSDT"})
    return records


async def open_page(browser: Browser, server: Server, width: int, height: int) -> tuple[Page, list[str]]:
    page, complaints = await listened(browser, width, height)
    await page.goto(f"{server.url}/")
    await page.wait_for_selector("#live[data-state=on]")
    await page.wait_for_selector("#trades table")
    return page, complaints


async def listened(browser: Browser, width: int, height: int) -> tuple[Page, list[str]]:
    """A new page, and the list its console's errors and warnings go to."""
    page = await browser.new_page(viewport={"width": width, "height": height})
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page, complaints


async def keep(page: Page, name: str) -> None:
    """Save a picture where MANTA_SCREENSHOTS says, for people to look at."""
    if folder := os.environ.get("MANTA_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def drawn(page: Page) -> int:
    """How many pixels of the price chart have a candle's colour."""
    return int(
        await page.evaluate(
            """() => [...document.querySelectorAll('#chart canvas')].reduce((sum, canvas) => {
                const data = canvas.width ? canvas.getContext('2d').getImageData(0, 0, canvas.width,
                canvas.height).data : [];
                for (let i = 0; i < data.length; i += 4)
                    if (data[i + 3] > 200 && ((data[i] === 47 && data[i + 1] === 192) || (data[i] === 255 && data[i +
                    1] === 107))) sum += 1;
                return sum;
            }, 0)"""
        )
    )


@pytest.mark.covers("S1-29", "S1-27f")
async def test_a_trader_sees_candles_markers_and_books_and_they_move(
    browser: Browser, server: Server, day: Records
) -> None:
    page, complaints = await open_page(browser, server, 1360, 900)
    assert await page.inner_text("#intervals [aria-pressed=true]") == "37m"
    await page.click("#intervals button:has-text('1m')")
    await page.wait_for_function("() => document.querySelector('#chart').dataset.markers > 8")
    assert await drawn(page) > 2_000
    assert "SIMULATOR" in await page.inner_text("#mode")
    assert "warming" not in await page.inner_text("#ta")
    assert "long" in await page.inner_text("#positions")
    assert "late" in await page.inner_text("#decisions")
    assert await page.inner_text("#stats dd:nth-of-type(1)") != "–"
    before = await page.inner_text("#price")
    await keep(page, "dashboard-wide")

    await day.forming(720, 104_321.5)
    await page.wait_for_function("() => document.querySelector('#price').textContent === '104,321.50'")
    assert await page.is_visible("#forming")
    await day.live_candle(720)
    await page.wait_for_function("() => !['104,321.50', '–'].includes(document.querySelector('#price').textContent)")
    assert await page.inner_text("#price") != before
    await day.fill(721, "SELL", "exit", 4, pnl="12.34")
    await day.event("fill", "paper", {"market": MARKET})
    await page.wait_for_function("() => document.querySelector('#trades').innerText.includes('+12.34')")

    await page.click("#intervals button:has-text('37m')")
    await page.wait_for_function("() => document.querySelector('#ta').innerText.includes('warming 19/125')")
    assert "warming 19/44" in await page.inner_text("#ta")
    await keep(page, "dashboard-37m")
    await page.click("#zone")
    assert await page.inner_text("#zone") == "local"
    await day.event("feed_down", MARKET, {"market": MARKET})
    await page.wait_for_function("() => !document.querySelector('#banner').hidden")
    assert "Feed down" in await page.inner_text("#banner")
    assert complaints == []


@pytest.mark.covers("S1-29")
async def test_it_fits_a_phone(browser: Browser, server: Server, day: Records) -> None:
    page, complaints = await open_page(browser, server, 390, 844)
    await page.click("#intervals button:has-text('1m')")
    await page.wait_for_function("() => document.querySelector('#chart').dataset.markers > 0")
    await keep(page, "dashboard-phone")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert await drawn(page) > 500
    box = await page.locator("#intervals button").first.bounding_box()
    assert box is not None
    assert box["height"] >= 36
    assert complaints == []


async def test_an_empty_system_says_what_it_waits_for(browser: Browser, server: Server, records: Records) -> None:
    page, complaints = await listened(browser, 1200, 800)
    await page.goto(f"{server.url}/dashboard")
    await page.wait_for_selector("#live[data-state=on]")
    await page.wait_for_selector("#chart-empty:not([hidden])")
    assert re.search("No trade yet", await page.inner_text("#trades"))
    await keep(page, "dashboard-empty")
    await records.live_candle(0)
    await page.wait_for_selector("#chart-empty", state="hidden")
    assert complaints == []


async def test_the_api_pages_work_offline(browser: Browser, server: Server) -> None:
    page, complaints = await listened(browser, 1000, 800)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{server.url}/docs")
    await page.get_by_text("Latest Candle").first.wait_for()
    assert complaints == []
    assert all(url.startswith((server.url, "data:")) for url in asked)
