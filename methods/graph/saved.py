"""From a saved workflow, which people open, to the graph that a server runs.

Widget values are paired with inputs by their order in the definitions; subgraphs are opened, what is muted is
left out, and links are followed through what is bypassed, reroutes and primitives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .definitions import DYNAMIC, Definitions, default_of, has_control, is_widget

NOTES = ("Note", "MarkdownNote")
VIRTUAL = (*NOTES, "Reroute", "PrimitiveNode")  # which the front end resolves before it sends a graph
MUTED, BYPASSED = 2, 4
INSIDE, OUTSIDE = "-10", "-20"  # the nodes by which a subgraph is entered and left
CONTROLS = ("fixed", "increment", "decrement", "randomize", "increment-wrap")
DEEPEST = 50  # subgraphs within each other, and links through what is no node

Graph = dict[str, dict]


@dataclass(frozen=True)
class Value:
    """What a link brings that comes from no node."""

    value: Any


@dataclass
class Scope:
    """The nodes and links of a workflow or of one use of a subgraph."""

    nodes: dict[str, dict]
    links: dict[int, tuple[str, int]]
    prefix: str = ""
    outer: Scope | None = None
    use: dict = field(default_factory=dict)  # the node that stands for the subgraph
    definition: dict = field(default_factory=dict)
    exits: dict[int, int] = field(default_factory=dict)  # the link to each output of a subgraph


def convert(workflow: Mapping, definitions: Definitions) -> Graph:
    """The graph in API form of a saved workflow, nodes by their ids ("10:3" for 3 in the subgraph of 10).

    Raises ValueError that names the node: unknown, or damaged.
    """
    kinds = {one["id"]: one for one in (workflow.get("definitions") or {}).get("subgraphs", [])}
    try:
        return dict(_Converter(definitions, kinds).converted(_scope(workflow), 0))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"the workflow is damaged: {type(error).__name__} {error}") from error


def _scope(content: Mapping, prefix: str = "", **more: Any) -> Scope:
    links, exits = {}, {}
    for link in content.get("links") or []:
        if isinstance(link, Mapping):
            key, origin, slot = link["id"], link["origin_id"], link["origin_slot"]
            target, place = link["target_id"], link["target_slot"]
        else:
            key, origin, slot, target, place = link[:5]
        links[key] = str(origin), slot
        if str(target) == OUTSIDE:
            exits[place] = key
    nodes = {str(node["id"]): node for node in content["nodes"]}
    return Scope(nodes, links, prefix, exits=exits, **more)


class _Converter:
    def __init__(self, definitions: Definitions, subgraphs: Mapping[str, dict]):
        self.definitions, self.subgraphs = definitions, subgraphs
        self.opened: dict[str, Scope] = {}

    def converted(self, scope: Scope, depth: int) -> Iterator[tuple[str, dict]]:
        if depth > DEEPEST:
            raise ValueError("the workflow's subgraphs hold each other: it cannot be run")
        for node in scope.nodes.values():
            if node["type"] in VIRTUAL or node.get("mode") in (MUTED, BYPASSED):
                continue
            if node["type"] in self.subgraphs:
                yield from self.converted(self.inside(scope, node), depth + 1)
            else:
                yield f"{scope.prefix}{node['id']}", self.node(scope, node)

    def inside(self, scope: Scope, node: dict) -> Scope:
        """The subgraph that a node stands for."""
        prefix = f"{scope.prefix}{node['id']}:"
        if prefix not in self.opened:
            definition = self.subgraphs[node["type"]]
            self.opened[prefix] = _scope(definition, prefix, outer=scope, use=node, definition=definition)
        return self.opened[prefix]

    def node(self, scope: Scope, node: dict) -> dict:
        kind, name = node["type"], f"{scope.prefix}{node['id']}"
        if kind not in self.definitions:
            raise ValueError(unknown_node(kind, name))
        definition = self.definitions[kind]
        inputs = self.widgets(node, definition["inputs"], f"node {name} ({kind})")
        inputs |= _proxied(scope, node, inputs)
        for socket in node.get("inputs") or []:
            if socket.get("link") is None:
                continue
            found = self.origin(scope, socket["link"], 0)
            if isinstance(found, Value):
                inputs[socket["name"]] = _wrapped(found.value)
            elif found is not None:
                inputs[socket["name"]] = found
        title = node.get("title") or definition.get("display_name") or kind
        return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}

    def widgets(self, node: dict, inputs: list[dict], where: str) -> dict[str, Any]:
        values = node.get("widgets_values")
        if isinstance(values, Mapping):
            values = dict(values)
            return dict(_named(inputs, values))
        return dict(_paired(inputs, list(values or []), where))

    def origin(self, scope: Scope, link: int, depth: int) -> list | Value | None:
        """What a link brings: a node's id and output, a value, or nothing."""
        if depth > DEEPEST or link not in scope.links:
            return None
        origin, slot = scope.links[link]
        if origin == INSIDE:
            return self.entered(scope, link, slot, depth)
        node = scope.nodes[origin]
        if node.get("mode") == MUTED or node["type"] in NOTES:
            return None
        if node["type"] == "PrimitiveNode":
            values = node.get("widgets_values")
            return Value(values[0]) if values else None
        if node["type"] == "Reroute" or node.get("mode") == BYPASSED:
            through = _through(node, slot)
            return None if through is None else self.origin(scope, through, depth + 1)
        if node["type"] in self.subgraphs:
            inner = self.inside(scope, node)
            return self.origin(inner, inner.exits[slot], depth + 1) if slot in inner.exits else None
        return [f"{scope.prefix}{origin}", slot]

    def entered(self, scope: Scope, link: int, slot: int, depth: int) -> list | Value | None:
        """What comes in by an input of a subgraph: by a link from outside, or of its own widget."""
        entry = scope.definition["inputs"][slot] if slot < len(scope.definition["inputs"]) else None
        if scope.outer is None or entry is None or link not in (entry.get("linkIds") or [link]):
            return None  # a link that was left over when the subgraph's inputs changed
        name = entry["name"]
        for socket in scope.use.get("inputs") or []:
            if socket["name"] == name and socket.get("link") is not None:
                found = self.origin(scope.outer, socket["link"], depth + 1)
                if found is not None:
                    return found
        outer = _proxied(scope.outer, scope.use, {name})
        if name in outer:
            return Value(outer[name])
        values = _promoted(scope)
        return Value(values[name]) if name in values else None


