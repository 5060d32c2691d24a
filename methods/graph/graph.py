"""A graph whose inputs can be looked at, set and checked, by the definitions of its nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..settings import nearest
from .definitions import DYNAMIC, Definitions, carried, defaults, is_widget, with_nested
from .files import read_flow
from .saved import convert, unknown_node
from .values import Exists, is_link, misfit, parsed

LOADERS = ("LoadImage", "LoadImageMask")
SAMPLE = "PriorSRSamplePicture"  # gives way to a picture that is given


@dataclass
class Graph:
    """Nodes by their ids, in the form that a server runs, with the definitions they are read by.

    path: the file that they come from, beside which the pictures that they name may lie.
    """

    nodes: dict[str, dict]
    definitions: Definitions = field(default_factory=carried, repr=False)
    path: Path | None = None

    def find(self, node: str) -> str:
        """The id of a node that is called by its id, its title or its type.

        Raises ValueError where there is none, or where several have that title or type.
        """
        if node in self.nodes:
            return node
        titled = [key for key, one in self.nodes.items() if self.title(key) == node]
        found = titled or [key for key, one in self.nodes.items() if one["class_type"] == node]
        if len(found) > 1:
            what = "title" if titled else "type"
            raise ValueError(f"{len(found)} nodes have the {what} {node!r}: give an id, {' or '.join(found)}")
        if not found:
            names = [
                *self.nodes,
                *(one["class_type"] for one in self.nodes.values()),
                *map(self.title, self.nodes),
            ]
            raise ValueError(f"there is no node {node!r}{nearest(node, list(dict.fromkeys(names)))}")
        return found[0]

    def title(self, key: str) -> str:
        """What a node is called: its own title, else what its kind is called."""
        one = self.nodes[key]
        told = self.definitions.get(one["class_type"], {}).get("display_name", "")
        return (one.get("_meta") or {}).get("title") or told or one["class_type"]

    def name(self, key: str) -> str:
        """How a complaint calls a node."""
        title = self.title(key)
        return f"node {key} ({title})" if title else f"node {key}"

    def set(self, name: str, value: Any) -> Graph:
        """The same with "NODE.INPUT" at a value; NODE as `find`, INPUT with dots within dynamic combos.

        What was linked there is not any more. Raises ValueError that says what is allowed.
        """
        key, wanted = self._split(name)
        inputs, one = self.nodes[key]["inputs"], self._input(key, wanted)
        if not is_widget(one):
            raise ValueError(f"{self.name(key)}: {wanted} takes a link of {one['type']}, not a value")
        value = parsed(one, value) if isinstance(value, str) else value
        if text := misfit(one, value, lambda folder, file: True):
            raise ValueError(f"{self.name(key)}: {wanted} {text}")
        if one["type"] == DYNAMIC:
            for old in [n for n in inputs if n.startswith(f"{wanted}.")]:
                del inputs[old]
            inputs |= defaults(one["options"][value], f"{wanted}.")
        inputs[wanted] = value
        return self

    def _split(self, name: str) -> tuple[str, str]:
        places = [i for i, mark in enumerate(name) if mark == "."]
        error = ValueError(
            f"{name!r} is not NODE.INPUT: give the id, title or type of a node and one of its inputs"
        )
        for i in reversed(places):  # titles may have dots
            try:
                key = self.find(name[:i])
            except ValueError as failed:
                error = failed
                continue
            return key, name[i + 1 :]
        raise error

    def _input(self, key: str, wanted: str) -> Mapping:
        known = dict(self.described(key))
        if wanted not in known:
            widgets = [name for name, one in known.items() if is_widget(one)]
            raise ValueError(f"{self.name(key)} has no input {wanted!r}{nearest(wanted, widgets)}")
        return known[wanted]

    def described(self, key: str) -> Iterator[tuple[str, Mapping]]:
        """The inputs of a node by their full names. Raises ValueError for a node of an unknown kind."""
        one = self.nodes[key]
        if one["class_type"] not in self.definitions:
            raise ValueError(unknown_node(one["class_type"], key))
        return with_nested(self.definitions[one["class_type"]]["inputs"], one["inputs"])

    def inputs(self) -> list[dict]:
        """What can be set: node, title, kind, input, type, value, and limits or choices if there are any."""
        rows = []
        for key, node in self.nodes.items():
            for name, one in self.described(key):
                if not is_widget(one):
                    continue
                row = {"node": key, "title": self.title(key), "kind": node["class_type"], "input": name}
                row |= {"type": "COMBO" if one["type"] == DYNAMIC else one["type"]}
                row |= {"value": node["inputs"].get(name, one.get("default"))}
                row |= {limit: one[limit] for limit in ("min", "max") if limit in one}
                if one.get("options"):
                    row["choices"] = list(one["options"])
                if one.get("files"):
                    row["files"] = one["files"]
                rows.append(row)
        return rows

    def seeds(self) -> list[tuple[str, str]]:
        """The node and input of every seed that is a value."""
        return [
            (key, name)
            for key, node in self.nodes.items()
            if node["class_type"] in self.definitions
            for name, one in self.described(key)
            if one["type"] == "INT"
            and one.get("control_after_generate")
            and isinstance(node["inputs"].get(name), int)
        ]

    def loaders(self) -> list[str]:
        """The nodes that load a picture whose name is a value."""
        return [
            key
            for key, node in self.nodes.items()
            if node["class_type"] in LOADERS and isinstance(node["inputs"].get("image"), str)
        ]

    def load_in_place_of(self, key: str) -> None:
        """Load a picture where a sample was. Raises ValueError where the sample's original is used too."""
        if any(link == [key, 1] for node in self.nodes.values() for link in map(list, _links(node))):
            raise ValueError(f"{self.name(key)} gives its original too: put a Load Image in its place")
        self.nodes[key] = {"class_type": LOADERS[0], "inputs": {"image": "in place of a sample"}}

    def picture_path(self, key: str) -> Path | None:
        """The file on this machine that a loader names: as it is, or beside the graph's own file."""
        name = self.nodes[key]["inputs"]["image"]
        places = [Path(name), *([self.path.parent / name] if self.path else [])]
        return next((place for place in places if place.is_file()), None)

    def problems(self, exists: Exists) -> list[str]:
        """A sentence for everything that keeps the graph from running: kinds, links, values, files."""
        found = [sentence for key in self.nodes for sentence in self._problems_of(key, exists)]
        kinds = [self.definitions.get(one["class_type"]) for one in self.nodes.values()]
        if all(kinds) and not any(kind and kind["output_node"] for kind in kinds):
            found.append("no node saves or shows anything: add a Save Image")
        if self._circular():
            found.append("the graph's links go in a circle: it cannot be run")
        return found

    def _problems_of(self, key: str, exists: Exists) -> Iterator[str]:
        node, name = self.nodes[key], self.name(key)
        if node["class_type"] not in self.definitions:
            yield unknown_node(node["class_type"], key)
            return
        known = dict(self.described(key))
        for wanted, one in known.items():
            if wanted not in node["inputs"]:
                if not one.get("optional"):
                    lacks = "has no value" if is_widget(one) else "is not connected"
                    yield f"{name}: {wanted} {lacks}"
                continue
            value = node["inputs"][wanted]
            text = self._link_misfit(one, value) if is_link(value) else misfit(one, value, exists)
            if text:
                yield f"{name}: {wanted} {text}"
        if node["class_type"].startswith("PriorSR"):
            for strange in [one for one in node["inputs"] if one not in known]:
                yield f"{name} has no input {strange!r}{nearest(strange, list(known))}"

    def _link_misfit(self, one: Mapping, link: list) -> str:
        if link[0] not in self.nodes:
            return f"comes from node {link[0]}, which there is not"
        kind = self.definitions.get(self.nodes[link[0]]["class_type"])
        if kind is None:
            return ""
        if link[1] >= len(kind["outputs"]):
            return f"comes from output {link[1]} of {self.name(link[0])}, which has {len(kind['outputs'])}"
        given, wanted = kind["outputs"][link[1]]["type"], one["type"]
        free = "*" in (given, wanted) or wanted.startswith("COMFY_") or "COMBO" in (given, wanted)
        if free or set(given.split(",")) & set(wanted.split(",")):
            return ""
        return f"takes {wanted}, and {self.name(link[0])} gives {given}"

    def _circular(self) -> bool:
        waiting = {
            key: {link[0] for link in _links(node)} & set(self.nodes) for key, node in self.nodes.items()
        }
        while ready := [key for key, needs in waiting.items() if not needs & waiting.keys()]:
            for key in ready:
                del waiting[key]
        return bool(waiting)

    def to_json(self) -> str:
        """The graph in API form."""
        return json.dumps(self.nodes, indent=1, ensure_ascii=False)


def _links(node: Mapping) -> list:
    return [value for value in node["inputs"].values() if is_link(value)]


def load(flow: str | os.PathLike | Mapping, definitions: Definitions | None = None) -> Graph:
    """The graph of a file (`files.read_flow`), or of what such a file says.

    definitions: of a server, where the graph has nodes of which the package has none. Raises
    FileNotFoundError and ValueError that name the file or the node.
    """
    known = carried() if definitions is None else definitions
    path = None if isinstance(flow, Mapping) else Path(flow)
    found = dict(flow) if isinstance(flow, Mapping) else read_flow(flow)
    if "nodes" in found and isinstance(found["nodes"], list):
        return Graph(convert(found, known), known, path)
    nodes = {
        str(key): {**node, "inputs": dict(node["inputs"])}
        for key, node in found.items()
        if "class_type" in node
    }
    return Graph(nodes, known, path)
