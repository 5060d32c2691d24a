"""Subgraph blueprints are the workflows' parts, and run as they do wherever they are put."""

from __future__ import annotations

import json

import pytest
from blueprints import BLUEPRINTS, MADE, made, written

from priorsr.methods.graph.definitions import carried
from priorsr.methods.graph.saved import convert


def used(name: str) -> dict:
    """A workflow of a picture, the blueprint, and its first result saved."""
    flow = made(name)
    (node,) = flow["nodes"]
    node["inputs"][0]["link"], node["outputs"][0]["links"] = 1, [2]
    loader = {
        "id": 8,
        "type": "PriorSRSamplePicture",
        "mode": 0,
        "inputs": [],
        "outputs": [{"name": "image", "type": "IMAGE", "links": [1]}],
        "widgets_values": ["face", "none"],
    }
    saver = {
        "id": 9,
        "type": "SaveImage",
        "mode": 0,
        "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
        "outputs": [],
        "widgets_values": ["of a blueprint"],
    }
    flow["nodes"] += [loader, saver]
    flow["links"] = [[1, 8, 0, 1, 0, "IMAGE"], [2, 1, 0, 9, 0, "IMAGE"]]
    return flow


@pytest.mark.parametrize("name", MADE)
def test_a_blueprint_is_what_its_workflow_says(name):
    path = BLUEPRINTS / f"{name}.json"
    assert path.read_text(encoding="utf-8") == written(name), "run python tools/blueprints.py"
    source = json.loads(
        (BLUEPRINTS.parent / "example_workflows" / f"{MADE[name].workflow}.json").read_text("utf-8")
    )
    known = carried()
    there, here = convert(source, known), convert(used(name), known)
    for number in MADE[name].nodes:
        values = [
            {key: value for key, value in node["inputs"].items() if not isinstance(value, list)}
            for node in (there[str(number)], here[f"1:{number}"])
        ]
        assert values[0] == values[1]
    linked = {link[0] for node in here.values() for link in node["inputs"].values() if isinstance(link, list)}
    assert "8" in linked
    assert set(here) - linked <= {"9", *(f"1:{origin}" for origin, _, _ in MADE[name].results)}


def test_no_file_of_another_name_lies_there():
    assert sorted(path.stem for path in BLUEPRINTS.iterdir()) == sorted(MADE)
