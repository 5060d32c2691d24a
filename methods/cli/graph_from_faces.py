"""The node that does what `priorsr restore-faces METHOD IN OUT` does, and the values of its widgets."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..graph.definitions import DYNAMIC, Definitions, defaults
from ..method import AUTO, Method
from ..registry import methods
from .graph_names import face_names, file_of, placed, settings_of

WHICH = "which"  # the input of every node that restores faces
NOT_OF_NODES = {  # files, devices and reports, which a graph has elsewhere or not at all
    *(
        "command",
        "execute",
        "method",
        "source",
        "destination",
        "overwrite",
        "format",
        "quality",
        "workers",
        "shard",
    ),
    *("json", "json_lines", "device", "precision", "identity", "region", "vary"),
}
OWN = ("preset", "size")  # what a choice of a method asks for beside its weights and settings
LINKED = ("attributes",)  # settings for which a command finds shipped networks and a node does not
ANY_SCALE = 2.0  # at which a preset is asked for settings that no scale decides


def faces_node(
    options: argparse.Namespace, plain: argparse.Namespace, known: Definitions
) -> tuple[str, dict[str, Any]]:
    """The node's kind and the values of its widgets. plain: the command with no options.

    Raises ValueError for what a node cannot say.
    """
    if options.vary:
        raise ValueError("--vary takes a seed from the file's name, which a node does not know: leave it out")
    kind, choice, asked = _node(options.method, known)
    method = methods().get(options.method) if choice else None
    inputs = defaults(known[kind]["inputs"])
    inputs = {name: value for name, value in inputs.items() if name.partition(".")[0] != choice}
    own: dict[str, Any] = {}
    for name, value in vars(options).items():
        if name in NOT_OF_NODES or name.startswith(("cluster", "method_")) or value is None:
            continue
        if method and (name in OWN or any(one.name == name for one in method.weights)):
            own[name] = value
        elif name in inputs:
            inputs[name] = _chosen(value, next(one for one in known[kind]["inputs"] if one["id"] == name))
        elif value != getattr(plain, name) and name != "seed":  # without one, nothing is drawn
            raise ValueError(_lacks(options.method, name))
    if method:
        inputs |= {choice: method.name, **defaults(asked, f"{choice}.")}
        inputs |= {f"{choice}.{name}": v for name, v in _own(method, own, options, asked).items()}
    return kind, inputs


def _node(method: str, known: Definitions) -> tuple[str, str, Sequence[Mapping]]:
    """The node that restores faces by a method: its kind, the widget that chooses the method where it has
    one, and what that choice asks for.
    """
    made = {kind: {one["id"]: one for one in node["inputs"]} for kind, node in known.items()}
    made = {kind: widgets for kind, widgets in made.items() if {WHICH, "image"} <= set(widgets)}
    for kind, widgets in made.items():
        for name, one in widgets.items():
            if one["type"] == DYNAMIC and method in one["options"]:
                return kind, name, one["options"][method]
    for kind, widgets in made.items():
        if widgets.get(method, {}).get("files"):  # the file of a node for one method alone
            return kind, "", ()
    raise ValueError(f"{method} is another package's, whose node is not known here")


def _own(method: Method, own: Mapping, options: argparse.Namespace, asked: Sequence[Mapping]) -> dict:
    """The values of what the choice of a method asks for, by the widgets' names."""
    widgets = {one["id"]: one for one in asked}
    files = {one.name: own.get(one.name) or one.default for one in method.weights}
    if lost := [one for one in method.weights if not files[one.name] and not one.many]:
        raise ValueError(f"{method.name} needs --{lost[0].name.replace('_', '-')}: {lost[0].help}")
    shown = [one for one in method.weights if one.name in widgets or one.name in own]
    told = {one.name: file_of(v, one) for one in shown if (v := files[one.name])}
    preset, size = own.get("preset", AUTO), own.get("size")
    told |= {"preset": preset} if preset != AUTO else {}
    told |= {"size": size} if size else {}
    given = {n: v for n in method.fields() if (v := getattr(options, f"method_{n}", None)) is not None}
    alone = not any(files[one.name] for one in method.weights if one.many)
    if lost := [name for name in LINKED if alone and given.get(name)]:
        raise ValueError(f"the node of {method.name} takes --{lost[0]} with a file: add --classifier")
    names = {name: name for name in (*told, *given)}
    if set(names) - set(widgets):
        names |= face_names(method, widgets)
    if preset != AUTO or any(name not in OWN for name in own):
        told |= _decided(method, {n: v for n, v in files.items() if v}, preset, given, widgets)
    told |= given
    if lost := [name for name in told if names.get(name, name) not in widgets]:
        raise ValueError(_lacks(method.name, lost[0]))
    return {names.get(name, name): value for name, value in told.items()}


def _decided(method: Method, files: Mapping, preset: str, given: Mapping, widgets: Mapping) -> dict:
    """What a preset decides of settings whose widgets count whatever the preset."""
    names = [name for name in method.fields() if name in widgets and name not in given]
    if not method.presets or not names:
        return {}
    wanted = settings_of(method, files, preset, given, ANY_SCALE)
    return {n: v for n in names if isinstance(v := wanted.get(n), type(widgets[n].get("default")))}


def _chosen(value: Any, widget: Mapping) -> Any:
    """The value of a widget, a file by its place in a models folder."""
    return placed(value) if widget.get("files") and value not in widget["options"] else value


def _lacks(method: str, name: str) -> str:
    return f"the node of {method} has no input for --{name.replace('_', '-')}: leave it out"
