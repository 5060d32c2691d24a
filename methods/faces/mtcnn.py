"""MTCNN as a detector (Zhang et al., IEEE SPL 2016): a pyramid of proposals, refined and judged by two more
networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nets.mtcnn import MTCNN
from .detect import Faces, nms, no_faces

CELL, STRIDE = 12, 2  # pixels that a proposal looks at, and that lie between two of them
STEP = 0.709  # between levels of the pyramid
MOST = 4000  # proposals of a level that are considered
STRIP = 1 << 19  # pixels that the first network is asked of at once


@dataclass(frozen=True)
class MTCNNDetector:
    """A detector (see `Detector`). thresholds: the least chance that each network must give; boxes lie
    between pixels inside.
    """

    network: MTCNN
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    batch: int = 256

    @torch.inference_mode()
    def __call__(self, picture: Tensor, smallest: float = 20.0) -> Faces:
        x = picture.to(next(self.network.parameters()))
        boxes = self._proposals(x, max(smallest, CELL))
        boxes = self._refined(x, boxes)
        return self._judged(x, boxes)

    def _proposals(self, x: Tensor, smallest: float) -> Tensor:
        """Boxes N 4 between pixels of picture x."""
        found, scale = [], CELL / smallest
        while min(size := [round(n * scale) for n in x.shape[-2:]]) >= CELL:
            chances, shifts = self._asked_everywhere(normal(reduced(x, size)))
            where = torch.nonzero(chances[0] > self.thresholds[0])
            scores = chances[0, where[:, 0], where[:, 1]]
            if len(scores) > MOST:
                best = scores.topk(MOST).indices
                where, scores = where[best], scores[best]
            corner = where.flip(1) * STRIDE
            unit = torch.tensor(
                [n / m for n, m in zip(x.shape[-2:], size, strict=True)][::-1],
                device=x.device,
                dtype=torch.float32,
            )
            boxes = torch.cat([corner, corner + CELL], 1) * unit.repeat(2)
            kept = nms(boxes, scores, 0.5).to(x.device)
            found.append((boxes[kept], scores[kept], shifts[0, :, where[kept, 0], where[kept, 1]].T))
            scale *= STEP
        if not found:
            return x.new_zeros(0, 4)
        boxes, scores, shifts = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = nms(boxes, scores, 0.7).to(x.device)
        return square(shifted(boxes[kept], shifts[kept]))

    def _asked_everywhere(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first network's answers of 1 3 H W in strips, none of which takes long: row i sees those from
        2i to 2i + 11.
        """
        rows = (x.shape[-2] - 1) // 2 - 4
        step = max(1, STRIP // (STRIDE * x.shape[-1]))
        strips = [x[..., STRIDE * i : STRIDE * min(i + step, rows) + 10, :] for i in range(0, rows, step)]
        chances, shifts = zip(*map(self.network.pnet, strips), strict=True)
        return torch.cat(chances, 1), torch.cat(shifts, 2)

    def _refined(self, x: Tensor, boxes: Tensor) -> Tensor:
        chances, shifts = self._ask(self.network.rnet, x, boxes, 24, 2)
        likely = chances > self.thresholds[1]
        boxes, chances, shifts = boxes[likely], chances[likely], shifts[likely]
        kept = nms(boxes, chances, 0.7).to(x.device)
        return square(shifted(boxes[kept], shifts[kept]))

    def _judged(self, x: Tensor, boxes: Tensor) -> Faces:
        chances, shifts, points = self._ask(self.network.onet, x, boxes, 48, 3)
        likely = chances > self.thresholds[2]
        if not likely.any():
            return no_faces()
        boxes, chances, shifts, points = boxes[likely], chances[likely], shifts[likely], points[likely]
        size = boxes[:, 2:] - boxes[:, :2]
        landmarks = boxes[:, None, :2] + points.reshape(-1, 2, 5).mT * size[:, None]
        boxes = shifted(boxes, shifts)
        # half a pixel from edges to centres, and half for landmarks trained as counted from 1: mirrored
        # pictures then agree best
        faces = Faces(*(t.float().cpu() for t in (boxes - 0.5, chances, landmarks - 1)))
        return faces[nms(faces.boxes, faces.scores, 0.7, of_smaller=True)]

    def _ask(
        self, network: torch.nn.Module, x: Tensor, boxes: Tensor, side: int, answers: int
    ) -> list[Tensor]:
        parts = (
            [network(normal(crops(x, some, side))) for some in boxes.split(self.batch)] if len(boxes) else []
        )
        widths = ((), (4,), (10,))
        return (
            [torch.cat(p) for p in zip(*parts, strict=True)]
            if parts
            else [x.new_zeros(0, *w) for w in widths[:answers]]
        )


def shifted(boxes: Tensor, shifts: Tensor) -> Tensor:
    """Boxes N 4 whose sides are moved by fractions of their size."""
    return boxes + shifts * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def square(boxes: Tensor) -> Tensor:
    """The squares around the middles of boxes N 4, as large as their longer sides."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([middle - half, middle + half], 1)


def crops(x: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Square boxes N 4 between pixels of 1 3 H W as N 3 side side, averaged over areas; black beyond the
    picture.
    """
    height, width = x.shape[-2:]
    parts = []
    for left, top, right, bottom in boxes.round().long().tolist():
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        inside = x[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        beyond = (max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0))
        if inside.numel() == 0 or min(inside.shape[-2:]) == 0:
            parts.append(x.new_zeros(1, 3, side, side))
            continue
        parts.append(
            F.interpolate(F.pad(inside, beyond) if any(beyond) else inside, (side, side), mode="area")
        )
    return torch.cat(parts)


def reduced(x: Tensor, size: list[int]) -> Tensor:
    """Means over the areas of larger pixels, a channel at a time."""
    return torch.cat([F.interpolate(channel, size, mode="area") for channel in x.split(1, 1)], 1)


def normal(x: Tensor) -> Tensor:
    """0..1 to what the networks were trained on, about -1..1."""
    return (x - 0.5) * (255 / 128)
