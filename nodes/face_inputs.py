"""What the nodes of faces share: their files, the faces that pass between them, and how a picture's faces are restored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from comfy_api.latest import io
from torch import Tensor, nn

from ..methods.evaluate.identity import FFHQ, SMALLEST, TIGHT, Identity, available
from ..methods.faces.detect import Detection, DetectSettings, Faces, face_numbers
from ..methods.faces.load import FILES, PARSENET, SOURCES, load_detector, load_parser
from ..methods.faces.restore import RestoreSettings, restore_faces
from ..methods.resize import scale_for
from . import host
from .convert import join, split

CATEGORY = f"{host.CATEGORY}/faces"
FacesData = io.Custom("PRIORSR_FACES")
PER_PIXEL = 128  # bytes that detectors keep for a pixel of the picture, in the first maps of the largest level
PARSER_ROOM = 2**28  # ParseNet on a face of 512 pixels
FIELDS = ("confidence", "smallest", "order", "limit", "turned")


@dataclass(frozen=True)
class FoundFaces:
    """The faces of every picture of a batch, and the size (H, W) of the pictures."""

    detections: tuple[Detection, ...]
    size: tuple[int, int]

    def of(self, pictures: Tensor) -> list[Faces]:
        """Those of pictures B C H W. Raises ValueError when they are others."""
        if len(pictures) != len(self.detections) or tuple(pictures.shape[-2:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"the faces are those of {len(self.detections)} images of {width} x {height}, not of {len(pictures)} of "
                f"{pictures.shape[-1]} x {pictures.shape[-2]}: give the images in which they were found"
            )
        return [d.faces for d in self.detections]


def detector_input() -> io.Input:
    return io.Combo.Input(
        "detector",
        options=[*FILES, *host.weight_files()],
        tooltip="mtcnn comes along; retinaface and retinaface-mobile are better and need facexlib's files in models/priorsr.",
    )


def parser_input() -> io.Input:
    return io.Combo.Input(
        "parser", options=[PARSENET, *host.weight_files()], tooltip="What tells parts of faces: facexlib's parsing_parsenet.pth in models/priorsr."
    )


def which_input() -> io.Input:
    return io.String.Input("which", default="", tooltip="Numbers of the faces to take, such as 0, 2, as the overlay shows them; empty: all.")


def detect_inputs() -> list[io.Input]:
    return [which_input(), *host.settings_inputs(DetectSettings, FIELDS)]


def given_inputs() -> list[io.Input]:
    return [
        FacesData.Input("faces", optional=True, tooltip="From Detect Faces; then the detector and its settings are not used."),
        io.Image.Input("background", optional=True, tooltip="The images enlarged by any method: faces are put there; it gives the scale."),
    ]


def detect_settings(which: str, *values) -> DetectSettings:
    return DetectSettings(**dict(zip(FIELDS, values, strict=True)), which=face_numbers(which))


def file_of(name: str) -> str:
    """A weight file of models/priorsr by its name, or by what it is called when released. Raises FileNotFoundError."""
    if name == "mtcnn":
        return name
    stem = FILES.get(name, name)
    found = next((f for f in host.weight_files() if f == name or Path(f).stem == stem), None)
    if found is None:
        source = f", released with {SOURCES[stem]}" if stem in SOURCES else ""
        raise FileNotFoundError(f"{stem}.pth is missing: put it into models/{host.FOLDER}{source}")
    return str(host.weight_path(found))


def detector_of(name: str):
    return load_detector(file_of(name))


def parser_of(name: str):
    return load_parser(file_of(name))


@lru_cache(2)
def recogniser_of(frame: str) -> Identity | None:
    """What tells whether a restored face is still the same, where the `eval` extra is installed."""
    return None if available() else Identity(TIGHT if frame == "tight" else FFHQ)


def restored(
    image: Tensor,
    restorer: Callable,
    networks: Sequence[nn.Module],
    room: int,
    settings: RestoreSettings,
    which: DetectSettings,
    seed: int,
    detector: str,
    parser: str,
    found: FoundFaces | None,
    background: Tensor | None,
    progress: Callable[[int, int], None] | None,
    said: Sequence[str],
) -> io.NodeOutput:
    """IMAGE with its faces restored, and the report. room: bytes that the restorer needs for itself."""
    pixels, alpha = split(image.clone())
    faces = None if found is None else found.of(pixels)
    detect = detector_of(detector) if found is None else None
    parse = parser_of(parser) if settings.mask == "parse" else None
    behind = None
    if background is not None:
        behind = split(background.clone(), "background")[0]
        settings = replace(settings, scale=scale_for(max(behind.shape[-2:]), tuple(pixels.shape[-2:])))
    networks = [*networks, *(one.network for one in (detect, parse) if one is not None)]
    room = max(room, PER_PIXEL * pixels.shape[-1] * pixels.shape[-2], PARSER_ROOM if parse else 0)
    recogniser = recogniser_of(settings.frame) if settings.size >= SMALLEST else None
    x = pixels if alpha is None else torch.cat([pixels, alpha], 1)
    with host.on_device(*networks, activations=room):
        done = restore_faces(x, restorer, detect, settings, which, seed, behind, parse, recogniser, faces, progress)
    report = "\n".join([done.describe(), *dict.fromkeys(said)])
    return io.NodeOutput(host.result(join(done.pictures)), report)
