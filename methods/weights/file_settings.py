"""What a file says of how its network is built: JSON whose numbers and types are checked before anything is
built.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

LONGEST = 1 << 20  # of a text of JSON
LARGEST = 1_000_000  # any width, size or number of steps
MOST_LAYERS = 1024  # of what a name calls blocks or layers
MOST_ITEMS = 4096
LONGEST_LIST = 64  # levels, kernels
DEEPEST = 3
TYPES = {"int": int, "float": (int, float), "bool": bool, "str": str, "None": type(None)}


def read_json(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """A dict that a file carries as JSON, empty where it has none. Raises ValueError, RecursionError."""
    text = metadata.get(key, "{}")
    if len(text) > LONGEST:
        raise ValueError(f"its {key} are {len(text)} characters long")
    value = json.loads(text)
    if not isinstance(value, dict) or len(value) > MOST_ITEMS:
        raise ValueError(f"its {key} are no list of names and values")
    return value


def read_settings(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The `settings` of a network: numbers in bounds, texts, and short lists of them as tuples.

    Raises ValueError.
    """
    return {k: _bounded(v, k) for k, v in read_json(metadata, "settings").items()}


def config_from(kind: type, values: Mapping[str, Any], **parts: Any):
    """A dataclass of a network's sizes from a file's `values`, of its fields' own types, and built `parts`.

    Raises ValueError for unknown names and for values of another type.
    """
    known = {f.name: f for f in fields(kind) if f.init}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"its settings name {', '.join(unknown[:3])}, which this version does not know")
    for name, value in values.items():
        _check_type(str(known[name].type), name, value)
    return kind(**{**values, **parts})


def _bounded(value: Any, name: str, depth: int = DEEPEST) -> Any:
    if isinstance(value, (list, dict)):
        if not depth or len(value) > LONGEST_LIST:
            raise ValueError(f"its setting {name} is too long or nested")
        if isinstance(value, dict):
            return {k: _bounded(v, f"{name}.{k}", depth - 1) for k, v in value.items()}
        return tuple(_bounded(v, name, depth - 1) for v in value)
    if isinstance(value, (int, float)) and value != math.inf:
        largest = MOST_LAYERS if "block" in name or "layer" in name else LARGEST
        if math.isnan(value) or abs(value) > largest:
            raise ValueError(f"its setting {name} is no number up to {largest}")
    if isinstance(value, str) and len(value) > LONGEST_LIST:
        raise ValueError(f"its setting {name} is too long")
    return value


def _check_type(annotation: str, name: str, value: Any) -> None:
    allowed = [part.strip() for part in annotation.split("|")]
    if annotation.startswith("tuple["):
        item = annotation.removeprefix("tuple[").split(",")[0]
        right = isinstance(value, tuple) and all(_is(item, v) for v in value)
    elif set(allowed) <= TYPES.keys():
        right = any(_is(part, value) for part in allowed)
    else:
        right = isinstance(
            value, (str, dict, type(None))
        )  # choices and parts, which are checked where they are used
    if not right:
        raise ValueError(f"its setting {name} is {str(value)[:40]!r}, and must be of {annotation}")


def _is(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return name == "bool"
    return isinstance(value, TYPES.get(name, (int, float)))
