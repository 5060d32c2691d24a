"""Settings as frozen dataclasses whose fields carry their limits and help, so that CLI and nodes are made
from them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, ClassVar

KINDS = {  # what values may be where the default is of a type
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
}
NUMBERS = (Integral, Real)


def option(
    default: Any,
    help: str,
    *,
    choices: tuple = (),
    low: float | None = None,
    high: float | None = None,
    path: bool = False,
) -> Any:
    """A dataclass field with its help text and, where they apply, its choices or limits.

    path: whether it names a file or folder anywhere, which only a command may.
    """
    told = {"help": help, "choices": choices, "low": low, "high": high, "path": path}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class Settings:
    """Base of all settings. Raises ValueError that names the setting, its value and what is allowed.

    primary: whether they are what a user thinks of first, which nodes do not hide among the advanced ones.
    """

    primary: ClassVar[bool] = False

    def __post_init__(self):
        for f in fields(self):
            value, rule = getattr(self, f.name), f.metadata
            kind, noun = KINDS.get(type(f.default), (object, ""))
            if not isinstance(value, kind) or (isinstance(value, bool) and kind in NUMBERS):
                raise ValueError(f"{f.name} {value!r} must be {noun}")
            if rule.get("choices") and value not in rule["choices"]:
                raise ValueError(f"{f.name} {value!r} is not one of {', '.join(map(str, rule['choices']))}")
            low, high = rule.get("low"), rule.get("high")
            if low is not None and not (
                math.isfinite(value) and low <= value <= (math.inf if high is None else high)
            ):
                raise ValueError(
                    f"{f.name} {value} is outside {low:g} .. {'any' if high is None else f'{high:g}'}"
                )


def to_json(*settings: Settings) -> str:
    """Several settings as one JSON text that a file may carry: of files that they name by a whole path the
    name only, because folders are of one machine.
    """
    values = {name: value for one in settings for name, value in asdict(one).items()}
    return json.dumps(
        {k: os.path.basename(v) if isinstance(v, str) and os.path.isabs(v) else v for k, v in values.items()}
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the known name that is meant, or at all of them."""
    close = get_close_matches(name, known, 1, 0.5)
    if close:
        return f": did you mean {close[0]}?"
    return f": choose from {', '.join(known)}" if known else ""
