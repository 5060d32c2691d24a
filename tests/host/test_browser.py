"""The pack in the front end: example workflows open without red nodes and send the graph that the other tests
run.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import chromium, opened, show
from graphs import to_graph

pytestmark = [pytest.mark.host, pytest.mark.browser]
WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "example_workflows").glob("*.json"))
BLUEPRINTS = sorted((Path(__file__).resolve().parents[2] / "subgraphs").glob("*.json"))
SHOWN = (
    "preview",
    "previewMode",
)  # what Preview Any sends of its own display, which the server does not ask for


@pytest.fixture(scope="session")
def page(host):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not chromium():
        pytest.skip("no chromium on this machine")
    with opened(host) as page:
        yield page


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_opens_whole(host, page, path, tmp_path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    show(page, workflow)
    nodes = page.evaluate(
        "window.app.graph._nodes.map(n => [n.type, n.type in LiteGraph.registered_node_types, "
        "!!n.has_errors])"
    )
    assert len(nodes) == len(workflow["nodes"])
    assert all(known for _, known, _ in nodes), nodes
    # newer front ends mark a loader whose file is the user's own and not there
    assert {kind for kind, _, wrong in nodes if wrong} <= {"LoraLoaderModelOnly", "LoraLoader"}
    # files that a template needs, and their sources, are what newer front ends tell in a dialog
    if page.locator("[role=dialog]").count():
        assert any(one.get("properties", {}).get("models") for one in workflow["nodes"])
        assert "issing" in page.locator("[role=dialog]").first.inner_text()
        page.keyboard.press("Escape")
    sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    expected = to_graph(workflow, host.get("/object_info"))
    told = {
        k: {name: value for name, value in v["inputs"].items() if name not in SHOWN} for k, v in sent.items()
    }
    assert told == {k: v["inputs"] for k, v in expected.items()}
    page.screenshot(path=tmp_path / f"{path.stem}.png")
    print(tmp_path / f"{path.stem}.png")


def test_advanced_inputs_are_shown_on_demand(page):
    """On the classic canvas: few at first, all by the node's own menu, and what is linked always."""
    seen = page.evaluate(
        """() => {
            const graph = window.app.graph;
            graph.clear();
            const node = window.LiteGraph.createNode("PriorSRRestoreFaces");
            const number = window.LiteGraph.createNode("PrimitiveInt");
            graph.add(node);
            graph.add(number);
            const visible = () => node.widgets.filter(one => node.isWidgetVisible(one)).map(one => one.name);
            const few = visible(), low = node.size[1];
            number.connect(0, node, node.inputs.findIndex(one => one.name === "limit"));
            const linked = visible();
            node.toggleAdvanced();
            return {few, low, linked, all: visible(), high: node.size[1], widgets: node.widgets.length};
        }"""
    )
    few = [name for name in seen["few"] if name != "control_after_generate"]
    assert few == ["method", "method.prior", "scale", "detector", "seed"]
    assert "limit" in seen["linked"]
    assert len(seen["linked"]) == len(seen["few"]) + 1
    assert len(seen["all"]) == seen["widgets"] > 25
    assert seen["high"] > 2 * seen["low"]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda p: p.stem)
def test_a_blueprint_shows_its_widgets_outside(host, page, path):
    listed = [one["name"] for one in host.get("/global_subgraphs").values()]
    assert path.stem in listed
    blueprint = json.loads(path.read_text(encoding="utf-8"))
    show(page, blueprint)
    (seen,) = page.evaluate(
        "window.app.graph._nodes.map(n => [(n.widgets ?? []).map(w => w.name), n.inputs.map(i => i.name), "
        "n.outputs.map(o => o.name)])"
    )
    (subgraph,) = blueprint["definitions"]["subgraphs"]
    shown = [widget for _, widget in blueprint["nodes"][0]["properties"]["proxyWidgets"]]
    assert [name.split(": ")[-1] for name in seen[0]] == shown
    assert seen[1][0] == "image"
    assert seen[2] == [one["name"] for one in subgraph["outputs"]]
