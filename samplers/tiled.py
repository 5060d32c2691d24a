"""A prior of limited size on pictures of any size: overlapping tiles, Gaussian weights, one pass over the
network a batch of tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .denoiser import Cond, Denoiser, Prediction, from_x0
from .schedule import Level


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side: every tile - overlap pixels, the last one flush with the end."""
    if not 0 <= overlap < tile:
        raise ValueError(f"an overlap of {overlap} does not fit tiles of {tile}: give 0 to {tile - 1}")
    if length <= tile:
        return [0]
    inner = list(range(0, length - tile, tile - overlap))
    return [*inner, length - tile]


def grid(height: int, width: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Top and left of every tile of a picture, one column of tiles after the other."""
    return [(top, left) for left in starts(width, tile, overlap) for top in starts(height, tile, overlap)]


def gaussian_weights(height: int, width: int, spread: float = 0.1, lower: float = 0.0) -> Tensor:
    """Weights of a tile, float32 H W: a Gaussian density whose variance is `spread` of each side squared.

    Its centre is the tile's, `lower` pixels further down.
    """
    offsets = [
        (torch.arange(n, dtype=torch.float32, device="cpu") + 0.5 - down) / n - 0.5
        for n, down in ((height, lower), (width, 0.0))
    ]
    return torch.outer(
        *(torch.exp(-(u**2) / (2 * spread)) / math.sqrt(2 * math.pi * spread) for u in offsets)
    )


def ramp_weights(height: int, width: int, overlap: int) -> Tensor:
    """Weights of a tile, float32 H W, that rise evenly over `overlap` pixels from each side, so that no tile
    ends in a step.
    """
    rises = [
        ((torch.minimum(i, n - 1 - i) + 0.5) / max(overlap, 1)).clamp(max=1)
        for n in (height, width)
        for i in [torch.arange(n, device="cpu")]
    ]
    return torch.outer(*rises)


@dataclass
class Tiled:
    """A denoiser that cuts x and its spatial conditions into tiles and blends what the inner one predicts.

    size: side of a tile; overlap: of neighbours; batch: tiles a network call; weights: of a tile of given
    height and width. Pictures no larger than a tile pass through whole. Memory is that of one call, under a
    gradient too, which then costs one more forward pass.
    """

    denoiser: Denoiser
    size: int = 64
    overlap: int = 16
    batch: int = 4
    weights: Callable[[int, int], Tensor] = gaussian_weights
    _plans: dict[tuple, tuple[list[tuple[int, int]], Tensor, Tensor]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        height, width = x.shape[-2:]
        if max(height, width) <= self.size:
            return self.denoiser(x, level, cond)
        places, weights, total = self._plan(height, width, x.device)
        h, w = weights.shape
        kept: dict[str, list[Tensor]] = {}
        sums: dict[str, Tensor] = {}
        for first in range(0, len(places), self.batch):
            group = places[first : first + self.batch]
            tiles = torch.cat([x[..., top : top + h, left : left + w] for top, left in group])
            conds = (
                None
                if cond is None
                else Cond.cat([cond.crop(top, left, h, w, (height, width)) for top, left in group])
            )
            if torch.is_grad_enabled() and tiles.requires_grad and len(group) < len(places):
                # the feature maps of one call at a time: the backward pass computes them again
                pred = checkpoint(
                    self.denoiser, tiles, level, conds, use_reentrant=False, preserve_rng_state=False
                )
            else:
                pred = self.denoiser(tiles, level, conds)
            for name in ("x0", "frac"):  # eps follows from x0
                values = getattr(pred, name)
                if values is None:
                    continue
                if values.requires_grad:
                    kept.setdefault(name, []).extend(values.chunk(len(group)))
                    continue
                if name not in sums:
                    sums[name] = torch.zeros(
                        x.shape[0], values.shape[1], height, width, device=x.device, dtype=torch.float32
                    )
                _add(sums[name], values, group, weights)
        sums |= {
            name: _Blend.apply(weights, places, (height, width), *values) for name, values in kept.items()
        }
        blended = {
            name: (whole / total if whole.requires_grad else whole.div_(total)).to(x.dtype)
            for name, whole in sums.items()
        }
        if not pred.eps.shape[
            1
        ]:  # what is no diffusion prior answers x0 alone, perhaps of other channels than x
            return Prediction(blended["x0"], blended["x0"][:, :0], blended.get("frac"))
        return from_x0(x, level, blended["x0"], blended.get("frac"))

    @torch.inference_mode(False)  # what is kept from a node must serve gradients later
    def _plan(
        self, height: int, width: int, device: torch.device
    ) -> tuple[list[tuple[int, int]], Tensor, Tensor]:
        """Where the tiles of a picture lie, the weights of one, and their sum over the picture: the same in
        every step of a run.
        """
        key = (height, width, self.size, self.overlap, self.weights, device)
        if key not in self._plans:
            h, w = min(self.size, height), min(self.size, width)
            places = grid(height, width, self.size, min(self.overlap, self.size - 1))
            weights, total = (
                self.weights(h, w).to(device),
                torch.zeros(height, width, device=device, dtype=torch.float32),
            )
            for top, left in places:
                total[top : top + h, left : left + w] += weights
            self._plans[key] = places, weights, total
        return self._plans[key]


def _add(whole: Tensor, values: Tensor, places: list[tuple[int, int]], weights: Tensor) -> None:
    """Add tiles, stacked along the batch, to the picture where they belong."""
    h, w = weights.shape
    for (top, left), value in zip(places, values.chunk(len(places)), strict=True):
        whole[..., top : top + h, left : left + w] += value * weights


class _Blend(torch.autograd.Function):
    """The weighted sum of tiles. Autograd alone would make a picture-sized tensor for each of them."""

    @staticmethod
    def forward(
        ctx, weights: Tensor, places: list[tuple[int, int]], size: tuple[int, int], *values: Tensor
    ) -> Tensor:
        ctx.weights, ctx.places = weights, places
        whole = torch.zeros(*values[0].shape[:2], *size, device=values[0].device, dtype=torch.float32)
        _add(whole, torch.cat(values), places, weights)
        return whole

    @staticmethod
    def backward(ctx, gradient: Tensor):
        h, w = ctx.weights.shape
        windows = (gradient[..., top : top + h, left : left + w] * ctx.weights for top, left in ctx.places)
        return None, None, None, *windows
