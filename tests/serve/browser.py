"""Pages in a real browser, and what their consoles complain of."""

import os
from pathlib import Path
from shutil import which
from typing import Literal

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page

__all__ = ["CHROMIUM", "FLAGS", "NEEDS_BROWSER", "keep", "listened"]

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]  # fmt: skip
NEEDS_BROWSER = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO BROWSER: the dashboard was NOT tested. Install one: apt-get install chromium fonts-dejavu-core",
)


async def listened(
    browser: Browser, width: int, height: int, scheme: Literal["dark", "light"] = "dark"
) -> tuple[Page, list[str]]:
    """A new page, and the list its console's errors and warnings go to."""
    page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
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
