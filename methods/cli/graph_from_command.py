"""The workflow that does what `priorsr upscale METHOD IN OUT` does: load, enlarge, save."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import weights
from ..graph.definitions import DYNAMIC, carried, defaults, with_nested
from ..graph.layout import saved_form
from ..inputs import WeightInput
from ..method import AUTO, Method
from ..registry import method_named
from .options import log

CUSTOM = "custom"  # the preset of nodes by which every widget counts
ELSEWHERE = ("compile", "memory")  # options that change how networks compute, for which nodes have no input


def workflow_of(command: Sequence[str], api: bool = False) -> dict:
    """A workflow, or with `api` a graph.

    Raises ValueError for what a node cannot say, SystemExit 2 for what is no command.
    """
    from .main import build_parser

    if not command or command[0] != "upscale":
        raise ValueError("only upscale has a workflow: write from-command upscale METHOD IN OUT ...")
    options = build_parser("upscale").parse_args(list(command))
    method, known = method_named(options.method), carried()
    node = known.get(method.node_id)
    if node is None:
        raise ValueError(f"{method.name} is another package's, whose node is not known here")
    if any(one["type"] == "MODEL" for one in node["inputs"]):
        raise ValueError(
            f"the node of {method.name} runs a model that the host loads: begin with a workflow of "
            f"example_workflows/ whose name begins with {method.name}"
        )
    _check_elsewhere(options)
    _beware_of_alpha(Path(options.source))
    image = options.source if Path(options.source).is_file() else "example.png"
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": method.node_id, "inputs": {**_inputs(method, node, options), "image": ["1", 0]}},
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": "PriorSR/upscaled"},
        },
    }
    if options.region:
        nodes["4"] = {"class_type": "LoadImageMask", "inputs": {"image": options.region, "channel": "red"}}
        nodes["2"]["inputs"] |= {"region": ["4", 0], "feather": options.feather}
    if not api:
        return saved_form(nodes, known)
    return {
        key: {**one, "_meta": {"title": known[one["class_type"]]["display_name"]}}
        for key, one in nodes.items()
    }


def _check_elsewhere(options: argparse.Namespace) -> None:
    for name in ELSEWHERE:
        if getattr(options, name):
            raise ValueError(f"--{name} has no input of a node, which would compute otherwise: leave it out")
    if options.precision not in ("auto", "fp32"):
        raise ValueError(f"nodes compute in fp32, not in {options.precision}: leave --precision out")


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
            inputs[one.name] = _file(value, one)
        elif not one.many:
            raise ValueError(f"{method.name} needs --{one.name.replace('_', '-')}: {one.help}")
    inputs["scale"] = options.scale
    inputs["longest"] = options.longest or 0
    if "seed" in inputs:
        inputs["seed"] = options.seed
    values = {n: v for n in method.fields() if (v := getattr(options, f"method_{n}", None)) is not None}
    names = _names(method, values, node)
    if method.presets:
        inputs["preset"] = options.preset
        widgets = dict(with_nested(node["inputs"], inputs))
        plain = all(v != method.fields()[n].default and names[n] in widgets for n, v in values.items())
        if not plain:
            values = _resolved(method, options, values)
            names = _names(method, values, node)
            inputs["preset"] = CUSTOM
            preset = next(one for one in node["inputs"] if one["id"] == "preset")
            nested = preset["options"][CUSTOM] if preset["type"] == DYNAMIC else []
            names |= {one["id"]: f"preset.{one['id']}" for one in nested}
            inputs |= {f"preset.{name}": v for name, v in defaults(nested).items()}
    for name, value in values.items():
        inputs[names[name]] = value
    return inputs


def _names(method: Method, values: Mapping, node: Mapping) -> dict[str, str]:
    """What the node calls settings. Raises ValueError for one that it has not."""
    known = {one["id"] for one in node["inputs"]}
    nested = {
        one["id"]
        for dynamic in node["inputs"]
        if dynamic["type"] == DYNAMIC
        for some in dynamic["options"].values()
        for one in some
    }
    called = {name: name for name in values}
    if strange := [name for name in values if name not in known | nested]:
        called |= _layout_names(method)
        if lost := [name for name in strange if called[name] not in known]:
            raise ValueError(f"the node of {method.name} has no input for --{lost[0].replace('_', '-')}")
    return called


def _layout_names(method: Method) -> Mapping[str, str]:
    """Settings that the nodes call otherwise, which only the nodes know."""
    from contextlib import closing

    from ..graph.standin.engine import PACKAGE, StandIn

    with closing(StandIn()):
        return dict(sys.modules[f"{PACKAGE}.upscale"].layout_of(method).names)


def _resolved(method: Method, options: argparse.Namespace, values: Mapping) -> dict[str, Any]:
    """Every setting that decides the picture, as the preset resolves it at the command's scale.

    Raises ValueError where a node with all of them would not do the same.
    """
    files = {one.name: v for one in method.weights if (v := getattr(options, one.name, None))}
    if options.longest is not None:
        raise ValueError("a preset resolves by the scale: give --scale in place of --longest")
    wanted = _settings(method, files, options.preset, values, options.scale)
    whole = {**{name: f.default for name, f in method.fields().items()}, **values, **wanted}
    if _settings(method, files, AUTO, whole, options.scale) != wanted:
        raise ValueError(
            f"the node of {method.name} cannot say this: it takes a setting at its default for one that the "
            "preset decides; give the preset alone, or other values"
        )
    return whole


def _settings(method: Method, files: Mapping, preset: str, values: Mapping, scale: float) -> dict[str, Any]:
    settings = getattr(method.prepare(files, preset, values), "settings", None)
    settings = settings(scale) if callable(settings) else settings
    if settings is None:
        raise ValueError(f"{method.name} does not tell what its preset resolves to: give the preset alone")
    known = method.fields()
    return {name: value for name, value in vars(settings).items() if name in known}


def _file(value: Any, one: WeightInput) -> str:
    """What a widget calls a weight file: a word, a shipped name, or its place in a models folder."""
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"a node takes one {one.name}: link the others by nodes that load them")
        value = value[0]
    if value in one.names() or not value:
        return value
    path = weights.locate(value).resolve()
    for folder in weights.folders():
        if folder.resolve() in path.parents:
            return path.relative_to(folder.resolve()).as_posix()
    raise ValueError(
        f"{value} is in no models folder: put it into one of PRIORSR_MODELS, where nodes find it"
    )
