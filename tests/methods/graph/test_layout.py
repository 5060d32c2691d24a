"""Templates can be read: every node is seen, says what it does here, and what it tells is shown."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from priorsr.methods.graph.definitions import carried
from priorsr.methods.weights.known import KNOWN, find_known

TEMPLATES = sorted((Path(__file__).parents[3] / "example_workflows").glob("*.json"))
TITLE = 30  # pixels of a node's title, which lies above its place
SCREEN, SCALE = (1600, 1000), 0.6  # where text is drawn
PANELS = 90, 70  # pixels that the front end's bars cover at the left and the top
PLAIN = ("SaveImage", "PreviewImage", "PreviewAny", "PriorSRResize", "LoadImage", "PriorSRSamplePicture")
TOLD = ("report", "text")


def box(node):
    """Left, top, right and bottom with the title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def bounding(group):
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def template(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def note_of(template):
    (note,) = (node for node in template["nodes"] if node["type"] == "MarkdownNote")
    return note


def test_nothing_lies_on_anything(template):
    boxes = {node["id"]: box(node) for node in template["nodes"]}
    assert not [pair for pair in combinations(boxes, 2) if overlap(*(boxes[one] for one in pair))]
    groups = [bounding(group) for group in template["groups"]]
    assert not [pair for pair in combinations(groups, 2) if overlap(*pair)]


def test_every_node_lies_in_one_group_and_the_note_in_none(template):
    groups = [bounding(group) for group in template["groups"]]
    for node in template["nodes"]:
        left, top, right, bottom = box(node)
        around = [g for g in groups if g[0] <= left and g[1] <= top and right <= g[2] and bottom <= g[3]]
        if node["type"] == "MarkdownNote":
            assert not [g for g in groups if overlap(g, box(node))]
        else:
            assert len(around) == 1, node["id"]
    assert all(group["title"] for group in template["groups"])


def test_the_whole_is_seen_at_once(template):
    boxes = [*map(box, template["nodes"]), *map(bounding, template["groups"])]
    first, last = ([f(b[i] for b in boxes) for i in at] for f, at in ((min, (0, 1)), (max, (2, 3))))
    scale, offset = template["extra"]["ds"]["scale"], template["extra"]["ds"]["offset"]
    assert scale >= SCALE
    for axis in (0, 1):
        assert PANELS[axis] <= (first[axis] + offset[axis]) * scale
        assert (last[axis] + offset[axis]) * scale <= SCREEN[axis]


def test_nodes_that_may_stand_for_anything_say_what_they_are_here(template):
    assert all(node.get("title") for node in template["nodes"] if node["type"] in PLAIN)


def test_what_nodes_tell_is_shown(template):
    nodes = {node["id"]: node for node in template["nodes"]}
    shown = {(link[1], link[2]) for link in template["links"] if nodes[link[3]]["type"] == "PreviewAny"}
    for node in template["nodes"]:
        for slot, output in enumerate(carried().get(node["type"], {}).get("outputs", [])):
            if node["type"].startswith("PriorSR") and output["name"] in TOLD:
                assert (node["id"], slot) in shown, (node["type"], output["name"])


def test_the_note_says_what_is_needed_and_how_long_it_takes(template):
    note = note_of(template)["widgets_values"][0]
    assert note.startswith("## ")
    assert "**Time**" in note
    values = [v for node in template["nodes"] for v in node["widgets_values"] if isinstance(v, str)]
    needed = {known.file: known for v in values if v in {k.file for k in KNOWN} and (known := find_known(v))}
    if any("CodeFormer" in node["type"] for node in template["nodes"]):
        needed["codeformer.pth"] = find_known("codeformer")
    assert ("**Needs** no file" in note) == (not needed)
    for name, known in needed.items():
        assert f"- `{name}` into `models/{known.folder}` ([source](https://{known.page})" in note
        assert known.licence in note


def test_no_two_templates_look_alike():
    pictures = [path.with_suffix(".jpg").read_bytes() for path in TEMPLATES]
    assert len(set(pictures)) == len(TEMPLATES)
