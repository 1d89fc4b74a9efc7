"""The pages about data in a real browser: the calendar, its holes, and a chart that goes back to the first candle."""

import pytest
from playwright.async_api import Browser, Page

from tests.serve.browser import NEEDS_BROWSER, keep, listened
from tests.serve.conftest import MARKET, START_MS, Records, Server
from trading.freshness import Turn
from trading.intervals import MINUTE_MS
from trading.storage.freshness import note_turns

pytestmark = NEEDS_BROWSER
ABSENT, MISSING = range(2_000, 2_042), range(4_300, 4_337)


@pytest.fixture
async def history(records: Records) -> Records:
    """Five days of minutes with an explained hole and one that is not, and hours beside them."""
    await records.origin("simulator")
    await records.candles(5 * 1_440)
    await records.candles(120, interval="1h")
    for gone, reason in ((ABSENT, "absent"), (MISSING, "missing")):
        await records.connection.execute(
            "delete from candles where interval = '1m' and open_time >= at_ms($1) and open_time < at_ms($2)",
            START_MS + gone.start * MINUTE_MS,
            START_MS + gone.stop * MINUTE_MS,
        )
        await records.hole(gone.start, len(gone), reason, resolved=reason == "absent")
    await records.connection.execute("update data_quality set resolution = reason where resolved")
    await records.connection.execute(
        "insert into data_quality (market_id, kind, reason, from_time, to_time, detail, resolved) values"
        " ($1, 'anomaly', 'insane', at_ms($2), at_ms($2), $3, true)",
        records.ids[MARKET], START_MS + 7 * MINUTE_MS, {"text": "high 1 is below low 2"},
    )  # fmt: skip
    return records


async def goto(page: Page, server: Server, path: str) -> None:
    await page.goto(f"{server.url}{path}")
    await page.wait_for_selector("#live[data-state=on]")


@pytest.mark.covers("S1-29")
async def test_the_calendar_leads_to_a_hole_and_the_hole_into_the_chart(
    browser: Browser, server: Server, history: Records
) -> None:
    page, complaints = await listened(browser, 1360, 900)
    await goto(page, server, "/dashboard/data")
    await page.wait_for_selector("#holes table")
    assert await page.inner_text("#chosen-market") == "binance BTCUSDT"
    assert "7,121 of 7,200 minutes present, 42 absent at the venue, 37 missing" in await page.inner_text("#chosen-sum")
    month = page.locator("#years button")
    assert await month.get_attribute("class") == "cell some"
    assert await month.inner_text() == "98.9"
    classes = [await cell.get_attribute("class") for cell in await page.locator("#month button").all()]
    assert classes == ["cell full", "cell explained", "cell some", "cell some", "cell full"]
    assert "insane" in await page.inner_text("#noted")
    assert "high 1 is below low 2" in await page.inner_text("#noted")
    await page.wait_for_selector(f".card[data-market='{MARKET}'] .strip .cell")
    await keep(page, "data-wide")

    assert await page.locator("#holes tbody tr").count() == 2
    await page.check("#unexplained")
    await page.wait_for_function("() => document.querySelectorAll('#holes tbody tr').length === 1")
    assert "37 min" in await page.inner_text("#holes")
    await page.uncheck("#unexplained")
    await page.click("#month button[data-period='2025-06-02']")
    await page.wait_for_function("() => document.querySelector('#holes-sum').innerText.startsWith('02 Jun 2025: 1')")
    assert "absent" in await page.inner_text("#holes")
    await page.click("#holes a:has-text('show')")

    await page.wait_for_selector("#chart[data-first]")
    await page.wait_for_function("() => document.querySelector('#view-holes').innerText.includes('42 min')")
    assert "interval=1m" in page.url
    assert await painted(page, "#4cc2ff") > 200, "the hole is not marked"
    await keep(page, "market-hole")
    assert complaints == []


async def test_the_chart_goes_back_to_the_first_candle_and_keeps_the_time_over_intervals(
    browser: Browser, server: Server, history: Records
) -> None:
    page, complaints = await listened(browser, 1360, 900)
    await goto(page, server, f"/dashboard/market?market={MARKET}&interval=1m")
    await page.wait_for_function("() => document.querySelector('#chart').dataset.first")
    first = int(await page.get_attribute("#chart", "data-first") or 0)
    assert first > START_MS + 5_000 * MINUTE_MS
    box = await page.locator("#chart").bounding_box()
    assert box is not None
    for _ in range(40):
        await page.mouse.move(box["x"] + 100, box["y"] + 200)
        await page.mouse.down()
        await page.mouse.move(box["x"] + 1_000, box["y"] + 200, steps=3)
        await page.mouse.up()
        await page.mouse.wheel(0, 300)
        if int(await page.get_attribute("#chart", "data-first") or 0) == START_MS:
            break
    await page.wait_for_function(f"() => Number(document.querySelector('#chart').dataset.first) === {START_MS}")
    assert "the first there is" in await page.inner_text("#reach")
    assert await page.get_attribute("#chart", "data-holes") == "2"

    await page.click("#intervals button:has-text('1h')")
    await page.wait_for_function("() => document.querySelector('#reach').innerText.startsWith('120 candles')")
    await page.click("#newest")
    await history.candles(1, first=5 * 1_440)
    await page.click("#intervals button:has-text('1m')")
    await page.wait_for_function("() => document.querySelector('#legend').innerText.includes('06 Jun 2025, 00:00')")
    await history.live_candle(5 * 1_440 + 1)
    await page.wait_for_function("() => document.querySelector('#legend').innerText.includes('06 Jun 2025, 00:01')")
    assert complaints == []


