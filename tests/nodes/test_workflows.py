"""Saved work keeps its meaning: widget values have no names, so they land by the order of the inputs.

landed.json holds where every value of the example workflows landed when they were made.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from priorsr.methods.graph.standin.describing import described_node

WORKFLOWS = sorted((Path(__file__).parents[2] / "example_workflows").glob("*.json"))
LANDED = json.loads(Path(__file__).with_name("landed.json").read_text(encoding="utf-8"))
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
FILES = (".pt", ".pth", ".ckpt", ".pkl", ".safetensors", "codeformer")


def landing(inputs: list[dict], values: list, prefix: str = "") -> dict:
    """What each widget is set to, in the front end's order: those of a choice follow it, optional ones come
    last, and a seed has a second widget. Values are taken out of `values`.
    """
    found = {}
    for one in sorted(inputs, key=lambda one: one.get("optional", False)):
        if one["type"] not in WIDGETS or (not values and one.get("optional")):
            continue
        name, value = f"{prefix}{one['id']}", values.pop(0)
        found[name] = value
        if one.get("control_after_generate"):
            found[f"{name} afterwards"] = values.pop(0)
        if isinstance(one.get("options"), dict):
            found |= landing(one["options"][value], values, f"{name}.")
    return found


def test_none_is_left_out():
    assert {path.stem for path in WORKFLOWS} == set(LANDED)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_values_of_workflows_land_where_they_did(bare, path):
    nodes = {name: described_node(node) for name, node in bare.nodes.items()}
    for saved in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
        if not saved["type"].startswith("PriorSR"):
            continue
        values = list(saved.get("widgets_values", []))
        inputs = nodes[saved["type"]]["inputs"]
        found = landing(inputs, values)
        assert not values
        assert found == LANDED[path.stem][str(saved["id"])], saved["type"]
        check_values(inputs, found)
        names = {one["id"] for one in inputs}
        assert {one["name"] for one in saved.get("inputs", []) if "widget" not in one} <= names


def check_values(inputs: list[dict], found: dict, prefix: str = "") -> None:
    """What the host would refuse."""
    for one in inputs:
        if (name := f"{prefix}{one['id']}") not in found:
            continue
        value, options = found[name], one.get("options")
        if options and not str(value).endswith(FILES):
            assert value in options, name
        if one["type"] in ("INT", "FLOAT"):
            assert one.get("min", value) <= value <= one.get("max", value), name
        if isinstance(options, dict):
            check_values(options[value], found, f"{name}.")


def test_an_input_in_another_place_would_be_noticed(bare):
    inputs = described_node(bare.nodes["PriorSRUpscaleDPI"])["inputs"]
    saved = next(one for one in WORKFLOWS if one.stem == "dpi_face")
    node = next(n for n in json.loads(saved.read_text())["nodes"] if n["type"] == "PriorSRUpscaleDPI")
    steps = [one["id"] for one in inputs].index("steps")
    inputs[steps : steps + 2] = reversed(inputs[steps : steps + 2])
    assert landing(inputs, list(node["widgets_values"])) != LANDED["dpi_face"][str(node["id"])]
