"""What nodes take and give: of ours and of the host's own that our workflows use, carried; or of a server.

A definition is {"display_name", "output_node", "inputs": [...], "outputs": [...]}; an input is {"id", "type"}
and, where they apply, default, min, max, step, options (of a dynamic combo: inputs by key), optional, files
(the models folder that it lists, or "input"), control_after_generate, upload, socket (a link only) and
own_widget (one that inputs of its type do not have).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

OURS = Path(__file__).with_name("our_nodes.json")
CORE = Path(__file__).with_name("core_nodes.json")
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
START = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}  # of widgets without a default
WIDGETS = (*START, "COMBO", DYNAMIC, "COLOR", "CURVE", "IMAGECOMPARE", "BOUNDING_BOX")
SEEDS = ("seed", "noise_seed")  # which the front end gives a second widget whatever their definition says
UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload")
KEPT = ("default", "min", "max", "step")
HOSTLESS = (  # the host's own nodes that run without it
    *("LoadImage", "LoadImageMask", "SaveImage", "PreviewImage", "PreviewAny"),
    *("ImageScale", "MaskToImage", "ImageInvert"),
)

Definition = dict[str, Any]
Definitions = Mapping[str, Definition]


@lru_cache(1)
def carried() -> Definitions:
    """Of our nodes and the host's own nodes that our workflows use."""
    return {**json.loads(CORE.read_text("utf-8")), **json.loads(OURS.read_text("utf-8"))}


def runs_alone(kind: str) -> bool:
    """Whether nodes of a kind run without a ComfyUI."""
    return kind in HOSTLESS or kind in json.loads(OURS.read_text("utf-8"))


def is_widget(one: Mapping) -> bool:
    """Whether an input has a value of its own, beside links."""
    return (one["type"] in WIDGETS and not one.get("socket")) or bool(one.get("own_widget"))


def has_control(one: Mapping) -> bool:
    """Whether the front end follows an input's widget by one that says what becomes of it after a run."""
    return bool(one.get("control_after_generate")) or (one["type"] == "INT" and one["id"] in SEEDS)


def default_of(one: Mapping) -> Any:
    """What a widget starts at."""
    if one.get("default") is not None:
        return one["default"]
    options = list(one.get("options") or ())
    return options[0] if options else START.get(one["type"], "")


def with_nested(
    inputs: Iterable[Mapping], values: Mapping, prefix: str = ""
) -> Iterator[tuple[str, Mapping]]:
    """Every input by its full name ("tiles.overlap"), those of a dynamic combo's chosen option included."""
    for one in inputs:
        name = prefix + one["id"]
        yield name, one
        if one["type"] == DYNAMIC:
            chosen = values.get(name)
            nested = one["options"].get(chosen, []) if isinstance(chosen, str) else []
            yield from with_nested(nested, values, f"{name}.")


def defaults(inputs: Iterable[Mapping], prefix: str = "") -> dict[str, Any]:
    """Every widget at its default, by its full name."""
    values = {}
    for one in inputs:
        if not is_widget(one):
            continue
        name = prefix + one["id"]
        values[name] = default_of(one)
        if one["type"] == DYNAMIC:
            values |= defaults(one["options"].get(values[name], []), f"{name}.")
    return values


def from_object_info(info: Mapping[str, Mapping]) -> Definitions:
    """The definitions of a server, of what it answers to /object_info."""
    return {name: _definition(told) for name, told in info.items()}


def _definition(told: Mapping) -> Definition:
    outputs = []
    names, lists = told.get("output_name") or [], told.get("output_is_list") or []
    for i, kind in enumerate(told.get("output") or []):
        name = names[i] if i < len(names) else str(kind)
        listed = {"list": True} if i < len(lists) and lists[i] else {}
        outputs.append(
            {"id": name, "type": kind if isinstance(kind, str) else "COMBO", "name": name, **listed}
        )
    return {
        "display_name": told.get("display_name") or told.get("name", ""),
        "category": told.get("category", ""),
        "output_node": bool(told.get("output_node")),
        "inputs": list(_inputs(told.get("input", {}))),
        "outputs": outputs,
    }


def _inputs(groups: Mapping) -> Iterator[dict]:
    for group in ("required", "optional"):
        for name, spec in (groups.get(group) or {}).items():
            yield {**_input(name, spec), **({"optional": True} if group == "optional" else {})}


def _input(name: str, spec: list) -> dict:
    kind, said = spec[0], (spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {})
    one: dict[str, Any] = {"id": name, "type": "COMBO" if isinstance(kind, list) else str(kind)}
    if isinstance(kind, list):
        one["options"] = kind
    elif kind == DYNAMIC:
        one["options"] = {o["key"]: list(_inputs(o["inputs"])) for o in said.get("options", [])}
    elif "options" in said:
        one["options"] = said["options"]
    if said.get("image_upload"):
        one["files"] = "input"
    one |= {key: said[key] for key in KEPT if said.get(key) is not None}
    flags = {
        "control_after_generate": said.get("control_after_generate"),
        "socket": said.get("forceInput") and not said.get("socketless"),
        "own_widget": said.get("widgetType"),
        "upload": any(said.get(word) for word in UPLOADS),
    }
    return {**one, **{key: True for key, value in flags.items() if value}}
