"""Saved workflows become the graphs that the front end would send."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from priorsr.methods.graph.definitions import carried, defaults
from priorsr.methods.graph.graph import Graph
from priorsr.methods.graph.layout import saved_form
from priorsr.methods.graph.saved import convert

WORKFLOWS = sorted((Path(__file__).parents[3] / "example_workflows").glob("*.json"))


def node(key, kind, values=(), inputs=(), outputs=("IMAGE",), mode=0, **more):
    sockets = [dict(zip(("name", "type", "link"), one, strict=True)) for one in inputs]
    given = [{"name": kind, "type": kind} for kind in outputs]
    made = {"id": key, "type": kind, "mode": mode, "inputs": sockets, "outputs": given}
    return {**made, "widgets_values": list(values), **more}


def scale(key, link, **more):
    return node(key, "ImageScale", ["bicubic", 8, 9, "disabled"], [("image", "IMAGE", link)], **more)


def chain(*between, links):
    """Load, what lies between, save; links as (id, from, slot, to, slot, type)."""
    load = node(1, "LoadImage", ["a.png", "image"], outputs=("IMAGE", "MASK"))
    save = node(9, "SaveImage", ["p"], [("images", "IMAGE", 99)], outputs=())
    return {"nodes": [load, *between, save], "links": [list(one) for one in links], "version": 0.4}


def converted(workflow, **more):
    return {k: (n["class_type"], n["inputs"]) for k, n in convert(workflow, {**carried(), **more}).items()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_of_the_repository_convert_whole(path):
    workflow = json.loads(path.read_text("utf-8"))
    graph = Graph(convert(workflow, carried()))
    notes = [one for one in workflow["nodes"] if one["type"] in ("Note", "MarkdownNote")]
    assert len(graph.nodes) == len(workflow["nodes"]) - len(notes)
    assert graph.problems(lambda folder, name: True) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_graph_made_a_workflow_again_is_the_same(path):
    graph = convert(json.loads(path.read_text("utf-8")), carried())
    assert convert(saved_form(graph, carried()), carried()).keys() == graph.keys()
    again = convert(saved_form(graph, carried()), carried())
    assert {k: n["inputs"] for k, n in again.items()} == {k: n["inputs"] for k, n in graph.items()}


def test_links_of_both_formats():
    links = [(1, 1, 0, 2, 0, "IMAGE"), (99, 2, 0, 9, 0, "IMAGE")]
    old = chain(scale(2, 1), links=links)
    new = copy.deepcopy(old) | {"version": 1, "state": {}}
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    new["links"] = [dict(zip(names, one, strict=True)) for one in links]
    expected = {
        "1": ("LoadImage", {"image": "a.png"}),
        "2": (
            "ImageScale",
            {"image": ["1", 0], "upscale_method": "bicubic", "width": 8, "height": 9, "crop": "disabled"},
        ),
        "9": ("SaveImage", {"images": ["2", 0], "filename_prefix": "p"}),
    }
    assert converted(old) == expected
    assert converted(new) == expected


def test_what_is_muted_is_left_out_and_its_links_with_it():
    links = [(1, 1, 0, 2, 0, "IMAGE"), (99, 2, 0, 9, 0, "IMAGE")]
    found = converted(chain(scale(2, 1, mode=2), links=links))
    assert found.keys() == {"1", "9"}
    assert "images" not in found["9"][1]


def test_what_is_bypassed_lets_through_what_fits_its_output():
    two = node(
        2,
        "ImageScale",
        ["bicubic", 8, 9, "disabled"],
        [("mask", "MASK", 2), ("image", "IMAGE", 1)],
        mode=4,
    )
    links = [(1, 1, 0, 2, 1, "IMAGE"), (2, 1, 1, 2, 0, "MASK"), (99, 2, 0, 9, 0, "IMAGE")]
    found = converted(chain(two, links=links))
    assert found.keys() == {"1", "9"}
    assert found["9"][1]["images"] == ["1", 0]


def test_bypassed_without_anything_that_fits_gives_nothing():
    mask = node(2, "MaskToImage", [], [("mask", "MASK", 2)], mode=4)
    found = converted(chain(mask, links=[(2, 1, 1, 2, 0, "MASK"), (99, 2, 0, 9, 0, "IMAGE")]))
    assert "images" not in found["9"][1]


def test_reroutes_primitives_and_notes_vanish():
    links = [
        (1, 1, 0, 3, 0, "*"),
        (2, 3, 0, 2, 0, "IMAGE"),
        (3, 4, 0, 2, 1, "INT"),
        (99, 2, 0, 9, 0, "IMAGE"),
    ]
    two = scale(2, 2)
    two["inputs"].append({"name": "width", "type": "INT", "link": 3, "widget": {"name": "width"}})
    between = [
        two,
        node(3, "Reroute", [], [("", "*", 1)], ("*",)),
        node(4, "PrimitiveNode", [77, "randomize"], outputs=("INT",)),
        node(5, "Note", ["words"], outputs=()),
        node(6, "MarkdownNote", ["# words"], outputs=()),
    ]
    found = converted(chain(*between, links=links))
    assert found.keys() == {"1", "2", "9"}
    assert found["2"][1]["image"] == ["1", 0]
    assert found["2"][1]["width"] == 77


def test_a_seed_has_a_second_widget_and_a_choice_brings_its_own():
    values = ["noise", "speckle", 4.5, True, 12, "randomize", True]
    degrade = node(2, "PriorSRDegrade", values, [("image", "IMAGE", 1)])
    found = converted(chain(degrade, links=[(1, 1, 0, 2, 0, "IMAGE"), (99, 2, 0, 9, 0, "IMAGE")]))["2"][1]
    assert found == {
        "image": ["1", 0],
        "degradation": "noise",
        "degradation.kind": "speckle",
        "degradation.amount": 4.5,
        "degradation.grey": True,
        "seed": 12,
        "vary": True,
    }


def test_a_seed_of_an_old_workflow_has_none():
    degrade = node(2, "PriorSRDegrade", ["bicubic", 2.0, 12, True], [("image", "IMAGE", 1)])
    found = converted(chain(degrade, links=[(1, 1, 0, 2, 0, "IMAGE"), (99, 2, 0, 9, 0, "IMAGE")]))["2"][1]
    assert (found["seed"], found["vary"]) == (12, True)


def test_inputs_newer_than_the_workflow_are_at_their_defaults():
    srcnn = node(2, "PriorSRUpscaleSRCNN", [3.0], [("image", "IMAGE", 1)])
    found = converted(chain(srcnn, links=[(1, 1, 0, 2, 0, "IMAGE"), (99, 2, 0, 9, 0, "IMAGE")]))["2"][1]
    expected = defaults(carried()["PriorSRUpscaleSRCNN"]["inputs"])
    assert found == {**expected, "scale": 3.0, "image": ["1", 0]}


def test_the_button_of_an_upload_comes_after_the_other_widgets():
    mask = node(2, "LoadImageMask", ["m.png", "red", "image"], outputs=("MASK",))
    found = converted(chain(mask, links=[(99, 1, 0, 9, 0, "IMAGE")]))["2"][1]
    assert found == {"image": "m.png", "channel": "red"}


def test_values_may_be_saved_by_name_and_lists_are_no_links():
    two = scale(2, 1) | {"widgets_values": {"width": 5, "height": 6, "upscale_method": "area"}}
    found = converted(chain(two, links=[(1, 1, 0, 2, 0, "IMAGE"), (99, 2, 0, 9, 0, "IMAGE")]))["2"][1]
    assert (found["width"], found["height"], found["upscale_method"]) == (5, 6, "area")
    assert found["crop"] == "disabled"
    save = chain(links=[(99, 1, 0, 9, 0, "IMAGE")])
    save["nodes"][-1]["widgets_values"] = [["1", 0]]
    assert converted(save)["9"][1]["filename_prefix"] == {"__value__": ["1", 0]}


def subgraph(width_of_use=None, link=None, **use):
    """A scale in a subgraph whose image and width come from outside."""
    inner = scale(3, 11)
    width = {"name": "width", "type": "INT", "link": 12, "widget": {"name": "width"}}
    inner["inputs"].append(width)
    ends = ("origin_id", "origin_slot", "target_id", "target_slot")
    links = {11: (-10, 0, 3, 0), 12: (-10, 1, 3, 1), 13: (3, 0, -20, 0)}
    definition = {
        "id": "abc-def",
        "name": "Smaller",
        "inputs": [
            {"name": "image", "type": "IMAGE", "linkIds": [11]},
            {"name": "width", "type": "INT", "linkIds": [12]},
        ],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "linkIds": [13]}],
        "nodes": [inner],
        "links": [{"id": key, **dict(zip(ends, one, strict=True))} for key, one in links.items()],
    }
    values = [] if width_of_use is None else [width_of_use]
    inputs = [("image", "IMAGE", 1), ("width", "INT", link)]
    made = chain(
        node(2, "abc-def", values, inputs, **use),
        node(4, "PrimitiveNode", [55], outputs=("INT",)),
        links=[(1, 1, 0, 2, 0, "IMAGE"), (7, 4, 0, 2, 1, "INT"), (99, 2, 0, 9, 0, "IMAGE")],
    )
    return {**made, "definitions": {"subgraphs": [definition]}}


@pytest.mark.parametrize(
    ("workflow", "width"),
    [
        (subgraph(), 8),
        (subgraph(21), 21),
        (subgraph(21, link=7), 55),
        (subgraph(31, properties={"proxyWidgets": [["-1", "width"]]}), 31),
        (subgraph(41, properties={"proxyWidgets": [["3", "height"]]}), 8),
    ],
)
def test_subgraphs_are_opened(workflow, width):
    found = converted(workflow)
    assert found.keys() == {"1", "2:3", "9"}
    assert found["2:3"][1]["image"] == ["1", 0]
    assert found["2:3"][1]["width"] == width
    assert found["2:3"][1]["height"] == (41 if "proxyWidgets" in str(workflow) and width == 8 else 9)
    assert found["9"][1]["images"] == ["2:3", 0]


def test_subgraphs_within_subgraphs_and_bypassed_ones():
    workflow = subgraph(21)
    outer = copy.deepcopy(workflow["definitions"]["subgraphs"][0]) | {"id": "outer"}
    outer["nodes"] = [node(5, "abc-def", [], [("image", "IMAGE", 11), ("width", "INT", 12)])]
    for link in outer["links"]:
        link |= {key: 5 for key in ("origin_id", "target_id") if link[key] == 3}
    outer["nodes"][0]["inputs"][1]["widget"] = {"name": "width"}
    workflow["definitions"]["subgraphs"].append(outer)
    workflow["nodes"][1]["type"] = "outer"
    found = converted(workflow)
    assert found.keys() == {"1", "2:5:3", "9"}
    assert found["2:5:3"][1]["width"] == 21
    assert found["9"][1]["images"] == ["2:5:3", 0]
    workflow["nodes"][1]["mode"] = 4
    assert converted(workflow)["9"][1]["images"] == ["1", 0]


def test_subgraphs_that_hold_themselves_are_refused():
    workflow = subgraph()
    workflow["definitions"]["subgraphs"][0]["nodes"].append(node(8, "abc-def"))
    with pytest.raises(ValueError, match="hold each other"):
        converted(workflow)


def test_an_unknown_node_and_damage_are_one_sentence():
    links = [(99, 1, 0, 9, 0, "IMAGE")]
    with pytest.raises(ValueError, match=r"node 2 is of the kind SomeoneElses.*--server URL or"):
        converted(chain(node(2, "SomeoneElses"), links=links))
    with pytest.raises(ValueError, match="the workflow is damaged: KeyError"):
        converted({"nodes": [{"type": "LoadImage"}], "links": []})
    with pytest.raises(ValueError, match=r"there is no degradation 'x': choose from bicubic, face"):
        converted(chain(node(2, "PriorSRDegrade", ["x"]), links=links))
