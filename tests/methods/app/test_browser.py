"""The page in a browser: a damaged portrait goes in, a restored one comes out, and the copied command gives
the same bytes.
"""

from __future__ import annotations

import os
import shlex

import pytest
from browser import OPTIONS, SIZE, chromium
from test_page import served

from priorsr.methods.cli.main import main
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.samples import damaged, sample

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]
LONG = 300_000  # ms, for it may be a busy machine


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not chromium():
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=chromium(), args=OPTIONS)
        yield one
        one.close()


@pytest.fixture
def portrait(tmp_path):
    return write(Picture(damaged(sample("portrait"), "old")), tmp_path / "grandmother.png")


def opened(browser, address, scheme="light"):
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)
    page.set_default_timeout(LONG)
    page.goto(address)
    page.get_by_text("What kind of picture is it?").wait_for()
    return page


def choose(page, row):
    page.get_by_label(row).check()
    page.wait_for_function(  # the command follows the choice
        "() => document.querySelector('#page-command textarea').value.includes('restore-faces')"
    )


def told(page):
    return page.locator("#page-command textarea").input_value()


def test_a_damaged_portrait_is_restored_and_the_command_gives_the_same_bytes(
    browser, address, portrait, tmp_path, monkeypatch
):
    page = opened(browser, address)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("input[type=file]").first.set_input_files(portrait)
    choose(page, "old family photograph with faces")
    page.get_by_text("1 face found").wait_for()
    page.get_by_label("seed", exact=True).fill("11")
    page.wait_for_function("() => document.querySelector('#page-command textarea').value.includes('11')")
    page.get_by_role("button", name="Restore", exact=True).click()
    page.get_by_text("Done: grandmother_restored.png").wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download grandmother_restored.png").click()
    made = tmp_path / "downloaded.png"
    download.value.save_as(made)
    assert page.locator(".slider-wrap img, [data-testid*=image] img, img").count() >= 2
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    print(tmp_path / "page.png")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(told(page))
    assert words[0] == "priorsr"
    assert "--seed" in words
    assert main(words[1:]) == 0
    assert (tmp_path / "grandmother_restored.png").read_bytes() == made.read_bytes()
    assert read(made).pixels.shape[-1] == 2 * read(portrait).pixels.shape[-1]
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), asked
    page.close()


def test_what_is_no_picture_is_a_sentence_and_two_users_wait_for_each_other(
    browser, address, portrait, tmp_path
):
    (tmp_path / "letter.png").write_text("no picture")
    pages = [opened(browser, address) for _ in range(2)]
    for page, path in zip(pages, (portrait, tmp_path / "letter.png"), strict=True):
        page.locator("input[type=file]").first.set_input_files(path)
        page.get_by_text(path.name).first.wait_for()
        choose(page, "old family photograph with faces")
    for page in pages:
        page.get_by_role("button", name="Restore", exact=True).click()
    pages[0].get_by_text("Done: grandmother_restored.png").wait_for()
    pages[1].get_by_text("cannot read letter.png", exact=False).wait_for()
    for page in pages:
        page.close()


def test_a_run_is_stopped(browser, address, portrait):
    page = opened(browser, address)
    page.locator("input[type=file]").first.set_input_files(portrait)
    page.get_by_text(portrait.name).first.wait_for()
    choose(page, "old family photograph with faces")
    page.get_by_label("steps", exact=True).fill("1000")
    page.wait_for_function("() => document.querySelector('#page-command textarea').value.includes('1000')")
    page.get_by_role("button", name="Restore", exact=True).click()
    page.get_by_text("Loading").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("Stopped: nothing is left of this run").wait_for()
    page.close()
