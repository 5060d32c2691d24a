"""What the nodes of faces do alike: their files are found, faces restored and put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from comfy_api.latest import io
from torch import Tensor, nn

from ..methods.faces.candidates import PICKS, reference_embeddings
from ..methods.faces.detect import DetectSettings, face_numbers
from ..methods.faces.load import (
    FILES,
    load_background_cleaner,
    load_detector,
    load_parser,
)
from ..methods.faces.paint import RestoreSettings
from ..methods.faces.restore import restore_faces
from ..methods.imaging.region import RegionSettings
from ..methods.imaging.resize import resize, scale_for, scaled_size
from ..methods.method import Upscaler
from ..methods.metrics.identity import FFHQ, SMALLEST, TIGHT, Identity, available
from ..methods.weights.known import where
from . import host
from .face_inputs import FIELDS, FoundFaces
from .host.images import join, own, split
from .region import region_of

PASTED = (
    "mask",
    "rule",
    "strength",
    "robust",
    "blend",
    "keep_grey",
    "batch",
    "candidates",
    "pick",
    "enhance_outside",
)
PER_PIXEL = 128  # bytes that detectors keep for a pixel, in the first maps of the largest level
PARSER_ROOM = 2**28  # ParseNet on a face of 512 pixels


def detect_settings(which: str, **values) -> DetectSettings:
    return DetectSettings(**values, which=face_numbers(which))


def file_of(name: str) -> str:
    """A weight file of models/priorsr by its name, or by what it is called when released.

    Raises FileNotFoundError.
    """
    if name == "mtcnn":
        return name
    stem = FILES.get(name, name)
    found = next((f for f in host.weight_files() if f == name or Path(f).stem == stem), None)
    if found is None:
        published = where(stem)
        source = f". {published}" if published else ""
        raise FileNotFoundError(f"{stem}.pth is missing: put it into models/{host.FOLDER}{source}")
    return str(host.weight_path(found))


def detector_of(name: str):
    with host.loading():
        return load_detector(file_of(name))


@lru_cache(1)
def cleaner_of() -> Upscaler:
    with host.loading():
        return load_background_cleaner()


def parser_of(name: str):
    with host.loading():
        return load_parser(file_of(name))


@lru_cache(2)
def recogniser_of(frame: str) -> Identity | None:
    """What tells whether a restored face is still the same, where the `eval` extra is installed."""
    return None if available() else Identity(TIGHT if frame == "tight" else FFHQ)


@dataclass(frozen=True)
class FaceInputs:
    """What nodes that put faces back ask for alike; the fields are their inputs."""

    scale: float
    mask: str
    strength: float
    parser: str
    rule: str
    blend: str
    keep_grey: bool
    robust: bool
    batch: int = 1
    detector: str = "mtcnn"
    which: str = ""
    confidence: float = DetectSettings.confidence
    smallest: int = DetectSettings.smallest
    order: str = DetectSettings.order
    limit: int = DetectSettings.limit
    turned: bool = DetectSettings.turned
    faces: FoundFaces | None = None
    background: Tensor | None = None
    upscale_model: object = None
    clean: bool = False
    candidates: int = 1
    pick: str = PICKS[0]
    reference: Tensor | None = None
    enhance_outside: str = RestoreSettings.enhance_outside
    region: Tensor | None = None
    feather: float = RegionSettings.feather

    def settings(self, size: int, frame: str) -> RestoreSettings:
        """For faces of `size` pixels. Raises ValueError."""
        return RestoreSettings(
            size=size, frame=frame, **{name: getattr(self, name) for name in ("scale", *PASTED)}
        )

    def which_faces(self) -> DetectSettings:
        return detect_settings(self.which, **{name: getattr(self, name) for name in FIELDS})

    def background_of(self, pixels: Tensor) -> tuple[Tensor | None, float]:
        """What lies behind the faces of B C H W, if not the pictures themselves, and the scale.

        Raises ValueError.
        """
        size = tuple(pixels.shape[-2:])
        if self.background is not None:
            if self.upscale_model is not None:
                raise ValueError(
                    "the background and the upscale_model both decide what lies behind the faces: connect "
                    "one of the two"
                )
            given = split(own(self.background), "background")[0]
            return given, scale_for(max(given.shape[-2:]), size)
        if self.upscale_model is None:
            return None, self.scale
        larger = host.upscaled(self.upscale_model, pixels)
        return resize(larger, tuple(scaled_size(n, self.scale) for n in size)).clamp(0, 1), self.scale


def restore_and_paste(
    image: Tensor,
    restorer: Callable,
    networks: Sequence[nn.Module],
    room: int,
    size: int,
    frame: str,
    asked: FaceInputs,
    seeds: Sequence[int] | int = 0,
    said: Sequence[str] = (),
) -> io.NodeOutput:
    """IMAGE with its faces restored by what takes `size` pixels in a frame, and the report. room: bytes that
    the restorer needs for itself.
    """
    pixels, alpha = split(own(image))
    settings, which = asked.settings(size, frame), asked.which_faces()
    region = region_of(asked.region, asked.feather)
    faces = None if asked.faces is None else asked.faces.of(pixels)
    detect = detector_of(asked.detector) if faces is None else None
    parse = parser_of(asked.parser) if settings.mask == "parse" else None
    background, scale = asked.background_of(pixels)
    settings = replace(settings, scale=scale)
    cleaner = cleaner_of() if asked.clean else None
    networks = [*networks, *(one.network for one in (detect, parse) if one is not None)]
    networks += cleaner.networks if cleaner else ()
    room = max(room, PER_PIXEL * pixels.shape[-1] * pixels.shape[-2], PARSER_ROOM if parse else 0)
    recogniser = recogniser_of(frame) if size >= SMALLEST else None
    pictures = () if asked.reference is None else split(asked.reference, "reference")[0].split(1)
    x = pixels if alpha is None else torch.cat([pixels, alpha], 1)
    with host.on_device(*networks, activations=room), host.cancellable():
        person = None
        if len(pictures) and recogniser:
            finder = detect or detector_of(asked.detector)
            person = reference_embeddings(pictures, finder, recogniser, frame)
        done = restore_faces(
            x,
            restorer,
            detect,
            settings,
            which,
            seeds,
            background,
            parse,
            recogniser,
            faces,
            host.progress(),
            cleaner,
            person,
            region,
        )
    said = [*said, region.said()] if region else said
    report = "\n".join([done.describe(), *filter(None, dict.fromkeys(said))])
    return host.told(host.result(join(done.pictures)), report, text=report)
