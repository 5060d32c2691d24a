"""Files that hold a graph: a saved workflow, the form that a server runs, or a picture that carries one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

CARRIERS = ("prompt", "workflow")  # the first is what ran, the second what people see
LARGEST = 64 * 2**20  # bytes of a file of text


def read_flow(path: str | os.PathLike) -> dict:
    """What a file says: with "nodes" where it is a saved workflow, else nodes by their ids.

    Raises FileNotFoundError and ValueError that name the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no workflow at {path}")
    with path.open("rb") as file:
        start = file.read(12)
    if start[:8] == b"\x89PNG\r\n\x1a\n" or (start[:4] == b"RIFF" and start[8:] == b"WEBP"):
        return _carried(path)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is too large for a workflow: give the JSON file that was saved")
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is no workflow: it is neither JSON nor a PNG or WebP that carries one"
        ) from error
    return as_flow(found, str(path))


def as_flow(found: Any, name: str) -> dict:
    """What JSON says, if it is a graph in one of its forms. Raises ValueError."""
    if isinstance(found, dict) and isinstance(found.get("prompt"), dict) and "nodes" not in found:
        found = found["prompt"]  # the body of a request
    if isinstance(found, dict) and isinstance(found.get("nodes"), list):
        return found
    if isinstance(found, dict) and found and all(_is_node(one) for one in found.values()):
        return found
    raise ValueError(f"{name} is no workflow: it has neither nodes nor, in API form, their class types")


def _is_node(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("class_type"), str) and "inputs" in one


def _carried(path: Path) -> dict:
    """The graph in the texts of a PNG or the EXIF of a WebP."""
    texts: dict[str, str] = {}
    try:
        with Image.open(path) as picture:
            texts = {key.lower(): text for key, text in picture.info.items() if isinstance(text, str)}
            for value in picture.getexif().values():
                name, colon, text = value.partition(":") if isinstance(value, str) else ("", "", "")
                if colon and name.strip().lower() in CARRIERS:
                    texts.setdefault(name.strip().lower(), text.rstrip("\0"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error
    for name in CARRIERS:
        if name in texts:
            try:
                return as_flow(json.loads(texts[name]), str(path))
            except (ValueError, RecursionError):
                continue
    raise ValueError(f"{path} carries no workflow: give the JSON file that was saved")
