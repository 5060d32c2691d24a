"""The pack in the front end: example workflows open without red nodes and send the graph that the other tests run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from workflow import to_graph

pytestmark = [pytest.mark.host, pytest.mark.browser]
WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "example_workflows").glob("*.json"))


@pytest.fixture(scope="session")
def page(host):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium on this machine")
    host.post("/settings/Comfy.TutorialCompleted", True)
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        tab = browser.new_page(viewport={"width": 1600, "height": 1000})
        tab.goto(host.url)
        tab.wait_for_function("() => !!(window.app?.graph && window.LiteGraph?.registered_node_types?.PriorSRUpscaleSRCNN)", timeout=60_000)
        yield tab
        browser.close()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_opens_whole(host, page, path, tmp_path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    page.evaluate("async workflow => { await window.app.loadGraphData(workflow) }", workflow)
    page.wait_for_timeout(1500)
    nodes = page.evaluate("window.app.graph._nodes.map(n => [n.type, n.type in LiteGraph.registered_node_types, !!n.has_errors])")
    assert len(nodes) == len(workflow["nodes"])
    assert all(known and not wrong for _, known, wrong in nodes), nodes
    assert page.locator("[role=dialog]").count() == 0
    sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    expected = to_graph(workflow, host.get("/object_info"))
    assert {k: v["inputs"] for k, v in sent.items()} == {k: v["inputs"] for k, v in expected.items()}
    page.screenshot(path=tmp_path / f"{path.stem}.png")
    print(tmp_path / f"{path.stem}.png")
