"""The front end in another language: titles, names, options and menus of our nodes."""

from __future__ import annotations

import pytest
from browser import chromium, opened

pytestmark = [pytest.mark.host, pytest.mark.browser]


@pytest.fixture
def japanese(host):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not chromium():
        pytest.skip("no chromium on this machine")
    host.post("/settings/Comfy.Locale", "ja")
    with opened(host) as page:
        yield page
    host.post("/settings/Comfy.Locale", "en")


def test_a_node_speaks_japanese(host, japanese):
    node, menus = (host.get("/i18n")["ja"][part] for part in ("nodeDefs", "nodeCategories"))
    words = node["PriorSREnhanceOutside"]
    seen = japanese.evaluate(
        """() => {
            const node = window.LiteGraph.createNode("PriorSREnhanceOutside");
            const order = node.widgets.find(one => one.name === "filters.order");
            return {title: node.title, category: node.constructor.category, label: order.label,
                    value: order.value, shown: order._displayValue};
        }"""
    )
    order = words["inputs"]["filters_order"]
    assert seen["title"] == words["display_name"]
    assert seen["category"].split("/")[-1] == menus["faces"]
    assert seen["label"] == order["name"]
    assert seen["value"] == "blur first"
    assert seen["shown"] == f"{order['options']['blur first']} (blur first)"
