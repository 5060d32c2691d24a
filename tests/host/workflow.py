"""From a saved workflow (what people open) to the API graph (what the server runs), by the server's own node
definitions.
"""

from __future__ import annotations

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def widgets(specs: dict, values: list, prefix: str = ""):
    """Pair the ordered widget values of a node with its inputs, nested ones of dynamic combos included."""
    for group in ("required", "optional"):
        for name, spec in specs.get(group, {}).items():
            if group == "optional" and not values:
                return  # inputs that are newer than the workflow
            kind, options = spec[0], spec[1] if len(spec) > 1 else {}
            if kind == "COMFY_DYNAMICCOMBO_V3":
                key = values.pop(0)
                yield prefix + name, key
                chosen = next(o for o in options["options"] if o["key"] == key)
                yield from widgets(chosen["inputs"], values, f"{prefix}{name}.")
            elif (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput"):
                yield prefix + name, values.pop(0)
                if options.get("control_after_generate") or options.get("image_upload"):
                    values.pop(0)


def to_graph(workflow: dict, definitions: dict) -> dict:
    """Raises AssertionError when a node is unknown or its widget values do not fit the definition."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        if node["type"] in ("Note", "MarkdownNote"):
            continue
        assert node["type"] in definitions, f"{node['type']} is no node of this server"
        values = list(node.get("widgets_values", []))
        inputs = dict(widgets(definitions[node["type"]]["input"], values))
        assert not values, f"{node['type']} has surplus widget values {values}"
        for socket in node.get("inputs", []):
            if socket.get("link") is not None:
                inputs[socket["name"]] = links[socket["link"]]
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph
