"""RetinaFace as a detector: anchors, decoding, non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.resize import resize
from ..nets.retinaface import STRIDES, RetinaFace
from .detect import Faces, nms, no_faces

SIDES = ((16, 32), (64, 128), (256, 512))  # of the anchors at each stride, pixels
VARIANCES = (0.1, 0.2)  # units of the offsets of positions and of the logarithms of sizes
MEAN = (104.0, 117.0, 123.0)  # blue, green, red


def anchors(size: tuple[int, int]) -> Tensor:
    """Centre x, centre y, width and height of every anchor of a picture of `size` (H, W), as fractions of it:

    N 4, float32.
    """
    height, width = size
    parts = []
    for stride, sides in zip(STRIDES, SIDES, strict=True):
        rows, cols = (torch.arange(-(-n // stride), dtype=torch.float64, device="cpu") + 0.5 for n in size)
        y, x = torch.meshgrid(rows * stride / height, cols * stride / width, indexing="ij")
        parts.append(
            torch.stack(
                [
                    torch.stack([x, y, *(torch.full_like(x, s / n) for n in (width, height))], -1)
                    for s in sides
                ],
                2,
            ).reshape(-1, 4)
        )
    return torch.cat(parts).float()


def decode(boxes: Tensor, landmarks: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets N 4 and N 10 to boxes N 4 (left, top, right, bottom) and points N 5 2, as fractions of the
    picture.
    """
    centre, size = priors[:, :2], priors[:, 2:]
    middle = centre + boxes[:, :2] * VARIANCES[0] * size
    half = size * torch.exp(boxes[:, 2:] * VARIANCES[1]) / 2
    points = centre[:, None] + landmarks.reshape(-1, 5, 2) * VARIANCES[0] * size[:, None]
    return torch.cat([middle - half, middle + half], 1), points


@dataclass(frozen=True)
class RetinaFaceDetector:
    """A detector (see `Detector`).

    Pictures whose short side exceeds `side` are reduced to it, as published; 0 never reduces.
    """

    network: RetinaFace
    confidence: float = 0.02
    overlap: float = 0.4
    side: int = 640

    def __call__(self, picture: Tensor, smallest: float = 0.0) -> Faces:
        factor = min(1.0, self.side / min(picture.shape[-2:])) if self.side else 1.0
        if factor < 1:
            height, width = (round(n * factor) for n in picture.shape[-2:])
            picture = resize(picture, (height, width), method="area")
        mean = torch.tensor(MEAN, device=picture.device, dtype=torch.float32)[:, None, None]
        return self.detect(picture.flip(1) * 255 - mean).scaled(1 / factor)

    @torch.inference_mode()
    def detect(self, x: Tensor) -> Faces:
        """The faces of what the network takes: 1 3 H W, blue-green-red in 0..255 less the mean."""
        boxes, points, chances = self.decoded(x)
        likely = torch.nonzero(chances > self.confidence)[:, 0]
        if not len(likely):
            return no_faces()
        faces = Faces(*(t[likely].float().cpu() for t in (boxes, chances, points)))
        return faces[nms(faces.boxes, faces.scores, self.overlap)]

    def decoded(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every anchor's box N 4 and points N 5 2 in pixels, and its chance (N,)."""
        raw, (height, width) = self.network(x.to(next(self.network.parameters()))), x.shape[-2:]
        boxes, points = decode(raw.boxes[0], raw.landmarks[0], anchors((height, width)).to(raw.boxes))
        unit = torch.tensor([width, height], device=boxes.device)
        return boxes * unit.repeat(2), points * unit, raw.chances[0, :, 1]
