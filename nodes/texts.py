"""What reads the texts of inputs, by their names, so that wrong ones are refused before a graph runs."""

from __future__ import annotations

import re

from ..methods.faces.detect import face_numbers
from ..methods.srdg.attributes import parse_weights, parse_wishes


def respacing(text: str) -> None:
    """Raises ValueError for what is no rule; how many steps there are only the MODEL knows."""
    if not re.fullmatch(r"((ddim)?\d{1,6}(,\d{1,6})*)?", text.replace(" ", "")):
        raise ValueError(f"{text!r} keeps no steps: write 250, 10,10 or ddim25, or nothing for all")


def attribute(text: str) -> None:
    """Raises ValueError for what is no name."""
    if not re.fullmatch(r"[\w -]*", text):
        raise ValueError(f"{text!r} is no name of an attribute: write one such as gender")


TEXTS = {
    "which": face_numbers,
    "attributes": parse_wishes,
    "weights": parse_weights,
    "respacing": respacing,
    "attribute": attribute,
}
