"""Restored faces against the true ones: fidelity, detail, identity."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.images import to_uint8
from ..imaging.resize import resize_uint8, scaled_size, size_of
from .backbones import missing
from .compare import consistency
from .fidelity import METRICS, prepare
from .frechet import frechet_distance
from .identity import Identity, available, recognition
from .perceptual import SMALLEST, lpips
from .sharpness import sharpness

Restore = Callable[
    [Tensor, Sequence[int]], Tensor
]  # low-resolution faces B C h w in 0..1, and a seed for each, to B C H W
COLUMNS = (
    "psnr",
    "ssim",
    "mae",
    "sharpness",
    "consistency",
    "identity",
    "recognised",
    "frechet",
    "lpips",
    "diversity",
    "seconds",
)
BACKBONE = "vgg"  # of LPIPS, as in DPI's tables
PART = 32  # faces that a network sees at once


def reduced(faces: Tensor, scale: float) -> Tensor:
    """8-bit low-resolution versions of faces B C H W in 0..1, by antialiased bicubic reduction."""
    height, width = faces.shape[-2:]
    size = round(height / scale), round(width / scale)
    return torch.stack([resize_uint8(face, size) for face in to_uint8(faces)]) / 255


@dataclass
class FaceMetrics:
    """Figures of restorations of one set of true faces B C H W in 0..1; identity and LPIPS only where their
    networks are installed.
    """

    truth: Tensor

    def __post_init__(self):
        self.recogniser = None if available() else Identity()
        self.known = self.recogniser and self.recogniser(self.truth)
        self.perceptual = missing(f"lpips-{BACKBONE}") is None and min(self.truth.shape[-2:]) >= SMALLEST

    def __call__(self, restored: Tensor, low: Tensor, seconds: float | None = None) -> dict[str, float]:
        """Means over the set: dB, SSIM, levels of 255, gradient energy over the true one, dB of the reduced
        result to the input, cosine distance of embeddings, share recognised, Frechet distance of embeddings
        (not FID), LPIPS, seconds a face.
        """
        a, b = (prepare(x, eight_bit=True) for x in (restored, self.truth))
        figures = {
            name: statistics.fmean(x for x in metric(a, b) if x is not None)
            for name, metric in METRICS.items()
        }
        figures["sharpness"] = float(sharpness(restored, self.truth).median())
        figures["consistency"] = float(consistency(restored, low).mean())
        if self.recogniser and self.known is not None:
            embedded = self.recogniser(restored)
            found = recognition(embedded, self.known)
            figures |= {
                "identity": found.cs,
                "recognised": found.acc,
                "frechet": frechet_distance(embedded, self.known),
            }
        if self.perceptual:
            parts = [
                lpips(x, y, BACKBONE)
                for x, y in zip(restored.split(PART), self.truth.split(PART), strict=True)
            ]
            figures["lpips"] = float(torch.cat(parts).mean())
        if seconds is not None:
            figures["seconds"] = seconds / len(restored)
        return figures

    def run(self, restore: Restore, low: Tensor, batch: int = PART) -> tuple[Tensor, dict[str, float]]:
        """Restore all faces, face i with seed i, and judge them."""
        start = time.perf_counter()
        parts = [
            restore(low[i : i + batch], range(i, min(i + batch, len(low)))) for i in range(0, len(low), batch)
        ]
        restored = torch.cat(parts).clamp(0, 1)
        seconds = time.perf_counter() - start
        wanted = size_of(self.truth)
        if size_of(restored) != wanted:  # a real scale may overshoot by the pixel that was rounded away
            restored = restored[..., : wanted[0], : wanted[1]]
        return restored, self(restored, low, seconds)


def exact_scale(size: int, scale: float) -> float:
    """The scale nearest to `scale` that takes a whole number of pixels to `size`."""
    exact = size / round(size / scale)
    return exact if scaled_size(round(size / scale), exact) == size else scale


def markdown(rows: list[dict], keys: tuple[str, ...]) -> str:
    """A table of rows; floats with as many digits as they deserve."""
    columns = [*keys, *(c for c in COLUMNS if any(c in r for r in rows))]
    digits = {
        "psnr": 2,
        "consistency": 1,
        "sharpness": 2,
        "mae": 2,
        "seconds": 3,
        "recognised": 3,
        "frechet": 4,
        "diversity": 2,
    }
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [
            f"{v:.{digits.get(c, 4)}f}"
            if isinstance(v := row.get(c, ""), float) and c not in keys
            else str(v)
            for c in columns
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