def unknown_node(kind: str, name: str) -> str:
    return (
        f"node {name} is of the kind {kind}, which is not known here: add --server URL or --comfyui DIR of a "
        "ComfyUI that has it"
    )


def _through(node: dict, slot: int) -> int | None:
    """The link that a node which does nothing lets through to an output: of its type, in its place first."""
    inputs = node.get("inputs") or []
    if node["type"] == "Reroute":
        return inputs[0].get("link") if inputs else None
    kind = node["outputs"][slot]["type"]
    fitting = [i for i, one in enumerate(inputs) if one["type"] == kind or "*" in (one["type"], kind)]
    exact = [i for i in fitting if inputs[i]["type"] == kind]
    chosen = slot if slot in fitting else next(iter([*exact, *fitting]), None)
    return None if chosen is None else inputs[chosen].get("link")


def _promoted(scope: Scope) -> dict[str, Any]:
    """What the widgets on a subgraph's node say, by the inputs of the subgraph."""
    values, proxies = scope.use.get("widgets_values"), _proxies(scope.use)
    if not isinstance(values, list) or not values:
        return {}
    if proxies:
        return {name: v for (key, name), v in zip(proxies, values, strict=False) if key == "-1"}
    targets = {
        link: socket
        for node in scope.nodes.values()
        for socket in node.get("inputs") or []
        if (link := socket.get("link")) is not None
    }
    names = []
    for one in scope.definition["inputs"]:
        reached = [targets[link] for link in one.get("linkIds") or [] if link in targets]
        if any("widget" in socket for socket in reached):
            names.append(one["name"])
    return {name: v for name, v in zip(names, values, strict=False) if v is not None}


def _proxied(scope: Scope, node: dict, names: Any) -> dict[str, Any]:
    """Values of a node within a subgraph that the node of the subgraph holds in its place."""
    values, proxies = scope.use.get("widgets_values"), _proxies(scope.use)
    if not isinstance(values, list):
        return {}
    pairs = zip(proxies, values, strict=False)
    return {n: v for (key, n), v in pairs if key == str(node["id"]) and n in names and v is not None}


def _proxies(node: dict) -> list[tuple[str, str]]:
    listed = (node.get("properties") or {}).get("proxyWidgets") or []
    return [(str(one[0]), one[1]) for one in listed]


def _wrapped(value: Any) -> Any:
    """A value that a server does not take for a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _paired(inputs: list[dict], values: list, where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The ordered widget values of a node by the inputs' full names; those that are newer than the workflow
    are at their defaults. Values are taken out of `values`.
    """
    uploads = 0
    inputs = sorted(inputs, key=lambda one: bool(one.get("optional")))  # as the front end has them
    for i, one in enumerate(inputs):
        if is_widget(one):
            name = prefix + one["id"]
            value = values.pop(0) if values else None
            value = default_of(one) if value is None else value
            yield name, _wrapped(value)
            if has_control(one) and values and values[0] in CONTROLS:
                values.pop(0)
            uploads += bool(one.get("upload"))
            if one["type"] == DYNAMIC:
                nested = one["options"].get(value) if isinstance(value, str) else None
                if nested is None:
                    known = ", ".join(one["options"])
                    raise ValueError(f"{where}: there is no {name} {value!r}: choose from {known}")
                yield from _paired(nested, values, where, f"{name}.")
        last = i + 1 == len(inputs) or (inputs[i + 1].get("optional") and not one.get("optional"))
        while uploads and last and values:
            values.pop(0)  # of the button that the front end puts after the required widgets
            uploads -= 1


def _named(inputs: list[dict], values: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The same of values that are saved by their names."""
    for one in inputs:
        if not is_widget(one):
            continue
        name = prefix + one["id"]
        value = values.get(name, default_of(one))
        yield name, _wrapped(value)
        if one["type"] == DYNAMIC:
            yield from _named(one["options"].get(value, []), values, f"{name}.")
