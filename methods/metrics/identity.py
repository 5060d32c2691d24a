"""Whose face a picture shows: embeddings of dlib's recogniser, distances, verification, and DPI's
face-recognition protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..device import doubled
from ..imaging.images import check_pixels, to_uint8

EXTRA = 'pip install "priorsr[eval]"'
NETWORK, LANDMARKS = "dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"
SMALLEST = 64
# Where the upright square around the face lies in a crop, as fractions: left, top, right, bottom
TIGHT, FFHQ = (0.0, 0.0, 1.0, 1.0), (0.19, 0.31, 0.79, 0.91)
# Highest balanced accuracy on tight grey crops of 64 and 128 px together: 500 photographs of 370 people, 150
# genuine pairs
THRESHOLDS = {"euclidean": 0.61, "cosine": 0.088}


def available() -> str | None:
    """None when the recogniser can run, else what is missing and the command that installs it."""
    absent = [
        name
        for module, name in (("dlib", "dlib-bin"), ("face_recognition_models", "face-recognition-models"))
        if not find_spec(module)
    ]
    return f"the face recogniser needs {' and '.join(absent)}: {EXTRA}" if absent else None


class Identity:
    """Upright face crops to embeddings (B, 128), float32 on the CPU, by dlib's ResNet (King 2017, trained on
    photographs of 150 px).

    box: where the face lies in every crop (TIGHT for crops from chin to forehead, FFHQ for that alignment).
    Five landmarks found inside it turn and scale the face to the geometry that the network was trained with.
    Crops are B C H W in 0..1, grey or RGB, at least 64 px; values are rounded to 8 bits, and what the aligned
    face shows beyond the crop repeats its border. Raises ImportError when the `eval` extra is missing,
    RuntimeError when its files are damaged, ValueError for bad crops.
    """

    def __init__(self, box: Sequence[float] = TIGHT, batch: int = 64):
        left, top, right, bottom = box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(
                f"the box {tuple(box)} must be left, top, right, bottom as fractions in 0..1, such as {TIGHT}"
            )
        if batch < 1:
            raise ValueError(f"batch {batch} must be at least 1")
        self.box, self.batch = tuple(box), batch

    def __call__(self, faces: Tensor) -> Tensor:
        check_pixels(faces, "the faces")
        if faces.shape[1] not in (1, 3) or min(faces.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"faces of shape {tuple(faces.shape)} cannot be recognised: give B C H W, 1 or 3 channels, "
                f"{SMALLEST} px or more"
            )
        dlib, network, predictor = self._models
        (height, width), (left, top, right, bottom) = faces.shape[-2:], self.box
        side, above = width // 4, height // 4  # as much as the aligned face shows around the box
        box = dlib.rectangle(
            side + round(left * width),
            above + round(top * height),
            side + round(right * width) - 1,
            above + round(bottom * height) - 1,
        )
        vectors = []
        for part in faces.detach().split(self.batch):
            padded = pad(part.float().expand(-1, 3, -1, -1), (side, side, above, above), mode="replicate")
            pixels = to_uint8(padded).permute(0, 2, 3, 1).contiguous().cpu().numpy()
            vectors += network.compute_face_descriptor(
                [dlib.get_face_chip(x, predictor(x, box)) for x in pixels]
            )
        return torch.tensor([list(v) for v in vectors], dtype=torch.float32, device="cpu")

    @cached_property
    def _models(self) -> tuple[Any, Any, Any]:
        if missing := available():
            raise ImportError(missing)
        dlib: Any = import_module("dlib")  # which has no types

        # the package's own functions need pkg_resources, which new setuptools no longer bring
        spec = find_spec("face_recognition_models")
        folder = Path(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else "")
        folder /= "models"
        try:
            return (
                dlib,
                dlib.face_recognition_model_v1(str(folder / NETWORK)),
                dlib.shape_predictor(str(folder / LANDMARKS)),
            )
        except RuntimeError as error:
            raise RuntimeError(
                f"cannot read the face recogniser in {folder}: {error}. Install it again: {EXTRA}"
            ) from error


def identity_distance(a: Tensor, b: Tensor, kind: str = "euclidean") -> Tensor:
    """Distance of each pair of embeddings (B, D), float64:

    `euclidean` (the recogniser's own) or `cosine` (1 - cos).
    """
    _check_kind(kind)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"embeddings must pair as (B, D): {tuple(a.shape)} against {tuple(b.shape)}")
    a, b = doubled(a), doubled(b)
    return (a - b).norm(dim=1) if kind == "euclidean" else 1 - torch.cosine_similarity(a, b)


def verification(a: Tensor, b: Tensor, threshold: float | None = None, kind: str = "euclidean") -> Tensor:
    """Whether each pair of embeddings shows one person (B, bool): distance at most the threshold, by default
    that of THRESHOLDS.
    """
    _check_kind(kind)
    return identity_distance(a, b, kind) <= (THRESHOLDS[kind] if threshold is None else threshold)


@dataclass(frozen=True)
class Recognition:
    """DPI's figures:

    ACC, the share of restorations recognised as their original, and CS, the mean cosine distance to it.
    """

    acc: float
    cs: float
    threshold: float


def recognition(restored: Tensor, truth: Tensor, threshold: float = THRESHOLDS["cosine"]) -> Recognition:
    """The protocol of DPI (Table 3) on embeddings (B, D) of restorations and their originals.

    The paper asks another network (VGG-Face, threshold 0.4): compare these figures with each other, not with
    its table.
    """
    distance = identity_distance(restored, truth, "cosine")
    return Recognition((distance <= threshold).double().mean().item(), distance.mean().item(), threshold)


def pair_distances(
    embeddings: Tensor, identities: Sequence[str], kind: str = "euclidean"
) -> tuple[Tensor, Tensor]:
    """Distances of all genuine and of all impostor pairs among embeddings (B, D) with one name each."""
    if len(identities) != len(embeddings):
        raise ValueError(f"{len(embeddings)} embeddings need as many identities, not {len(identities)}")
    first, second = torch.triu_indices(len(embeddings), len(embeddings), 1)
    numbers = {name: i for i, name in enumerate(dict.fromkeys(identities))}
    label = torch.tensor([numbers[name] for name in identities], device="cpu")
    distance, same = (
        identity_distance(embeddings[first], embeddings[second], kind),
        label[first] == label[second],
    )
    return distance[same], distance[~same]


def balanced_accuracy(genuine: Tensor, impostor: Tensor, threshold: float) -> float:
    """Mean of the shares of genuine pairs accepted and impostor pairs refused at a threshold."""
    return ((genuine <= threshold).double().mean() + (impostor > threshold).double().mean()).item() / 2


def best_threshold(genuine: Tensor, impostor: Tensor) -> float:
    """The threshold of highest balanced accuracy: the middle of the gap between neighbouring distances where
    it is reached first.
    """
    if not (len(genuine) and len(impostor)):
        raise ValueError(
            f"{len(genuine)} genuine and {len(impostor)} impostor pairs: a threshold needs both kinds"
        )
    levels = torch.cat([genuine, impostor]).unique()
    accepted = torch.searchsorted(genuine.sort().values, levels, right=True) / len(genuine)
    refused = 1 - torch.searchsorted(impostor.sort().values, levels, right=True) / len(impostor)
    best = int((accepted + refused).argmax())
    return levels[best : best + 2].mean().item()


def _check_kind(kind: str) -> None:
    if kind not in THRESHOLDS:
        raise ValueError(f"distance {kind!r} is not one of {', '.join(THRESHOLDS)}")
