"""A stand-in of the host, as far as the nodes of the pack need it to be built and run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

from . import node_api
from .node_api import ComfyNode, Input
from .services import Cancelled, Host

__all__ = ["Cancelled", "Host", "arguments", "execute", "installed"]
START = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}  # of widgets without a default


@contextmanager
def installed(models: Path, package: str) -> Iterator[tuple[Host, ModuleType]]:
    """A host and the package of nodes imported on it; afterwards neither is left in sys.modules."""
    host = Host(models)
    modules = {"comfy_api": ModuleType("comfy_api"), "comfy_api.latest": node_api, **host.modules()}
    if taken := [name for name in (*modules, package) if name in sys.modules]:
        raise RuntimeError(f"{taken} are there already: the stand-in comes first or never")
    sys.modules.update(modules)
    try:
        yield host, importlib.import_module(package)
    finally:
        for name in [name for name in sys.modules if name in modules or f"{name}.".startswith(f"{package}.")]:
            del sys.modules[name]
        parent, _, name = package.rpartition(".")
        vars(sys.modules[parent]).pop(name, None)


def execute(node: type[ComfyNode], **given: object) -> tuple:
    """The outputs of a node for values by input, "tiles.overlap" for nested ones; the others are defaults."""
    called = arguments(node, **given)
    with torch.inference_mode():
        return node.execute(**called).args


def arguments(node: type[ComfyNode], **given: object) -> dict:
    """What the host calls a node with."""
    taken = _arguments(node.GET_SCHEMA().inputs, given)
    if given:
        raise ValueError(f"{node.__name__} has no inputs {', '.join(given)}")
    return taken


def _arguments(inputs: Sequence[Input], given: dict, prefix: str = "") -> dict:
    """What a node is called with, taken out of `given`. Raises ValueError for what the host refuses."""
    taken = {}
    for one in inputs:
        name, dynamic = prefix + one.id, one.io_type == node_api.io.DynamicCombo.io_type
        if name in given:
            value = given.pop(name)
        elif one.io_type in START or one.options:
            first = one.options[0] if one.options else START[one.io_type]
            value = (first.key if dynamic else first) if one.default is None else one.default
        elif one.optional:
            continue
        else:
            raise ValueError(f"{name} is not connected")
        if dynamic:
            option = next((option for option in one.options if option.key == value), None)
            if option is not None:  # the host lets unknown keys pass, and the node gets nothing then
                taken[one.id] = {one.id: value, **_arguments(option.inputs, given, f"{name}.")}
            continue
        if one.options and value not in one.options:
            raise ValueError(f"{name} {value!r} is none of {list(one.options)}")
        if (one.min is not None and value < one.min) or (one.max is not None and value > one.max):
            raise ValueError(f"{name} {value} is outside {one.min} to {one.max}")
        taken[one.id] = value
    return taken
