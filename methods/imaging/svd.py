"""Reductions that treat rows and columns apart, in their singular basis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .resize import Resampler

SMALLEST = 0.03  # singular values below it count as 0, as released with DDRM


@dataclass(frozen=True)
class SeparableSVD:
    """A = U S V^T of a reduction that treats rows and columns apart: the singular vectors of each, h h and H
    H, and the singular values H W of both together, 0 where nothing is measured.
    """

    left: tuple[Tensor, Tensor]
    right: tuple[Tensor, Tensor]
    values: Tensor

    @staticmethod
    def of(rows: Tensor, columns: Tensor, like: Tensor) -> SeparableSVD:
        """Of the matrices h H and w W, in the precision of a tensor and where it is."""
        # on the processor, for not every device has float64
        parts = [torch.linalg.svd(a.cpu().double()) for a in (rows, columns)]
        along = [F.pad(s, (0, len(v) - len(s))) for _, s, v in parts]
        values = torch.outer(*along)
        kept = torch.where(values < SMALLEST * values.max(), 0, values)
        left, right = (tuple(part[i].to(like) for part in parts) for i in (0, 2))
        return SeparableSVD(left, right, kept.to(like))

    def spectral(self, x: Tensor) -> Tensor:
        """V^T x of B C H W."""
        return self.right[0] @ x @ self.right[1].mT

    def pixels(self, z: Tensor) -> Tensor:
        """V z, the way back."""
        return self.right[0].mT @ z @ self.right[1]

    def measured(self, y: Tensor) -> Tensor:
        """S^+ U^T y of B C h w: what a measurement tells, B C H W, 0 where it tells nothing."""
        told = self.left[0].mT @ y @ self.left[1]
        height, width = self.values.shape
        told = F.pad(told, (0, width - told.shape[-1], 0, height - told.shape[-2]))
        return torch.where(self.values > 0, told / self.values.clamp_min(1e-12), 0)

    def doubt(self, noise: float) -> Tensor:
        """The standard deviation of what a measurement tells along each singular vector, H W, its noise
        having `noise`; 0 where it tells nothing.
        """
        return torch.where(self.values > 0, noise / self.values.clamp_min(1e-12), 0)


def reduction_matrix(operator: str, size: int, out: int, side: int) -> Tensor:
    """What brings `size` pixels to `out`, as out x side; the rim from `size` to `side` counts for nothing."""
    if operator == "average":
        step = size / out
        start = torch.arange(out, dtype=torch.float32, device="cpu")[:, None] * step
        pixel = torch.arange(size, dtype=torch.float32, device="cpu")[None]
        matrix = (torch.minimum(start + step, pixel + 1) - torch.maximum(start, pixel)).clamp_min(0) / step
    else:
        column = Resampler((size, 1), (out, 1), border="mirror")
        matrix = column(torch.eye(size, dtype=torch.float32, device="cpu")[:, None, :, None])[:, 0, :, 0].mT
    return F.pad(matrix, (0, side - size))


def reduction_svd(operator: str, size: tuple[int, int], sides: tuple[int, int], y: Tensor) -> SeparableSVD:
    """Of what brought a picture of `size`, within `sides`, to y of B C h w."""
    rows, columns = (reduction_matrix(operator, *n) for n in zip(size, y.shape[-2:], sides, strict=True))
    return SeparableSVD.of(rows, columns, y)
