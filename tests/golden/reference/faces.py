"""The face helpers of CodeFormer and facexlib as published, 8-bit rounding included; for comparison with
their figures only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from priorsr.methods.faces.align import cut, fit_similarity, invert, similarity, template
from priorsr.methods.faces.grey import as_grey, is_grey
from priorsr.methods.faces.paste import PasteSettings, Placed, place, to_picture
from priorsr.methods.imaging.images import to_uint8
from priorsr.methods.imaging.resize import Axis, axis, resize

SHORTEST = 512  # short side to which CodeFormer enlarges a picture


@dataclass(frozen=True)
class PublishedHelper:
    """Every stage: pictures 1 3 H W and faces N 3 S S in 0..1, matrices N 2 3, the last face's mask H W in
    the result.
    """

    picture: Tensor
    template: Tensor
    affine: Tensor
    affine_all_points: Tensor
    faces: Tensor
    grey: bool
    inverse_affine: Tensor
    placed: Placed
    mask: Tensor
    result: Tensor


def published_picture(pixels: Tensor, variant: str) -> Tensor:
    """What the helper works on: 1 3 H W in 0..1 of an 8-bit picture H W 3."""
    picture = pixels.permute(2, 0, 1)[None].float() / 255
    shortest = min(picture.shape[-2:])
    if variant == "codeformer" and shortest < SHORTEST:
        # the exact scale, whatever the size is rounded to
        picture = _bilinear(
            picture, tuple(round(n * SHORTEST / shortest) for n in picture.shape[-2:]), SHORTEST / shortest
        )
    return picture


def published_helper(
    pixels: Tensor,
    landmarks: Tensor,
    restore: Callable[[Tensor], Tensor],
    variant: str = "codeformer",
    scale: int = 1,
    side: int = 512,
    parts: Tensor | None = None,
) -> PublishedHelper:
    """Align, restore and put back the faces with landmarks N 5 2 (pixels of `published_picture`); parts:
    classes 1 h w of every face.
    """
    picture, points = published_picture(pixels, variant), template(side)
    affine = similarity(landmarks, points)
    faces = _eight_bit(cut(picture, affine, side, published=True))
    grey = variant == "codeformer" and bool(is_grey(picture)[0])
    restored = restore(faces)
    if (
        grey or parts is not None
    ):  # where the published arithmetic is in double precision, which its truncation at the end shows
        restored = restored.double()
    restored = as_grey(restored, faces.double()) if grey else restored
    size = tuple(n * scale for n in picture.shape[-2:])
    background = (
        _bilinear(picture, size, scale)
        if variant == "codeformer"
        else resize(picture, size, None, "lanczos", False, "edge")
    )
    canvas = to_uint8(background).to(restored.dtype)
    settings = PasteSettings("square" if parts is None else "parse", variant)
    for face, matrix in zip(restored, to_picture(affine, 1.0, scale, published=True), strict=True):
        placed = place(255 * face[None], matrix, canvas.shape[-2:], scale, settings, parts, published=True)
        if not grey:  # whose faces are not rounded to 8 bits
            placed = replace(placed, face=placed.face.round())
        placed.onto(canvas)
    mask = torch.zeros(canvas.shape[-2:])
    mask[placed.rows, placed.cols] = placed.mask[0, 0].float()
    result = (
        canvas.trunc().remainder(2**16 if canvas.max() > 256 else 2**8) / 255
    )  # the published casts wrap what is out of range
    all_points = fit_similarity(landmarks, points.expand_as(landmarks))
    return PublishedHelper(
        picture, points, affine, all_points, faces, grey, invert(affine) * scale, placed, mask, result
    )


def _eight_bit(x: Tensor) -> Tensor:
    return to_uint8(x) / 255


def _bilinear(x: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """OpenCV's enlargement of 8-bit pictures: fixed point that loses an eighth of a level on average, which a
    truncation later shows.
    """
    rows, cols = (
        axis(n, m, scale, "bilinear", antialias=False, border="edge")
        for n, m in zip(x.shape[-2:], size, strict=True)
    )

    def taps(table: Axis) -> list[tuple[Tensor, Tensor]]:
        weights = np.rint(table.weight * 2048).astype(np.int64)
        return [
            (torch.from_numpy(index), torch.from_numpy(weight))
            for index, weight in zip(table.index, weights, strict=True)
        ]

    levels = to_uint8(x).long()
    wide = sum(levels[..., index] * weight for index, weight in taps(cols)) >> 4
    tall = sum((wide[..., index, :] * weight[:, None]) >> 16 for index, weight in taps(rows))
    return ((tall + 2) >> 2) / 255
