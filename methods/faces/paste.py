"""Restored faces put back: the masks of the published helpers, feathered, and the blend, within the face's
own part of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.resize import resize
from ..settings import Settings, option
from .align import SIDE, STEPS, enlargement, invert, then, transform, warp, window
from .filters import erode, gaussian_taps, smooth

PASTED = (
    *range(1, 14),
    15,
)  # parse classes that belong to a face: all but background, hat, necklace, neck and cloth
RIM = 10  # pixels of an aligned face of 512 that its parse mask leaves out


@dataclass(frozen=True)
class PasteSettings(Settings):
    """What of a restored face is put back."""

    mask: str = option(
        "square",
        "square takes the whole aligned face, parse its skin, features and hair",
        choices=("square", "parse"),
    )
    rule: str = option(
        "codeformer",
        "codeformer keeps a parse mask within the square one, facexlib does not",
        choices=("codeformer", "facexlib"),
    )
    strength: float = option(1.0, "Share of the restored face, 0 keeps the picture", low=0, high=1)


@dataclass(frozen=True)
class Placed:
    """A face in the pixels of the picture: where it lies, its colours 1 3 h w, its soft mask 1 1 h w in 0..1.

    area: how many pixels the square covers; edge: over how many its border is feathered.
    """

    rows: slice
    cols: slice
    face: Tensor
    mask: Tensor
    area: float
    edge: int

    def onto(self, canvas: Tensor, strength: float = 1.0, added: bool = False) -> None:
        """Blend into 1 3 H W in place, or add what is a difference."""
        part, mask = canvas[..., self.rows, self.cols], self.mask * strength
        part.copy_(mask * self.face + (part if added else (1 - mask) * part))


def to_picture(matrices: Tensor, ratio: float = 1.0, scale: float = 1.0, published: bool = False) -> Tensor:
    """N 2 3 from a restored face, `ratio` times as large as the aligned one, to the picture enlarged by
    `scale`.

    matrices: N 2 3 from the picture to the aligned face. published: at a scale above 1 the helpers move faces
    half a pixel too far right and down.
    """
    inverse = then(invert(enlargement(ratio)), invert(matrices))
    return then(inverse, enlargement(scale, (scale / 2 if scale > 1 else 0.0) if published else None))


def place(
    face: Tensor,
    matrix: Tensor,
    size: tuple[int, int],
    scale: float,
    settings: PasteSettings = PasteSettings(),
    parts: Tensor | None = None,
    published: bool = False,
) -> Placed:
    """A restored face 1 3 S S through its matrix 2 3 into a picture of `size` (H, W), itself enlarged by
    `scale`.

    parts: the classes 1 h w of the face, for a parse mask. published: sampled at steps of 1/32 pixel and
    black beyond the face, which darkens its outermost pixel. Raises ValueError when parts are needed and
    missing.
    """
    steps = STEPS if published else 0
    side = face.shape[-1]
    corners = torch.tensor(
        [[-1, -1], [side, -1], [-1, side], [side, side]], dtype=torch.float64, device="cpu"
    )
    rows, cols = window(transform(matrix, corners), size, 2)
    inside = (rows.stop - rows.start, cols.stop - cols.start)
    if 0 in inside:
        return Placed(rows, cols, face[..., :0, :0], face[:, :1, :0, :0], 0.0, 0)
    matrix = then(
        matrix, torch.tensor([[1, 0, -cols.start], [0, 1, -rows.start]], dtype=torch.float64, device="cpu")
    )[None]
    square = erode(
        warp(torch.ones_like(face[:, :1], dtype=torch.float32), matrix, inside, steps=steps),
        max(1, round(2 * scale)),
    )
    area = square.sum().item()
    edge = max(1, int(math.sqrt(area)) // 20)
    mask = smooth(erode(square, 2 * edge), gaussian_taps(2 * edge + 1))
    warped = warp(face, matrix, inside, 0.0 if published else None, steps=steps)
    if settings.mask == "parse":
        soft = warp(parse_mask(_needed(parts), side, dtype=face.dtype), matrix, inside, steps=steps)
        soft = torch.where(
            soft > 1 - 1e-15, 1, soft
        )  # rounding would let a published truncation take a level off
        mask = soft.minimum(mask.to(soft)) if settings.rule == "codeformer" else soft
    if published and (settings.mask == "square" or settings.rule == "codeformer"):
        warped = warped * square
    return Placed(rows, cols, warped, mask, area, edge)


def parse_mask(
    parts: Tensor, side: int, keep: tuple[int, ...] = PASTED, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Soft mask B 1 side side in 0..1 of the wanted classes among parts B 512 512, none within 10 pixels of
    its border.
    """
    wanted = torch.isin(parts, torch.tensor(keep, device=parts.device)).to(dtype)[:, None]
    taps = gaussian_taps(101, 11.0)
    soft = smooth(smooth(wanted, taps), taps)
    soft[..., :RIM, :] = soft[..., -RIM:, :] = soft[..., :RIM] = soft[..., -RIM:] = 0
    return (
        soft
        if side == SIDE
        else resize(soft, (side, side), method="bilinear", antialias=False, border="edge")
    )


def _needed(parts: Tensor | None) -> Tensor:
    if parts is None:
        raise ValueError("a parse mask needs ParseNet: load parsing_parsenet.pth, or choose the square mask")
    return parts
