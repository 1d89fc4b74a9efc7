"""The dashboard in a real browser."""

import re

import pytest
from playwright.async_api import Browser, Page

from tests.serve.browser import NEEDS_BROWSER, keep, listened
from tests.serve.conftest import MARKET, START_MS, Records, Server
from trading.freshness import Turn
from trading.storage.freshness import note_turns

pytestmark = NEEDS_BROWSER


async def open_page(browser: Browser, server: Server, width: int, height: int) -> tuple[Page, list[str]]:
    page, complaints = await listened(browser, width, height)
    await page.goto(f"{server.url}/")
    await page.wait_for_selector("#live[data-state=on]")
    await page.wait_for_selector("#trades table")
    return page, complaints


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
    await page.wait_for_function("() => !document.querySelector('#ta').innerText.includes('warming')")
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
    await page.wait_for_function("() => document.querySelector('#banner').innerText.includes('Feed down')")
    await note_turns(day.connection, [Turn(MARKET, True, "its feed is down: silent for 15 s", START_MS)])
    await day.event("stale", MARKET, {"market": MARKET})
    await page.wait_for_function("() => document.querySelector('#banner').innerText.includes('Stale: binance:BTCUSDT')")
    assert "No target of it is acted on" in await page.inner_text("#banner")
    assert await page.inner_text("#fresh") == "✕ stale"
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
    await page.wait_for_function("() => document.querySelector('#truth').innerText.includes('None has been compared')")
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


async def test_the_nightly_truth_is_shown_with_its_causes(browser: Browser, server: Server, day: Records) -> None:
    for number in (28, 29, 30):
        await day.parity(f"2025-05-{number}")
    await day.parity("2025-05-31", status="explained", explained=1)
    page, complaints = await open_page(browser, server, 1360, 1000)
    await page.wait_for_function("() => document.querySelector('#truth-state').textContent === '✓ 1 explained'")
    assert await page.inner_text("#truth-day") == "Sat 31 May"
    assert "1,440 candles, 7 decisions" in await page.inner_text("#truth")
    await page.get_by_text("decided 500 s after the close").wait_for()
    assert [await item.inner_text() for item in await page.query_selector_all("#truth button")] == [
        "✓ 28", "✓ 29", "✓ 30", "✓ 31",
    ]  # fmt: skip

    # The next night finds something: the page says so by itself.
    await day.parity("2025-06-01", status="different", explained=1, unexplained=1)
    await page.wait_for_function("() => document.querySelector('#truth-state').textContent === '✕ 1 unexplained'")
    first = page.locator("#truth tbody tr").first
    await first.filter(has_text="price differs by +0.1").wait_for()
    assert "live 100.5 · backtest 100.4" in await first.inner_text()
    await keep(page, "truth-wide")
    await page.click("#truth button:has-text('28')")
    await page.wait_for_function("() => document.querySelector('#truth-state').textContent === '✓ identical'")
    assert await page.locator("#truth tbody tr").count() == 0
    assert await page.get_attribute("#truth button:has-text('28')", "aria-pressed") == "true"
    assert complaints == []


async def test_the_nightly_truth_fits_a_phone(browser: Browser, server: Server, day: Records) -> None:
    for number in range(18, 32):
        await day.parity(f"2025-05-{number}", status="different", explained=1, unexplained=1)
    page, complaints = await open_page(browser, server, 390, 844)
    await page.wait_for_selector("#truth tbody tr")
    await keep(page, "truth-phone")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints == []
