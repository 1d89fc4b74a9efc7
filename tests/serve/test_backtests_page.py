"""The backtests page in a real browser: start, watch, read, compare and delete runs, with the token they need."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from playwright.async_api import Browser, Page

from tests.serve.browser import NEEDS_BROWSER, keep, listened
from tests.serve.conftest import CONFIG, MARKET, START_MS, TOKEN, Records, Server
from tests.serve.test_backtests import finished
from trading.intervals import DAY_MS
from trading.storage.settings import DatabaseTarget
from trading.storage.walkforwards import JOBS

pytestmark = NEEDS_BROWSER
PATH = "/dashboard/backtests"


async def opened(
    browser: Browser, server: Server, width: int = 1360, *, scheme: Any = "dark"
) -> tuple[Page, list[str]]:
    """The page with a token that was given before."""
    page, complaints = await listened(browser, width, 900, scheme)
    await page.add_init_script(f"sessionStorage.setItem('manta-token', '{TOKEN}')")
    await page.goto(server.url + PATH)
    await page.wait_for_selector("#strategy option", state="attached")
    await page.wait_for_selector("#runs p, #runs table")
    return page, complaints


async def stored(records: Records, *, total: float = 0.125, status: str = "done", config: Any = None) -> UUID:
    """A run with the figures that the page shows."""
    run_id = uuid4()
    figures = {
        "total_return": total, "sharpe": 1.25, "sortino": 2, "max_drawdown": 0.083, "trades": 1234, "win_rate": 0.5,
        "profit_factor": None, "final_equity": "11250", "fees": "12.5", "exposure": 0.4, "days": 30,
        "start": START_MS, "end": START_MS + 30 * DAY_MS, "pessimistic": {"total_return": -0.01, "sharpe": -0.2},
    }  # fmt: skip
    await records.connection.execute(
        "insert into backtest_runs (run_id, book, strategy, market, intervals, config, status, progress, results)"
        " values ($1, $2, 'ma44', $3, '{37m}', $4, $5, $6, $7)",
        run_id, f"backtest-{run_id}", MARKET, config or {"params": {"period": 44}, "capital": "10000"}, status,
        1 if status == "done" else 0.25, figures if status == "done" else None,
    )  # fmt: skip
    return run_id


async def walked(records: Records) -> UUID:
    run_id = uuid4()
    fold = {
        "test_start": START_MS, "test_end": START_MS + DAY_MS, "params": {"period": 4, "other": 1},
        "train_sharpe": 2.5, "train_return": 0.4, "train_drawdown": 0.05, "train_trades": None,
        "test_sharpe": 0.5, "test_return": 0.02, "test_drawdown": 0.01, "trades": 3,
    }  # fmt: skip
    found = {
        "out_of_sample": {
            "total_return": 0.02, "sharpe": 0.5, "max_drawdown": 0.01, "pessimistic_return": -0.03, "days": 1,
        },
        "search": {"best": {"total_return": 0.4, "sharpe": 2.5}, "days": 3},
        "folds": [fold],
        "words": ["Out of sample it earned 2 % where its search promised 40 %."],
    }  # fmt: skip
    await records.connection.execute(
        "insert into walkforwards (run_id, strategy, market, intervals, config, status, progress, results)"
        " values ($1, 'ma44', $2, '{1h}', $3, 'done', 1, $4)",
        run_id, MARKET, {"grid": {"period": [2, 4]}, "mode": "rolling", "train": 90, "test": 30}, found,
    )  # fmt: skip
    return run_id


@pytest.mark.covers("S1-27a", "S1-29")
async def test_a_run_is_started_from_the_form_watched_and_its_mistakes_told(
    browser: Browser, server: Server, records: Records
) -> None:
    page, complaints = await listened(browser, 1360, 900)
    await page.goto(server.url + PATH)
    await page.wait_for_function("() => document.querySelector('#runs').innerText.includes('Start one above')")
    await page.wait_for_selector("#params input[name=period]")
    await keep(page, "backtests-empty")
    await page.select_option("#market", MARKET)
    await page.fill("#intervals", "37m 7x")
    await page.fill("#params input[name=period]", "9")
    await page.get_by_role("button", name="Start").click()

    # Whoever changes something has the token: a wrong one is asked for again.
    dialog = page.get_by_role("dialog", name="API token")
    await dialog.get_by_text("This call needs the API token.").wait_for()
    await dialog.get_by_label("Token").fill("wrong")
    await page.keyboard.press("Enter")
    await dialog.get_by_text("That is not the token.").wait_for()
    await dialog.get_by_role("button", name="Cancel").click()
    await page.wait_for_function("() => document.querySelector('#refused').innerText.includes('needs the API token')")
    await page.get_by_role("button", name="Start").click()
    await dialog.get_by_label("Token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#intervals[aria-invalid=true]")
    assert "7x" in await page.inner_text("label:has(#intervals) .refused")
    assert await page.evaluate("document.activeElement.id") == "intervals"
    assert server.launched == []

    await page.fill("#intervals", "37m, 1h")
    await page.fill("#start-day", "2025-06-01")
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_selector("#runs tbody tr")
    [(run_id, request)] = server.launched
    assert (request["strategy"], request["market"], request["intervals"]) == ("ma44", MARKET, ["37m", "1h"])
    assert (request["params"], request["start_ms"], request["capital"]) == ({"period": 9}, START_MS, "10000")
    assert await page.inner_text("#refused") == ""
    assert "queued" in await page.inner_text("#runs")
    await records.connection.execute("update backtest_runs set status = 'running', progress = 0.42")
    await page.wait_for_selector("#runs progress[value='42']")
    await records.connection.execute("update backtest_runs set status = 'failed', error = 'No <b>candles</b>.'")
    await page.get_by_text("✕ failed: No <b>candles</b>.").wait_for()
    assert UUID(str(run_id))
    # The browser itself tells of answers that refuse.
    assert [text for text in complaints if "Failed to load resource" not in text] == []


@pytest.mark.covers("S1-28", "S1-29")
async def test_a_finished_run_shows_figures_and_its_report_with_the_token(
    browser: Browser, server: Server, records: Records, database: DatabaseTarget
) -> None:
    _, report = await finished(records, database)
    page, complaints = await opened(browser, server)
    row = page.locator("#runs tbody tr")
    assert "01 Jun 2025\nto 03 Jun 2025" in await row.inner_text()
    total = report["summary"]["total_return"]
    assert f"{abs(total) * 100:.2f} %" in await row.inner_text()
    asked: list[str | None] = []
    page.on(
        "request",
        lambda request: (
            asked.append(request.headers.get("authorization"))
            if "/report" in request.url and "/api/" in request.url
            else None
        ),
    )
    await row.get_by_role("link", name="Report").click()
    await page.get_by_role("heading", name=f"ma44 on {MARKET}").wait_for()
    assert asked == [f"Bearer {TOKEN}"]
    assert await page.title() == f"ma44 on {MARKET}"
    # Its own style is at work, although the page's policy takes none from within it.
    assert await page.evaluate("getComputedStyle(document.querySelector('.tiles')).display") == "grid"
    await keep(page, "report")
    await page.get_by_role("link", name="Backtests").click()
    await page.wait_for_selector("#runs tbody tr")
    assert complaints == []
    await page.goto(f"{server.url}/dashboard/report?run={uuid4()}")
    await page.get_by_role("alert").get_by_text("There is no backtest").wait_for()


async def test_two_runs_are_compared_and_one_is_deleted_when_it_is_said_so(
    browser: Browser, server: Server, records: Records
) -> None:
    kept = await stored(records, total=-0.04)
    gone = await stored(records, config={"params": {"period": 9}, "capital": "10000"})
    third = await stored(records)
    running = await stored(records, status="running")
    page, complaints = await opened(browser, server)
    for run_id in (kept, gone):
        await page.check(f"#runs [data-key='compare {run_id}']")
    assert await page.is_disabled(f"#runs [data-key='compare {third}']")
    await page.wait_for_selector("#compared tbody tr")
    lines = [(await row.inner_text()).split("\t") for row in await page.locator("#compared tr.differs").all()]
    assert lines == [
        ["parameters", "period 44", "period 9"],
        ["total return", "−4.00 %", "+12.50 %"],
    ]
    await keep(page, "backtests-compared")

    await page.click(f"#runs [data-key='delete {gone}']")
    dialog = page.get_by_role("dialog", name="Delete this backtest?")
    # The list is drawn anew beneath the question.
    await records.connection.execute("update backtest_runs set progress = 0.75 where status = 'running'")
    await page.wait_for_selector("#runs progress[value='75']")
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="detached")
    assert await page.evaluate("document.activeElement.dataset.key") == f"delete {gone}"
    assert await records.connection.fetchval("select count(*) from backtest_runs") == 4
    await page.click(f"#runs [data-key='delete {gone}']")
    await dialog.get_by_role("button", name="Delete").click()
    await dialog.wait_for(state="detached")
    await page.wait_for_function("() => document.querySelectorAll('#runs tbody tr').length === 3")
    assert await page.evaluate("document.activeElement.id") == "runs-title"
    assert await page.is_hidden("#compared-panel")
    assert await page.is_enabled(f"#runs [data-key='compare {third}']")
    await page.click(f"#runs [data-key='delete {running}']")
    await dialog.get_by_text("It is running.").wait_for()
    await dialog.get_by_role("button", name="Delete").click()
    await page.wait_for_function("() => document.querySelectorAll('#runs tbody tr').length === 2")
    left = await records.connection.fetch("select run_id from backtest_runs")
    assert {row[0] for row in left} == {kept, third}
    assert complaints == []


async def test_a_walk_forward_leads_with_what_it_found_out_of_sample(
    browser: Browser, server: Server, records: Records
) -> None:
    await walked(records)
    page, complaints = await opened(browser, server)
    row = page.locator("#walks tbody tr")
    assert (await row.inner_text()).split("\t")[:4] == ["+2.00 %", "0.50", "−1.00 %", "−3.00 %"]
    assert await page.locator("#walks th").first.inner_text() == "out of sample"
    await row.get_by_role("button", name="Details").click()
    await page.wait_for_selector("#walk-panel:not([hidden])")
    words = await page.inner_text("#walk")
    assert "promised 40 %" in words
    assert "period 4" in words
    assert "other" not in words
    fold = await page.locator("#walk table.stack tbody td").evaluate_all("cells => cells.map((cell) => cell.innerText)")
    assert fold[2:] == ["2.50", "0.50", "+40.00 %", "+2.00 %", "5.00 %", "1.00 %", "–", "3"]
    await keep(page, "walkforward")
    link = row.get_by_role("link", name="Report")
    assert (await link.get_attribute("href") or "").startswith("/dashboard/report?walkforward=")
    await row.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete this walk-forward?")
    await dialog.get_by_role("button", name="Delete").click()
    await page.wait_for_function("() => document.querySelector('#walks').innerText.includes('No walk-forward yet')")
    assert await page.is_hidden("#walk-panel")
    assert complaints == []


async def test_a_walk_forward_that_runs_is_followed_by_the_stream_and_stopped(
    browser: Browser, server: Server, records: Records
) -> None:
    run_id = uuid4()
    await records.connection.execute(
        "insert into walkforwards (run_id, strategy, market, intervals, config, status)"
        " values ($1, 'ma44', $2, '{1h}', '{}', 'queued')",
        run_id,
        MARKET,
    )
    await JOBS.take(records.connection, run_id, uuid4())
    page, complaints = await opened(browser, server)
    row = page.locator("#walks tbody tr")
    await row.wait_for()
    await JOBS.tell(records.connection, run_id, {"status": "running", "progress": 0.5, "rate": 12.5, "eta_s": 130})
    await row.get_by_text("12.5 runs/s, 2 min left").wait_for()
    assert "50 %" in await row.inner_text()
    await row.get_by_role("button", name="Stop").click()
    await row.get_by_text("stopped at").wait_for()
    assert await records.connection.fetchval("select status from walkforwards") == "stopped"
    assert complaints == []


async def test_runs_of_several_strategies_and_markets_are_named_whole(
    browser: Browser, server: Server, records: Records
) -> None:
    several = {
        "strategies": [
            {"name": "a", "strategy": "ma44", "params": {"period": 9}, "profile": "spot"},
            {"name": "b", "strategy": "scalper", "params": {}, "profile": "perp"},
        ],
        "markets": [MARKET, "binance:ETHUSDT"],
    }
    await stored(records, config=several)
    page, complaints = await opened(browser, server)
    row = await page.inner_text("#runs tbody tr")
    assert "ma44, scalper\na: period 9" in row
    assert f"{MARKET}, binance:ETHUSDT" in row
    assert complaints == []


async def test_more_runs_than_a_page_are_reached(browser: Browser, server: Server, records: Records) -> None:
    for _ in range(51):
        await stored(records)
    page, complaints = await opened(browser, server)
    await page.wait_for_function("() => document.querySelectorAll('#runs tbody tr').length === 50")
    await page.get_by_role("button", name="Older ones").click()
    await page.wait_for_function("() => document.querySelectorAll('#runs tbody tr').length === 51")
    assert await page.is_hidden("#older")
    assert complaints == []


async def test_it_fits_a_phone_in_the_light(browser: Browser, server: Server, records: Records) -> None:
    first = await stored(records)
    second = await stored(records, total=-0.5)
    await stored(records, status="running")
    await walked(records)
    page, complaints = await opened(browser, server, 380, scheme="light")
    for run_id in (first, second):
        await page.check(f"#runs [data-key='compare {run_id}']")
    await page.get_by_role("button", name="Details").click()
    await page.wait_for_selector("#walk-panel:not([hidden])")
    await keep(page, "backtests-phone")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 380
    for place in ("#go", f"#runs [data-key='delete {first}']"):
        box = await page.locator(place).bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= 380, place
    assert complaints == []


async def test_several_that_share_the_capital_and_a_configured_book_are_started_from_the_form(
    browser: Browser, server: Server, records: Records
) -> None:
    eth = "binance:ETHUSDT"
    page, complaints = await opened(browser, server)
    await page.select_option("#what", "several")
    assert await page.is_hidden("#params")
    assert await page.is_hidden("#market")
    await page.check(f"#markets [value='{MARKET}']")
    await page.check(f"#markets [value='{eth}']")
    await page.check("#strategies [value=trend]")
    await page.check("#strategies [value=macd]")
    await keep(page, "backtests-several")
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_selector("#runs tbody tr")
    [(_, request)] = server.launched
    assert [item["name"] for item in request["strategies"]] == ["trend", "macd"]
    assert (request["markets"], request["capital"]) == ([MARKET, eth], "10000")

    await page.select_option("#what", "book")
    await page.uncheck(f"#markets [value='{eth}']")
    assert await page.input_value("#capital") == ""
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_function("() => document.querySelectorAll('#runs tbody tr').length === 2")
    _, request = server.launched[-1]
    assert [item["name"] for item in request["strategies"]] == ["trend"]
    assert (request["markets"], request["capital"]) == ([MARKET], str(CONFIG.books["paper"].capital))
    await page.select_option("#what", "one")
    assert await page.input_value("#capital") == "10000"
    assert await page.is_visible("#params")
    assert complaints == []
