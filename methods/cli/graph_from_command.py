"""The workflow that does what a command with one picture does: load, enlarge or restore faces, save."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..graph.definitions import DYNAMIC, Definitions, carried, defaults, with_nested
from ..graph.layout import saved_form
from ..imaging.region import Box
from ..method import AUTO, Method
from ..registry import method_named
from .graph_from_faces import faces_node
from .graph_names import check_elsewhere, file_of, names_of, settings_of
from .options import log

SAVED = {"upscale": "upscaled", "restore-faces": "faces"}  # commands that have a workflow, its results' name
CUSTOM = "custom"  # the preset of nodes by which every widget counts


def workflow_of(command: Sequence[str], api: bool = False) -> dict:
    """A workflow, or with `api` a graph.

    Raises ValueError for what a node cannot say, SystemExit 2 for what is no command.
    """
    from .main import build_parser

    if not command or command[0] not in SAVED:
        raise ValueError(
            f"only {' and '.join(SAVED)} have a workflow: write from-command upscale METHOD IN OUT ..."
        )
    parser, known = build_parser(command[0]), carried()
    options = parser.parse_args(list(command))
    check_elsewhere(options)
    if command[0] == "upscale":
        kind, inputs = _upscale_node(options, known)
    else:
        plain = parser.parse_args([command[0], options.method, options.source, options.destination])
        kind, inputs = faces_node(options, plain, known)
    _beware_of_alpha(Path(options.source))
    image = options.source if Path(options.source).is_file() else "example.png"
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": kind, "inputs": {**inputs, "image": ["1", 0]}},
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": f"PriorSR/{SAVED[command[0]]}"},
        },
    }
    if options.region and Box.FORM.fullmatch(options.region):
        raise ValueError(
            f"a workflow takes its region from a picture, not from {options.region}: draw it in the mask "
            "editor of Load Image, or give a picture that is white there"
        )
    if options.region:
        nodes["4"] = {"class_type": "LoadImageMask", "inputs": {"image": options.region, "channel": "red"}}
        nodes["2"]["inputs"] |= {"region": ["4", 0], "feather": options.feather}
    if not api:
        return saved_form(nodes, known)
    return {
        key: {**one, "_meta": {"title": known[one["class_type"]]["display_name"]}}
        for key, one in nodes.items()
    }


def _upscale_node(options: argparse.Namespace, known: Definitions) -> tuple[str, dict[str, Any]]:
    """The node of an upscaling method and the values of its widgets. Raises ValueError."""
    method = method_named(options.method)
    node = known.get(method.node_id)
    if node is None:
        raise ValueError(f"{method.name} is another package's, whose node is not known here")
    if any(one["type"] == "MODEL" for one in node["inputs"]):
        raise ValueError(
            f"the node of {method.name} runs a model that the host loads: begin with a workflow of "
            f"example_workflows/ whose name begins with {method.name}"
        )
    return method.node_id, _inputs(method, node, options)


def _beware_of_alpha(source: Path) -> None:
    from ..imaging.images import read_head

    if source.is_file() and read_head(source).alpha:
        log.warning("%s is transparent: Load Image gives that as a mask, and the result is opaque", source)


def _inputs(method: Method, node: Mapping, options: argparse.Namespace) -> dict[str, Any]:
    """The values of the method's node."""
    inputs = defaults(node["inputs"])
    for one in method.weights:
        value = getattr(options, one.name, None) or one.default
        if value:
            inputs[one.name] = file_of(value, one)
        elif not one.many:
            raise ValueError(f"{method.name} needs --{one.name.replace('_', '-')}: {one.help}")
    inputs["scale"] = options.scale
    inputs["longest"] = options.longest or 0
    if "seed" in inputs:
        inputs["seed"] = options.seed
    values = {n: v for n in method.fields() if (v := getattr(options, f"method_{n}", None)) is not None}
    names = names_of(method, values, node)
    if method.presets:
        inputs["preset"] = options.preset
        widgets = dict(with_nested(node["inputs"], inputs))
        plain = all(v != method.fields()[n].default and names[n] in widgets for n, v in values.items())
        if not plain:
            values = _resolved(method, options, values)
            names = names_of(method, values, node)
            inputs["preset"] = CUSTOM
            preset = next(one for one in node["inputs"] if one["id"] == "preset")
            nested = preset["options"][CUSTOM] if preset["type"] == DYNAMIC else []
            names |= {one["id"]: f"preset.{one['id']}" for one in nested}
            inputs |= {f"preset.{name}": v for name, v in defaults(nested).items()}
    for name, value in values.items():
        inputs[names[name]] = value
    return inputs


def _resolved(method: Method, options: argparse.Namespace, values: Mapping) -> dict[str, Any]:
    """Every setting that decides the picture, as the preset resolves it at the command's scale.

    Raises ValueError where a node with all of them would not do the same.
    """
    files = {one.name: v for one in method.weights if (v := getattr(options, one.name, None))}
    if options.longest is not None:
        raise ValueError("a preset resolves by the scale: give --scale in place of --longest")
    wanted = settings_of(method, files, options.preset, values, options.scale)
    whole = {**{name: f.default for name, f in method.fields().items()}, **values, **wanted}
    if settings_of(method, files, AUTO, whole, options.scale) != wanted:
        raise ValueError(
            f"the node of {method.name} cannot say this: it takes a setting at its default for one that the "
            "preset decides; give the preset alone, or other values"
        )
    return whole
