"""What commands call weights and settings, as nodes call them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from .. import weights
from ..graph.definitions import DYNAMIC
from ..inputs import WeightInput
from ..method import Method

ELSEWHERE = ("compile", "memory")  # options that change how networks compute, for which nodes have no input


def check_elsewhere(options: argparse.Namespace) -> None:
    """Raises ValueError for what no node could be told."""
    for name in ELSEWHERE:
        if getattr(options, name, None):
            raise ValueError(f"--{name} has no input of a node, which would compute otherwise: leave it out")
    if options.precision not in ("auto", "fp32"):
        raise ValueError(f"nodes compute in fp32, not in {options.precision}: leave --precision out")


def names_of(method: Method, values: Mapping, node: Mapping) -> dict[str, str]:
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
        called |= layout_names(method)
        if lost := [name for name in strange if called[name] not in known]:
            raise ValueError(f"the node of {method.name} has no input for --{lost[0].replace('_', '-')}")
    return called


def layout_names(method: Method) -> Mapping[str, str]:
    """Settings that the nodes call otherwise, which only the nodes know."""
    with _nodes() as module:
        return dict(module("upscale").layout_of(method).names)


def face_names(method: Method, widgets: Container[str]) -> dict[str, str]:
    """What the choice of a method for faces calls its settings: those of its widgets that differ."""
    with _nodes() as module:
        own = dict(module("upscale").layout_of(method).names)
        called = module("restore_faces").NAMES
        return own | {setting: name for name, setting in called.items() if name in widgets}


@contextmanager
def _nodes() -> Iterator[Callable[[str], Any]]:
    """The modules of the nodes by their names, as long as the block lasts."""
    from ..graph.standin.engine import PACKAGE, StandIn

    with closing(StandIn()):
        yield lambda name: sys.modules[f"{PACKAGE}.{name}"]


def settings_of(method: Method, files: Mapping, preset: str, values: Mapping, scale: float) -> dict[str, Any]:
    """What a preset resolves to at a scale. Raises ValueError."""
    settings = getattr(method.prepare(files, preset, values), "settings", None)
    settings = settings(scale) if callable(settings) else settings
    if settings is None:
        raise ValueError(f"{method.name} does not tell what its preset resolves to: give the preset alone")
    known = method.fields()
    return {name: value for name, value in vars(settings).items() if name in known}


def file_of(value: Any, one: WeightInput) -> str:
    """What a widget calls a weight file: a word, a shipped name, or its place in a models folder."""
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"a node takes one {one.name}: link the others by nodes that load them")
        value = value[0]
    return value if value in one.names() or not value else placed(value)


def placed(value: str) -> str:
    """A weight file's place in a models folder. Raises ValueError, FileNotFoundError."""
    path = weights.locate(value).resolve()
    for folder in weights.folders():
        if folder.resolve() in path.parents:
            return path.relative_to(folder.resolve()).as_posix()
    raise ValueError(
        f"{value} is in no models folder: put it into one of PRIORSR_MODELS, where nodes find it"
    )
