"""Faces in pictures: what a detector answers, which of its faces are kept, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..imaging.images import check_pixels
from ..imaging.resize import size_of
from ..settings import Settings, option

TOGETHER = 128  # boxes that are compared with all others at once
ORDERS = ("left to right", "largest", "best")


@dataclass(frozen=True)
class Faces:
    """N faces of one picture, float32 on the CPU, in pixels (the centre of the first is 0, 0).

    boxes N 4: left, top, right, bottom; scores (N,) in 0..1; landmarks N 5 2: x, y of the eyes, the nose, the
    corners of the mouth, those on the left of an upright picture first.
    """

    boxes: Tensor
    scores: Tensor
    landmarks: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, which: Tensor | Sequence[int]) -> Faces:
        which = torch.as_tensor(which, dtype=None if len(which) else torch.long, device="cpu")
        return Faces(self.boxes[which], self.scores[which], self.landmarks[which])

    @property
    def sides(self) -> Tensor:
        """The longer side of each box."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).amax(1)

    @property
    def eye_distances(self) -> Tensor:
        return (self.landmarks[:, 1] - self.landmarks[:, 0]).norm(dim=1)

    def scaled(self, factor: float) -> Faces:
        """The same faces in a picture enlarged by `factor`, pixel centres aligned."""

        def place(points: Tensor) -> Tensor:
            return (points + 0.5) * factor - 0.5

        return Faces(place(self.boxes), self.scores, place(self.landmarks))


def no_faces() -> Faces:
    return Faces(
        torch.zeros(0, 4, dtype=torch.float32, device="cpu"),
        torch.zeros(0, dtype=torch.float32, device="cpu"),
        torch.zeros(0, 5, 2, dtype=torch.float32, device="cpu"),
    )


class Detector(Protocol):
    """Finds the faces of one picture 1 3 H W in 0..1 whose box is at least `smallest` pixels wide or high,
    best first.
    """

    def __call__(self, picture: Tensor, smallest: float) -> Faces: ...


@dataclass(frozen=True)
class DetectSettings(Settings):
    """Which faces count."""

    confidence: float = option(0.9, "Lowest score of a face", low=0, high=1)
    smallest: int = option(
        0,
        "Shortest box in pixels, 0 for a fortieth of the picture's short side and at least 20",
        low=0,
        high=65_536,
    )
    order: str = option("left to right", "How faces are numbered", choices=ORDERS)
    limit: int = option(100, "Most faces of a picture; beyond it the largest are kept", low=1, high=10_000)
    which: tuple[int, ...] = option(
        (), "Numbers of the faces to take, 0 being the first in that order; empty for all"
    )
    turned: bool = option(False, "Look for faces lying on their side or upside down too (four times slower)")


def face_numbers(text: str) -> tuple[int, ...]:
    """Numbers of faces from text such as "0, 2"; none from an empty one. Raises ValueError."""
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise ValueError(
            f"{text!r} does not number faces: give numbers such as 0, 2, or nothing for all"
        ) from None


@dataclass(frozen=True)
class Detection:
    """The faces of one picture, and what was left out, in words."""

    faces: Faces
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """The faces in words, a line for each."""
        left_out = f"; left out: {', '.join(self.notes)}" if self.notes else ""
        lines = [f"{len(self.faces) or 'no'} face{'s' * (len(self.faces) != 1)}{left_out}"]
        for i, (box, score) in enumerate(
            zip(self.faces.boxes.tolist(), self.faces.scores.tolist(), strict=True)
        ):
            left, top, right, bottom = (round(n) for n in box)
            lines.append(
                f"  face {i}: {right - left} x {bottom - top} px at {left}, {top}, score {score:.2f}"
            )
        return "\n".join(lines)


def detect(x: Tensor, detector: Detector, settings: DetectSettings = DetectSettings()) -> list[Detection]:
    """The faces of each picture of B C H W in 0..1; grey ones serve, alpha is ignored. Raises ValueError."""
    pictures = colours(check_pixels(x, "the picture"))
    smallest = settings.smallest or max(20.0, min(x.shape[-2:]) / 40)
    return [
        choose(_find(detector, picture[None], smallest, settings.turned), smallest, settings)
        for picture in pictures
    ]


def colours(x: Tensor) -> Tensor:
    """B 3 H W of grey, grey with alpha, RGB or RGBA pictures, without copying.

    Raises ValueError for other channels.
    """
    if x.shape[1] not in (1, 2, 3, 4):
        raise ValueError(
            f"a picture has 1 to 4 channels (grey or RGB, with or without alpha), not {x.shape[1]}"
        )
    return x[:, :1].expand(-1, 3, -1, -1) if x.shape[1] < 3 else x[:, :3]


