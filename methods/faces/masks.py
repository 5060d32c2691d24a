"""Masks of faces, 1 1 H W in 0..1: boxes, hulls of landmarks, parse classes; grown and feathered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.resize import size_of
from ..settings import Settings, option
from .align import SIDE, cut, invert, similarity, template, transform, warp, window
from .detect import Faces
from .filters import dilate, erode, gaussian_taps, smooth

CLASSES = (  # of CelebAMask-HQ, as ParseNet numbers them
    "background", "skin", "nose", "glasses", "left eye", "right eye", "left brow", "right brow", "left ear",
    "right ear", "mouth", "upper lip", "lower lip", "hair", "hat", "earring", "necklace", "neck", "cloth",
)  # fmt: skip


KINDS = ("box", "hull", "parts")


@dataclass(frozen=True)
class MaskSettings(Settings):
    """What of the faces a mask covers."""

    kind: str = option(
        "box",
        "The box of each face, the hull of its landmarks, or some of its parts as ParseNet tells them",
        choices=KINDS,
    )
    spread: float = option(
        2.0, "How much the hull of the landmarks is enlarged about its middle", low=0.1, high=10
    )
    parts: str = option(
        "skin, nose, left eye, right eye, left brow, right brow, mouth, upper lip, lower lip",
        "Parts of a face, with commas between",
    )
    grow: int = option(
        0,
        "Pixels that the mask becomes wider by on every side, or narrower for a negative number",
        low=-1024,
        high=1024,
    )
    feather: float = option(0.0, "Pixels over which its edge fades", low=0, high=1000)


def face_mask(
    picture: Tensor,
    faces: Faces,
    settings: MaskSettings = MaskSettings(),
    parser: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Mask 1 1 H W in 0..1 of the faces of a picture 1 3 H W in 0..1.

    Raises ValueError for unknown parts or a missing parser.
    """
    size = size_of(picture)
    if settings.kind == "parts":
        keep = classes([name for name in (part.strip() for part in settings.parts.split(",")) if name])
        if parser is None:
            raise ValueError(
                "the parts of faces are told by ParseNet (parsing_parsenet.pth): load it, or choose box or "
                "hull"
            )
        mask = torch.zeros(1, 1, *size, dtype=torch.float32, device="cpu")
        for i in range(len(faces)):  # one at a time, which bounds memory
            matrix = similarity(faces[[i]].landmarks, template(SIDE))
            mask = mask.maximum(part_mask(parser(cut(picture, matrix, SIDE)), invert(matrix), size, keep))
    else:
        mask = (
            box_mask(faces.boxes, size) if settings.kind == "box" else hull_mask(faces, size, settings.spread)
        )
    return feather(grow(mask, settings.grow), settings.feather)


def box_mask(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """1 inside the boxes N 4, their coordinates truncated and the last row and column included, as
    VisionRefine fills them.
    """
    mask = torch.zeros(1, 1, *size, dtype=torch.float32, device="cpu")
    height, width = size
    for left, top, right, bottom in boxes.tolist():
        rows, cols = (
            (min(max(int(a), 0), n), min(max(int(b), 0), n))
            for a, b, n in ((top, bottom, height), (left, right, width))
        )
        mask[..., rows[0] : rows[1] + 1, cols[0] : cols[1] + 1] = 1
    return mask


def hull_mask(faces: Faces, size: tuple[int, int], spread: float = 2.0) -> Tensor:
    """1 inside the convex hulls of the landmarks, each enlarged by `spread` about its middle; edges one pixel
    soft.
    """
    mask = torch.zeros(1, 1, *size, dtype=torch.float32, device="cpu")
    for points in faces.landmarks.double():
        middle = points.mean(0)
        corners = _hull(middle + (points - middle) * spread)
        rows, cols = window(corners, size, 1)
        y, x = torch.meshgrid(
            *(torch.arange(s.start, s.stop, dtype=torch.float64, device="cpu") for s in (rows, cols)),
            indexing="ij",
        )
        depth = torch.full_like(x, math.inf)
        for a, b in zip(corners, corners.roll(-1, 0), strict=True):
            edge = (b - a) / (b - a).norm().clamp(min=1e-9)
            depth = depth.minimum(edge[0] * (y - a[1]) - edge[1] * (x - a[0]))
        part = mask[0, 0, rows, cols]
        part.copy_(part.maximum((depth + 0.5).clamp(0, 1).float()))
    return mask


def part_mask(parts: Tensor, matrices: Tensor, size: tuple[int, int], keep: Sequence[int]) -> Tensor:
    """1 where one of the faces shows a wanted class. parts: classes N h w of aligned faces, matrices N 2 3:
    from them to the picture.
    """
    mask = torch.zeros(1, 1, *size, dtype=torch.float32, device="cpu")
    wanted = torch.isin(parts, torch.as_tensor(list(keep), device=parts.device)).float()[:, None]
    height, width = parts.shape[-2:]
    corners = torch.tensor(
        [[-1, -1], [width, -1], [-1, height], [width, height]], dtype=torch.float64, device="cpu"
    )
    for face, matrix in zip(wanted, matrices, strict=True):
        rows, cols = window(transform(matrix, corners), size, 1)
        part = mask[..., rows, cols]
        if part.numel():
            moved = matrix - torch.tensor(
                [[0, 0, cols.start], [0, 0, rows.start]], dtype=torch.float32, device="cpu"
            )
            part.copy_(part.maximum(warp(face[None], moved[None], size_of(part)).cpu()))
    return mask


def classes(names: Sequence[str]) -> tuple[int, ...]:
    """Numbers of parse classes. Raises ValueError for a name that ParseNet does not know."""
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise ValueError(f"there is no part {unknown[0]!r} of a face: choose among {', '.join(CLASSES)}")
    return tuple(CLASSES.index(name) for name in names)


def grow(mask: Tensor, pixels: int) -> Tensor:
    """A mask wider by so many pixels on every side, or narrower for a negative number."""
    return dilate(mask, 2 * pixels + 1) if pixels >= 0 else erode(mask, 1 - 2 * pixels)


def feather(mask: Tensor, pixels: float) -> Tensor:
    """A mask blurred by a Gaussian so that its edge fades over about so many pixels on both sides."""
    return mask if pixels <= 0 else smooth(mask, gaussian_taps(2 * math.ceil(pixels) + 1, pixels / 2))


def _hull(points: Tensor) -> Tensor:
    """Corners of the convex hull of n 2 points, in the order that keeps its inside on the side of a positive
    cross product.
    """
    ordered = sorted(map(tuple, points.tolist()))

    def chain(run: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for p in run:
            while len(kept) > 1 and _cross(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    corners = chain(ordered) + chain(ordered[::-1])
    return torch.tensor(corners or ordered[:1], dtype=torch.float64, device="cpu")


def _cross(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
