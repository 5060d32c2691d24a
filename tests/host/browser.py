"""The front end of a running host in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

SIZE = {"width": 1600, "height": 1000}
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def opened(host) -> Iterator:
    """A page that shows the host, once it knows our nodes. Needs playwright and a Chromium."""
    from playwright.sync_api import sync_playwright

    host.post("/settings/Comfy.TutorialCompleted", True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=OPTIONS)
        page = browser.new_page(viewport=SIZE)
        page.goto(host.url)
        page.wait_for_function(
            "() => !!(window.app?.graph && window.LiteGraph?.registered_node_types?.PriorSRUpscaleSRCNN)",
            timeout=300_000,
        )
        yield page
        browser.close()


def show(page, workflow: dict) -> None:
    page.evaluate("async workflow => { await window.app.loadGraphData(workflow) }", workflow)
    page.wait_for_timeout(1500)
