"""Detectors, parsers and CodeFormer by the names of their weight files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from .. import weights
from ..clean.method import METHOD as CLEAN
from ..method import Upscaler
from ..metrics.identity import FFHQ, SMALLEST, TIGHT, Identity, available
from ..precision import loaded_in
from .candidates import reference_embeddings
from .codeformer import CodeFormerRestorer, CodeFormerSettings
from .detect import Detector
from .mtcnn import MTCNNDetector
from .paint import RestoreSettings
from .parse import FaceParser
from .retinaface import RetinaFaceDetector

FILES = {
    "mtcnn": "mtcnn",
    "retinaface": "detection_Resnet50_Final",
    "retinaface-mobile": "detection_mobilenet0.25_Final",
}
PARSENET, CODEFORMER = "parsing_parsenet", "codeformer"


def load_detector(name: str = "mtcnn", device: torch.device | str = "cpu") -> Detector:
    """mtcnn (shipped), retinaface, retinaface-mobile, or a weight file of one of them.

    Raises FileNotFoundError, ValueError.
    """
    found = weights.load(weights.locate(FILES.get(name, name)))
    kinds = {"mtcnn": MTCNNDetector, "retinaface": RetinaFaceDetector}
    if found.kind not in kinds:
        raise ValueError(
            f"{found.path} holds {found.kind} weights, no face detector: choose one of {', '.join(FILES)}"
        )
    return kinds[found.kind](found.network.to(device))


def load_parser(name: str = PARSENET, device: torch.device | str = "cpu") -> FaceParser:
    """ParseNet from its released file. Raises FileNotFoundError, ValueError."""
    return FaceParser(weights.load(weights.locate(name), "parsenet").network.to(device))


def load_codeformer(
    name: str = CODEFORMER,
    settings: CodeFormerSettings = CodeFormerSettings(),
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
) -> CodeFormerRestorer:
    """CodeFormer from its released file or one of ours, computing in `precision`.

    Raises FileNotFoundError, ValueError.
    """
    with loaded_in(precision):
        network = weights.load(weights.locate(name), "codeformer").network
    network = network.to(device, memory_format=torch.channels_last)  # an eighth faster on CPUs
    return CodeFormerRestorer(network, settings)


def load_background_cleaner(
    device: torch.device | str = "cpu", precision: torch.dtype = torch.float32
) -> Upscaler:
    """The blind cleaner that ships, for the pictures that faces are cut from and what lies behind them."""
    return CLEAN.prepare(precision=precision).to(device)


def knowing_person(
    settings: RestoreSettings, identity: bool, reference: Iterable[Tensor] | None, detector: Detector
) -> tuple[RestoreSettings, Identity | None, Tensor | None]:
    """What candidates and reports need of identity: the settings, the recogniser, embeddings of the person.

    reference: other photographs 1 C H W of the person, by which candidates are then picked. Raises ValueError
    where there is nothing to pick from, no face in them, or no recogniser.
    """
    if reference is not None:
        if settings.candidates < 2:
            raise ValueError("a reference chooses among candidates: give --candidates 2 or more")
        settings = replace(settings, pick="identity")
    if not (identity or (settings.candidates > 1 and settings.pick == "identity")):
        return settings, None, None
    recogniser = recogniser_for(settings.size, settings.frame)
    if reference is None:
        return settings, recogniser, None
    return settings, recogniser, reference_embeddings(reference, detector, recogniser, settings.frame)


def recogniser_for(size: int, frame: str) -> Identity:
    """What tells persons apart in aligned faces of a side and frame, with the `eval` extra.

    Raises ValueError where that is not installed or the faces are too small.
    """
    if missing := available():
        raise ValueError(missing)
    if size < SMALLEST:
        raise ValueError(
            f"identity is told from faces of {SMALLEST} pixels or more, these have {size}: leave it out"
        )
    return Identity(TIGHT if frame == "tight" else FFHQ)
