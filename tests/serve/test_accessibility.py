"""What every page owes to people who use a keyboard, a screen reader, or little contrast: names, landmarks, colours."""

from typing import Any, Literal

import pytest
from playwright.async_api import Browser, Page

from tests.serve.browser import NEEDS_BROWSER, listened
from tests.serve.conftest import Records, Server
from tests.serve.test_backtests_page import stored, walked

pytestmark = NEEDS_BROWSER
PAGES = {
    "/dashboard": "#trades table",
    "/dashboard/market?interval=1m": "#chart[data-first]",
    "/dashboard/data": "#month button",
    "/dashboard/strategies": "#shelf li",
    "/dashboard/backtests": "#walks table",
    "/dashboard/sweeps": "#runs p",
}
# The ratio of WCAG 2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio; what is disabled or hidden owes none.
FAINT = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const pen = canvas.getContext("2d", {willReadFrequently: true});
    const over = (colours) => {
        for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
        if (!text || !element.checkVisibility({visibilityProperty: true}) || element.closest(":disabled")) continue;
        const behind = [];
        for (let each = element; each; each = each.parentElement)
            behind.unshift(getComputedStyle(each).backgroundColor);
        const ink = light(over([...behind, getComputedStyle(element).color])), ground = light(over(behind));
        const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        if (ratio < 4.5) found.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
    }
    return found;
}"""
UNREACHED = """() => [...document.querySelectorAll(".scroll, .scroll-x")].filter((place) => place.checkVisibility()
    && place.scrollHeight > place.clientHeight && place.querySelector("table")
    && !place.hasAttribute("tabindex") && !place.querySelector("a, button, input")).map((place) => place.id)"""
CONTROLS = {"button", "link", "checkbox", "combobox", "textbox", "progressbar", "spinbutton", "dialog", "region"}


async def nameless(page: Page) -> list[str]:
    """Controls and regions, as a screen reader is told of them, that have no name."""
    session = await page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    return [
        f"{node['role']['value']} {node['nodeId']}"
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in CONTROLS and not node.get("name", {}).get("value")
    ]


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1360), ("light", 380)])
async def test_everything_has_a_name_and_can_be_read(
    browser: Browser, server: Server, day: Records, scheme: Literal["dark", "light"], width: int
) -> None:
    await day.parity("2025-05-31", status="different", explained=1, unexplained=1)
    await walked(day)
    await stored(day)
    await stored(day, status="running")
    page, _ = await listened(browser, width, 900, scheme)
    # A dot that breathes is of another colour each time.
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    wrong: dict[str, list[str]] = {}
    for path, shown in PAGES.items():
        await page.goto(server.url + path)
        await page.wait_for_selector(shown)
        await page.wait_for_selector("#live[data-state=on]")
        for only in ("h1", "main", "nav [aria-current=page]"):
            assert await page.locator(only).count() == 1, (path, only)
        wrong[path] = [*await nameless(page), *await page.evaluate(FAINT), *await page.evaluate(UNREACHED)]
    assert {path: found for path, found in wrong.items() if found} == {}