def choose(faces: Faces, smallest: float, settings: DetectSettings) -> Detection:
    """Drop what is doubtful, too small or too much, then number the rest and pick the wanted ones.

    Raises ValueError.
    """
    notes, seen = [], faces[torch.nonzero(faces.scores >= settings.confidence)[:, 0]]
    kept = seen[torch.nonzero(seen.sides >= smallest)[:, 0]]
    if small := len(seen) - len(kept):
        notes.append(f"{small} smaller than {smallest:.0f} pixels")
    if (extra := len(kept) - settings.limit) > 0:
        notes.append(f"{extra} beyond the limit of {settings.limit}")
        kept = kept[kept.sides.argsort(descending=True, stable=True)[: settings.limit]]
    keys = {
        "left to right": kept.boxes[:, 0] + kept.boxes[:, 2],
        "largest": -kept.sides,
        "best": -kept.scores,
    }
    kept = kept[keys[settings.order].argsort(stable=True)]
    if settings.which:
        wrong = [i for i in settings.which if not 0 <= i < len(kept)]
        if wrong and len(kept):
            raise ValueError(f"there is no face {wrong[0]}: the picture has faces 0 to {len(kept) - 1}")
        kept = kept[list(settings.which) if len(kept) else []]
    return Detection(kept, tuple(notes))


def largest(faces: Faces, size: tuple[int, int]) -> int:
    """Index of the face with the largest area inside a picture of `size` (H, W)."""
    height, width = size
    limits = torch.tensor([width, height, width, height], device="cpu")
    inside = faces.boxes.clamp(min=0).minimum(limits)
    return int((inside[:, 2:] - inside[:, :2]).prod(1).argmax())


def most_central(faces: Faces, size: tuple[int, int]) -> int:
    """Index of the face whose box is centred nearest to the middle of a picture of `size` (H, W)."""
    middle = torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float32, device="cpu")
    return int(((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - middle).norm(dim=1).argmin())


def nms(boxes: Tensor, scores: Tensor, threshold: float, of_smaller: bool = False) -> Tensor:
    """Indices of boxes N 4, best first, without those that overlap a better one by more than `threshold`.

    The overlap is a share of the union, or of the smaller box.
    """
    b, kept = boxes.cpu().double(), [torch.zeros(0, dtype=torch.int64, device="cpu")]
    order = torch.from_numpy(np.argsort(-scores.cpu().double().numpy(), kind="stable"))
    while len(order):  # many at once, so that a host can end the work and little is done for each
        best, order = order[:TOGETHER], order[TOGETHER:]
        clear = _clear(b[best], b[best], threshold, of_smaller).numpy()
        stays = np.ones(len(best), dtype=bool)
        for i in range(len(best)):
            if stays[i]:
                stays[i + 1 :] &= clear[i, i + 1 :]
        kept.append(best[torch.from_numpy(stays)])
        order = order[_clear(b[kept[-1]], b[order], threshold, of_smaller).all(0)]
    return torch.cat(kept)


def _clear(a: Tensor, b: Tensor, threshold: float, of_smaller: bool) -> Tensor:
    """Whether each of boxes N 4 overlaps each of M 4 by no more than `threshold`."""
    a = a[:, None]
    shared = (torch.minimum(a[..., 2:], b[:, 2:]) - torch.maximum(a[..., :2], b[:, :2])).clamp(min=0).prod(-1)
    of_a, of_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    whole = torch.minimum(of_a, of_b) if of_smaller else of_a + of_b - shared
    return shared <= threshold * whole


def _find(detector: Detector, picture: Tensor, smallest: float, turned: bool) -> Faces:
    if not turned:
        return detector(picture, smallest)
    found = []
    for turns in range(4):
        faces = detector(torch.rot90(picture, turns, (2, 3)), smallest)
        found.append(_unturn(faces, turns, size_of(picture)))
    boxes, scores, landmarks = (
        torch.cat([getattr(f, name) for f in found]) for name in ("boxes", "scores", "landmarks")
    )
    return Faces(boxes, scores, landmarks)[nms(boxes, scores, 0.4)]


def _unturn(faces: Faces, turns: int, size: tuple[int, int]) -> Faces:
    """Faces found after so many counter-clockwise quarter turns of a picture of `size` (H, W), back in it."""
    height, width = size
    for k in range(turns, 0, -1):
        across = (width, height)[(k - 1) % 2] - 1  # of the picture before this turn

        def place(points: Tensor, across: int = across) -> Tensor:
            return torch.stack([across - points[..., 1], points[..., 0]], -1)

        first, second = place(faces.boxes[:, :2]), place(faces.boxes[:, 2:])
        boxes = torch.cat([first.minimum(second), first.maximum(second)], 1)
        faces = Faces(boxes, faces.scores, place(faces.landmarks))
    return faces
