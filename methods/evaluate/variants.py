"""Methods with settings and weights that differ from their own, and grids of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..method import Method, Upscaler

WORDS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Variant:
    """A method with settings and weights that differ from its own."""

    method: Method
    given: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self) -> Upscaler:
        """With its networks loaded. Raises as `Method.prepare`."""
        files = {one.name for one in self.method.weights}
        return self.method.prepare(
            {n: v for n, v in self.given.items() if n in files},
            values={n: v for n, v in self.given.items() if n not in files},
        )

    def described(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.given.items())


def combined(method: Method, values: Mapping[str, Sequence[Any]]) -> Iterator[Variant]:
    """Every combination of some values of settings and weights."""
    for combination in itertools.product(*values.values()):
        yield Variant(method, dict(zip(values, combination, strict=True)))


def known(method: Method) -> list[str]:
    """Everything that may be given."""
    return [*(one.name for one in method.weights), *method.fields()]


def value_of(method: Method, key: str, text: Any) -> Any:
    """A value in the type of its setting; text: as it is written. Raises ValueError."""
    weight = next((one for one in method.weights if one.name == key), None)
    if weight is not None:
        return [text] if weight.many and isinstance(text, str) else text
    kind = type(method.fields()[key].default)
    try:
        if kind is bool:
            return text if isinstance(text, bool) else WORDS[str(text).lower()]
        return kind(text)
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{text!r} is no {kind.__name__}") from None
