"""Values of inputs: what a text means, and what does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .definitions import DYNAMIC, START

MANY = 12  # choices that a complaint names

Exists = Callable[[str, str], bool]  # of a models folder, or "input", and a name


def known_offline(folder: str, name: str) -> bool:
    """Whether a file can be there, where only our own model folders are known."""
    if folder == "priorsr":
        from .. import weights  # which takes its time

        return any((place / name).is_file() for place in weights.folders())
    return folder != "input"


def is_link(value: Any) -> bool:
    """Whether the value of an input is a link: a node's id and the number of its output."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def parsed(one: Mapping, text: str) -> Any:
    """The value of an input that a text means; as it is where it means none."""
    kind = one["type"]
    if kind == "BOOLEAN":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in ("INT", "FLOAT"):
        try:
            return int(text) if kind == "INT" else float(text)
        except ValueError:
            return text
    if kind == "COMBO" and one.get("options") and text not in one["options"]:
        return next((option for option in one["options"] if str(option) == text), text)
    return text


def misfit(one: Mapping, value: Any, exists: Exists) -> str:
    """What is wrong with a value of an input, in words that follow its name; nothing where it fits."""
    kind = one["type"]
    if kind in ("INT", "FLOAT"):
        noun = "a whole number" if kind == "INT" else "a number"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return f"{value!r} is not {noun}"
        if kind == "INT" and value != int(value):
            return f"{value!r} is not {noun}"
        low, high = one.get("min"), one.get("max")
        if (low is not None and value < low) or (high is not None and value > high):
            limits = f"{'any' if low is None else low} .. {'any' if high is None else high}"
            return f"{value} is outside {limits}: give a value within"
        return ""
    if kind in ("BOOLEAN", "STRING"):
        fits = isinstance(value, bool if kind == "BOOLEAN" else str)
        return "" if fits else f"{value!r} is not {'true or false' if kind == 'BOOLEAN' else 'a text'}"
    if kind not in ("COMBO", DYNAMIC):
        return "" if kind not in START else f"{value!r} is not {kind}"
    options, files = list(one.get("options") or []), one.get("files")
    if value in options or (one.get("upload") and not files):
        return ""
    if files:
        if isinstance(value, str) and exists(files, value):
            return ""
        where = "give the path of a picture" if files == "input" else f"put it into models/{files}"
        beside = f", or choose from {_some(options)}" if options else ""
        return f"names {value!r}, and there is no such file: {where}{beside}"
    return f"has no choice {value!r}: choose from {_some(options)}" if options else ""


def _some(options: list) -> str:
    shown = ", ".join(map(str, options[:MANY]))
    return f"{shown} and {len(options) - MANY} more" if len(options) > MANY else shown
