"""What the host's own validation lets pass and a saved graph can hold: refused before anything runs."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import wraps
from typing import TypeVar

from comfy_api.latest import io

NO_TEXT = re.compile(r"[<>\\\x00-\x1f]|\.\.")  # marks that no name, number or rule has
Node = TypeVar("Node", bound=type[io.ComfyNode])
Reader = Callable[[str], object]


class Least(float):
    """A lower limit that NaN does not pass: the host asks whether a value is smaller, which NaN never is."""

    def __gt__(self, value: object) -> bool:
        return not float(self) <= value  # type: ignore[operator]


def nested(inputs: Sequence[io.Input]) -> Iterator[io.Input]:
    """Inputs, and those that the choices of a DynamicCombo bring."""
    for one in inputs:
        yield one
        for option in getattr(one, "options", None) or ():
            yield from nested(getattr(option, "inputs", ()))


def checked(node: Node, texts: Mapping[str, Reader], unfit: Callable[[str, Collection[str]], str]) -> Node:
    """The node, by whose validation texts are tried with what reads them, and names of weight files with what
    says why a picker does not offer them: the first that is wrong is told with its input's name.
    """
    inputs = node.GET_SCHEMA().inputs
    written = [one.id for one in inputs if one.io_type == io.String.io_type]
    checks: dict[str, Reader] = {name: texts[name] for name in written if name in texts}
    pickers = [one.id for one in inputs if hasattr(one, "kinds")]

    def validate_inputs(cls, **given):
        # of the node itself: hosts validate with a locked copy, whose schema cannot be made anew
        offered = {one.id: one for one in node.GET_SCHEMA().inputs} if pickers else {}
        for name in (*checks, *pickers):
            value, wrong = given.get(name), ""
            if isinstance(value, str) and name in checks:
                wrong = _wrong(checks[name], value)
            elif isinstance(value, str) and value not in offered[name].options:
                wrong = unfit(value, offered[name].kinds)
            if wrong:
                return f"{name}: {wrong}"
        return True

    # the host leaves its own checks of inputs out that are named here, and all of them for **given
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, plain) for name in ("cls", *checks, *pickers)])
    validate_inputs.__signature__ = signature  # type: ignore[attr-defined]
    if checks or pickers:
        node.validate_inputs = classmethod(validate_inputs)  # type: ignore[assignment]
    _check_links_in(node, inputs)
    return node


def _check_links_in(node: type[io.ComfyNode], inputs: Sequence[io.Input]) -> None:
    """Let a node refuse choices that there are not, and numbers beyond their limits, when it runs: the host
    does not look at linked values.
    """
    run = node.execute.__func__  # type: ignore[attr-defined]
    if hasattr(run, "__wrapped__"):
        return

    @wraps(run)
    def execute(cls, **given):
        _check_links(inputs, given)
        return run(cls, **given)

    node.execute = classmethod(execute)  # type: ignore[assignment]


def _check_links(inputs: Sequence[io.Input], given: Mapping[str, object]) -> None:
    for one in inputs:
        value = given.get(one.id)
        if isinstance(value, Mapping):  # the choice of a DynamicCombo, and what it brings
            options = getattr(one, "options", None) or ()
            brought = [o.inputs for o in options if getattr(o, "key", None) == value.get(one.id)]
            _check_links(brought[0] if brought else (), value)
        elif value is not None and one.io_type == io.Combo.io_type and not hasattr(one, "kinds"):
            if value not in one.options:
                raise ValueError(f"unknown {one.id} {value!r}: choose one of {', '.join(one.options)}")
        elif isinstance(value, (int, float)) and one.io_type in (io.Int.io_type, io.Float.io_type):
            _check_number(one, value)


def _check_number(one: io.Input, value: float) -> None:
    least = -math.inf if one.min is None else float(one.min)
    most = math.inf if one.max is None else one.max
    if not least <= value <= most:  # which NaN is not either
        raise ValueError(f"{one.id} {value} is outside {least:g} to {most:g}")


def _wrong(read: Reader, text: str) -> str:
    if mark := NO_TEXT.search(text):
        return f"{text!r} holds {mark[0]!r}, which does not belong there"
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""
