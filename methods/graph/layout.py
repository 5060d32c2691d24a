"""From a graph in API form to a workflow that people open: nodes in columns, by what they wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .definitions import DYNAMIC, Definitions, has_control, is_widget
from .values import is_link

WIDTH, GAP, TOP = 340, 60, 120
HEAD, ROW = 60, 26  # pixels of a node's frame and of one of its lines
PICTURE = 260  # of a node that shows one


def saved_form(nodes: Mapping[str, Mapping], definitions: Definitions) -> dict:
    """A workflow of format 0.4 whose conversion gives the same graph. Ids must be numbers."""
    columns: dict[str, int] = {}
    for key in nodes:
        _column(key, nodes, columns)
    links: list[list] = []
    made, below = [], dict.fromkeys(columns.values(), TOP)
    for key, node in nodes.items():
        definition = definitions[node["class_type"]]
        sockets = []
        for one in definition["inputs"]:
            value = node["inputs"].get(one["id"])
            if is_widget(one) and not is_link(value):
                continue
            link = None
            if is_link(value):
                link = len(links) + 1
                links.append([link, int(value[0]), value[1], int(key), len(sockets), one["type"]])
            socket = {"name": one["id"], "type": one["type"], "link": link}
            if is_widget(one):
                socket["widget"] = {"name": one["id"]}
            sockets.append({**socket, **({"shape": 7} if one.get("optional") else {})})
        values = list(_values(definition["inputs"], node["inputs"]))
        height = HEAD + ROW * max(len(sockets) + len(values), len(definition["outputs"]))
        height += (
            PICTURE if "Image" in node["class_type"] and not node["class_type"].startswith("PriorSR") else 0
        )
        place = [40 + columns[key] * (WIDTH + GAP), below[columns[key]]]
        below[columns[key]] += height + GAP
        made.append(
            {
                "id": int(key),
                "type": node["class_type"],
                "pos": place,
                "size": [WIDTH, height],
                "flags": {},
                "order": len(made),
                "mode": 0,
                "inputs": sockets,
                "outputs": [
                    {"name": o["name"], "type": o["type"], "links": []} for o in definition["outputs"]
                ],
                "properties": {"Node name for S&R": node["class_type"]},
                "widgets_values": values,
            }
        )
    by_id = {one["id"]: one for one in made}
    for link, origin, slot, *_ in links:
        by_id[origin]["outputs"][slot]["links"].append(link)
    last = max((one["id"] for one in made), default=0)
    whole: dict[str, Any] = {"last_node_id": last, "last_link_id": len(links), "nodes": made, "links": links}
    return {**whole, "groups": [], "config": {}, "extra": {}, "version": 0.4}


def _column(key: str, nodes: Mapping[str, Mapping], columns: dict[str, int]) -> int:
    if key not in columns:
        above = [value[0] for value in nodes[key]["inputs"].values() if is_link(value)]
        columns[key] = max((_column(one, nodes, columns) + 1 for one in above), default=0)
    return columns[key]


def _values(inputs: list[dict], values: Mapping, prefix: str = "") -> Iterator[Any]:
    """The widget values in the front end's order."""
    uploads = 0
    ordered = sorted(inputs, key=lambda one: bool(one.get("optional")))
    for i, one in enumerate(ordered):
        if is_widget(one):
            value = values.get(prefix + one["id"])
            yield one.get("default") if is_link(value) else value
            if has_control(one):
                yield "fixed"
            uploads += bool(one.get("upload"))
            if one["type"] == DYNAMIC:
                yield from _values(one["options"].get(value, []), values, f"{prefix}{one['id']}.")
        if i + 1 == len(ordered) or (ordered[i + 1].get("optional") and not one.get("optional")):
            yield from ["image"] * uploads
            uploads = 0
