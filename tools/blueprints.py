"""Subgraph blueprints out of the example workflows: python tools/blueprints.py.

Each is a part of a workflow with an image input, its results as outputs, and the widgets that one changes;
front ends that know blueprints offer them among the nodes.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from priorsr.methods.graph.definitions import carried

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS, BLUEPRINTS = ROOT / "example_workflows", ROOT / "subgraphs"
INSIDE, OUTSIDE = -10, -20  # by which the format calls a subgraph's own inputs and outputs
APART = 160  # pixels from the nodes to where a subgraph is entered and left


@dataclass(frozen=True)
class Blueprint:
    """Nodes of a workflow that become one. entry: the node in place of whose first output comes the user's
    image. results: node, output and name of what comes out. shown: node and widget of what is seen outside.
    """

    workflow: str
    about: str
    nodes: tuple[int, ...]
    entry: int
    results: tuple[tuple[int, int, str], ...]
    shown: tuple[tuple[int, str], ...]


MADE = {
    "Clean a Photograph and Restore Small Faces (Diff-SR)": Blueprint(
        "faces_through_any_nodes",
        "Cleans a photograph, restores each small face by Diff-SR and puts it back. Needs no file.",
        (2, 3, 4, 5, 6, 7),
        1,
        ((7, 0, "image"), (7, 1, "report")),
        ((2, "scale"), (3, "detector"), (6, "prior"), (6, "seed"), (7, "strength")),
    ),
    "Restore Faces on a Larger Background (CodeFormer, SRCNN)": Blueprint(
        "codeformer_photo",
        "Enlarges a photograph by SRCNN, and its faces by CodeFormer. Needs CodeFormer's file.",
        (2, 3),
        1,
        ((3, 0, "image"), (3, 1, "report")),
        ((2, "scale"), (3, "codeformer"), (3, "w"), (3, "detector")),
    ),
    "Restore a Face of 16 Pixels (DPI)": Blueprint(
        "dpi_parts",
        "Eight times larger by DPI's two stages, corrector and masks, of native parts. Needs no file.",
        tuple(range(3, 14)),
        2,
        ((13, 0, "image"),),
        ((3, "prior"), (4, "corrector"), (5, "preset"), (11, "noise_seed")),
    ),
    "Restore a Face of 32 Pixels (Diff-SR)": Blueprint(
        "diffsr_parts",
        "Four times larger, from the noise that the Perceptual Recoverable Field chooses. Needs no file.",
        (3, 4, 6, 7, 8, 9, 10, 11, 12, 13),
        2,
        ((13, 0, "image"), (4, 1, "plot")),
        ((3, "prior"), (4, "steps"), (11, "noise_seed")),
    ),
    "Restore a Face Towards an Attribute (SRDG)": Blueprint(
        "srdg_face",
        "Eight times larger towards an attribute, and how likely the small one has it. Needs no file.",
        (3, 4, 8),
        2,
        ((4, 0, "image"), (4, 1, "report"), (8, 0, "attributes")),
        ((3, "classifier"), (4, "prior"), (4, "attributes"), (4, "seed")),
    ),
    "Restore a Photograph (StableSR)": Blueprint(
        "stablesr_upscale",
        "Texture for heavily damaged pictures. Needs Stable Diffusion 2.1 and StableSR's two files.",
        (2, 3, 4, 5, 6, 7),
        1,
        ((7, 0, "image"), (7, 1, "report")),
        (
            *((2, "ckpt_name"), (5, "stablesr"), (6, "cfw"), (4, "text")),
            *((7, "scale"), (7, "seed"), (7, "steps"), (7, "fidelity")),
        ),
    ),
}


def made(name: str) -> dict:
    """The file of a blueprint: a workflow of one node, and the subgraph that it stands for.

    Raises ValueError for a result or a widget that the workflow's nodes lack.
    """
    one = MADE[name]
    workflow = json.loads((WORKFLOWS / f"{one.workflow}.json").read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"] if node["id"] in one.nodes}
    wide = max(node["pos"][0] + node["size"][0] for node in nodes.values())
    left, top = (min(node["pos"][i] for node in nodes.values()) for i in (0, 1))
    links, number = _links(one, workflow["links"], nodes), workflow["last_link_id"]
    outputs = []
    for slot, (origin, output, called) in enumerate(one.results):
        number += 1
        kind = nodes[origin]["outputs"][output]["type"]
        links.append(_link(number, origin, output, OUTSIDE, slot, kind))
        outputs.append(_socket(name, f"out {called}", called, kind, [number]))
    entered = [link["id"] for link in links if link["origin_id"] == INSIDE]
    inputs = [_socket(name, "in image", "image", "IMAGE", entered)]
    _relink(nodes, links)
    for node, widget in one.shown:
        kind = nodes[node]["type"]
        if widget not in [known["id"] for known in carried()[kind]["inputs"]]:
            raise ValueError(f"{name}: node {node} ({kind}) has no widget {widget!r}")
    identity = _id(name)
    subgraph = {
        "id": identity,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": workflow["last_node_id"],
            "lastLinkId": number,
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": name,
        "description": one.about,
        "category": "PriorSR",
        "inputNode": {"id": INSIDE, "bounding": [left - APART - 120, top, 120, 60]},
        "outputNode": {"id": OUTSIDE, "bounding": [wide + APART, top, 120, 40 + 20 * len(outputs)]},
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": list(nodes.values()),
        "groups": [],
        "links": links,
        "extra": {},
    }
    node = {
        "id": 1,
        "type": identity,
        "pos": [0, 0],
        "size": [360, 60 + 24 * (len(one.shown) + len(outputs))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": "image", "type": "IMAGE", "link": None}],
        "outputs": [{"name": o["name"], "type": o["type"], "links": []} for o in outputs],
        "properties": {"proxyWidgets": [[str(node), widget] for node, widget in one.shown]},
        "widgets_values": [],
        "title": name,
    }
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {},
    }


def _id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"priorsr/{text}"))


def _socket(name: str, what: str, called: str, kind: str, links: list[int]) -> dict:
    return {"id": _id(f"{name}/{what}"), "name": called, "type": kind, "linkIds": links}


def _link(number: int, origin: int, output: int, target: int, slot: int, kind: str) -> dict:
    return {
        "id": number,
        "origin_id": origin,
        "origin_slot": output,
        "target_id": target,
        "target_slot": slot,
        "type": kind,
    }


def _links(one: Blueprint, links: list[list], nodes: dict[int, dict]) -> list[dict]:
    """Those between the nodes, and those that the image enters by."""
    found = []
    for number, origin, output, target, slot, kind in links:
        if target in nodes and origin in nodes:
            found.append(_link(number, origin, output, target, slot, kind))
        elif target in nodes and (origin, output) == (one.entry, 0):
            found.append(_link(number, INSIDE, 0, target, slot, kind))
    return found


def _relink(nodes: dict[int, dict], links: list[dict]) -> None:
    """Sockets know the links that are left."""
    for node in nodes.values():
        for slot, socket in enumerate(node.get("inputs", ())):
            here = [o["id"] for o in links if (o["target_id"], o["target_slot"]) == (node["id"], slot)]
            socket["link"] = here[0] if here else None
        for slot, socket in enumerate(node.get("outputs", ())):
            socket["links"] = [
                o["id"] for o in links if (o["origin_id"], o["origin_slot"]) == (node["id"], slot)
            ]


def written(name: str) -> str:
    return json.dumps(made(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    BLUEPRINTS.mkdir(exist_ok=True)
    for name in MADE:
        (BLUEPRINTS / f"{name}.json").write_text(written(name), encoding="utf-8")
