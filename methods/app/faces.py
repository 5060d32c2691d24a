"""The faces that a command would find in a picture, for a user to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from ..cli.main import build_parser
from ..cli.restore_faces import detect_settings
from ..faces.detect import Detector, detect
from ..faces.load import load_detector
from ..faces.overlay import overlay
from ..imaging.images import Picture, read, write
from ..imaging.resize import resize, size_of

SHOWN = 1024  # pixels of the longer side of the picture that shows them
WHICH = "which"  # the option of commands that restore faces


@dataclass(frozen=True)
class Found:
    """A picture of found faces, for each its words and its box in that picture (left, top, right, bottom),
    and what was left out.
    """

    picture: Path
    labels: tuple[str, ...] = ()
    boxes: tuple[tuple[float, ...], ...] = ()
    notes: str = ""

    def at(self, x: float, y: float) -> int | None:
        """The number of the face at a point, the smallest where several are."""
        inside = [
            ((right - left) * (bottom - top), number)
            for number, (left, top, right, bottom) in enumerate(self.boxes)
            if left <= x <= right and top <= y <= bottom
        ]
        return min(inside)[1] if inside else None


@torch.no_grad()
def found(path: Path, words: Sequence[str], at: Path) -> Found:
    """The faces that a command finds in a picture; they are drawn in the file `at`. Raises as `read`."""
    options = build_parser(words[0]).parse_args(list(words))
    options.which = ""
    pixels = read(path).pixels
    (detection,) = detect(pixels, _detector(options.detector), detect_settings(options))
    less = min(1.0, SHOWN / max(size_of(pixels)))
    if less < 1:
        pixels = resize(pixels, scale=less).clamp(0, 1)
    faces = detection.faces.scaled(less)
    write(Picture(overlay(pixels, faces)), at, overwrite=True)
    sides = [round(float(side)) for side in detection.faces.sides]
    labels = tuple(f"face {number}, {side} pixels" for number, side in enumerate(sides))
    boxes = tuple(tuple(map(float, box)) for box in faces.boxes.tolist())
    return Found(at, labels, boxes, ", ".join(detection.notes))


@lru_cache(2)
def _detector(name: str) -> Detector:
    return load_detector(name)