@pytest.mark.covers("S0-14")
async def test_price_gaps_are_zones_that_can_be_hidden(browser: Browser, server: Server, history: Records) -> None:
    """Both within the newest hours: one that is open up to the right edge, one that was filled."""
    await history.connection.execute(
        "insert into price_gaps (id, market_id, interval, mode, source_interval, start_time, gap_type, gap_low,"
        " gap_high, status, found_time, touched_time, closed_time, close_price) values"
        " ('G00001', $1, '1h', 'b2dir', '1h', at_ms($2), 'up', 103800, 103900, 'open', at_ms($2), null, null, null),"
        " ('G00002', $1, '1h', 'b2dir', '1h', at_ms($3), 'down', 104100, 104150, 'filled', at_ms($3), at_ms($4),"
        " at_ms($4), 104150)",
        history.ids[MARKET], *(START_MS + hour * 60 * MINUTE_MS for hour in (80, 85, 95)),
    )  # fmt: skip
    page, complaints = await listened(browser, 1360, 900)
    await goto(page, server, f"/dashboard/market?market={MARKET}&interval=1h")
    await page.wait_for_selector("#chart[data-gaps='2']")
    assert await page.inner_text("#gaps-sum") == "2, 1 unfilled"
    with_zones = await painted(page, "#2fc08d")
    await keep(page, "market-gaps")
    await page.uncheck("#show-gaps")
    await page.wait_for_selector("#chart[data-gaps='0']")
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert await painted(page, "#2fc08d") < with_zones - 5_000
    # Chromium's advice on reading pixels is about this test.
    assert [text for text in complaints if "willReadFrequently" not in text] == []


@pytest.mark.parametrize("path", ["/dashboard/data", f"/dashboard/market?market={MARKET}&interval=1m"])
async def test_they_fit_a_phone_in_the_light(browser: Browser, server: Server, history: Records, path: str) -> None:
    await history.connection.execute(
        "update data_quality set detail = jsonb_build_object('text', 'not in binance_BTCUSDT_1m_20250601-06.csv.gz')"
    )
    page, complaints = await listened(browser, 390, 844, "light")
    await goto(page, server, path)
    if path.endswith("data"):
        await page.wait_for_selector("#holes a")
        for place in ("#years .cell:last-child", "#month button", "#holes a"):
            for box in [await each.bounding_box() for each in await page.locator(place).all()]:
                assert box is not None, place
                assert 0 <= box["x"] < box["x"] + box["width"] <= 390, place
    await page.wait_for_selector("#month button" if path.endswith("data") else "#chart[data-first]")
    await keep(page, f"phone-{path[11:15]}")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(242, 245, 248)"
    assert complaints == []


async def test_what_a_silent_market_lacks_is_not_called_whole(
    browser: Browser, server: Server, history: Records
) -> None:
    await history.event("candle", MARKET, {}, START_MS + 40 * 1_440 * MINUTE_MS)
    page, complaints = await listened(browser, 1360, 900)
    await goto(page, server, "/dashboard/data")
    await page.wait_for_selector(f".card[data-market='{MARKET}'] .badge[data-state=stale]")
    await page.wait_for_function("() => document.querySelector('#month-name').innerText === 'Jul 2025'")
    await page.wait_for_function("() => document.querySelector('#holes').innerText.includes('minutes are not here')")
    assert [await cell.get_attribute("class") for cell in await page.locator("#years button").all()] == [
        "cell many", "cell none",
    ]  # fmt: skip
    assert complaints == []


async def test_a_stale_market_says_so_on_every_page(browser: Browser, server: Server, history: Records) -> None:
    page, _ = await listened(browser, 1360, 900)
    await goto(page, server, "/dashboard/data")
    await page.wait_for_selector(f".card[data-market='{MARKET}'] .badge[data-state=fresh]")
    await note_turns(history.connection, [Turn(MARKET, True, "no closed minute for 2 min", START_MS)])
    await history.event("stale", MARKET, {"market": MARKET})
    await page.wait_for_selector(f".card[data-market='{MARKET}'] .badge[data-state=stale]")
    assert "Its targets are not acted on" in await page.inner_text("#markets")
    await page.wait_for_function("() => document.querySelector('#banner').innerText.includes('Stale')")
    await goto(page, server, f"/dashboard/market?market={MARKET}")
    await page.wait_for_selector("#freshness[data-state=stale]")
    await note_turns(history.connection, [Turn(MARKET, False, "was stale for 5 min", START_MS)])
    await history.event("fresh", MARKET, {"market": MARKET})
    await page.wait_for_selector("#freshness[data-state=fresh]")


async def painted(page: Page, colour: str) -> int:
    """How many pixels of the chart's canvases lean towards ``colour``: where the hole's hatching lies."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return int(
        await page.evaluate(
            """([r, g, b]) => [...document.querySelectorAll('#chart canvas')].reduce((sum, canvas) => {
                const data = canvas.width ? canvas.getContext('2d').getImageData(0, 0, canvas.width,
                canvas.height).data : [];
                for (let i = 0; i < data.length; i += 4)
                    if (data[i + 3] > 10 && Math.abs(data[i] - r) < 12 && Math.abs(data[i + 1] - g) < 12
                    && Math.abs(data[i + 2] - b) < 12) sum += 1;
                return sum;
            }, 0)""",
            [red, green, blue],
        )
    )
