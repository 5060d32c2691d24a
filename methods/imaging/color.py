"""RGB to YCbCr and back (ITU-R BT.601, studio range), on float tensors in 0..255."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

Rows = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class YCbCr:
    """An affine colour transform: ycbcr = forward @ rgb + offset, for values in 0..255."""

    forward: Rows
    offset: tuple[float, float, float]
    inverse: Rows | None = None  # None: the exact inverse of `forward`
    inverse_offset: tuple[float, float, float] | None = None
    _cache: dict = field(default_factory=dict, compare=False, repr=False)

    @torch.inference_mode(False)  # matrices cached from a node must serve gradients later
    def matrices(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        key = (x.device, x.dtype)
        if key not in self._cache:
            forward, offset = (
                torch.tensor(self.forward, dtype=torch.float64, device="cpu"),
                torch.tensor(self.offset, dtype=torch.float64, device="cpu"),
            )
            inverse = (
                torch.linalg.inv(forward)
                if self.inverse is None
                else torch.tensor(self.inverse, dtype=torch.float64, device="cpu")
            )
            back = (
                -inverse @ offset
                if self.inverse_offset is None
                else torch.tensor(self.inverse_offset, dtype=torch.float64, device="cpu")
            )
            self._cache[key] = tuple(t.to(x.device, x.dtype) for t in (forward, offset, inverse, back))
        return self._cache[key]


def _over(rows: Rows, divisor: float) -> Rows:
    return tuple((a / divisor, b / divisor, c / divisor) for a, b, c in rows)


# MATLAB's rgb2ycbcr, the convention of super-resolution benchmarks
BT601 = YCbCr(
    _over(((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214)), 255),
    (16.0, 128.0, 128.0),
)
# As published with SRCNN-pytorch: red weighs 64.738 where BT.601 has 65.738, and the inverse is rounded on
# its own
BT601_SRCNN = YCbCr(
    _over(((64.738, 129.057, 25.064), (-37.945, -74.494, 112.439), (112.439, -94.154, -18.285)), 256),
    (16.0, 128.0, 128.0),
    _over(((298.082, 0.0, 408.583), (298.082, -100.291, -208.120), (298.082, 516.412, 0.0)), 256),
    (-222.921, 135.576, -276.836),
)


def rgb_to_ycbcr(rgb: Tensor, space: YCbCr = BT601) -> Tensor:
    """... 3 H W in 0..255 to Y (16..235), Cb, Cr (16..240); neither clipped nor rounded."""
    forward, offset, _, _ = space.matrices(_rgb(rgb))
    return _affine(rgb, forward, offset)


def ycbcr_to_rgb(ycbcr: Tensor, space: YCbCr = BT601) -> Tensor:
    """The inverse of `rgb_to_ycbcr`; not clipped."""
    _, _, inverse, offset = space.matrices(_rgb(ycbcr))
    return _affine(ycbcr, inverse, offset)


def luma(rgb: Tensor, space: YCbCr = BT601) -> Tensor:
    """... 3 H W in 0..255 to Y, ... 1 H W in 16..235; one channel is taken as grey (R = G = B)."""
    if rgb.shape[-3] == 1:
        rgb = rgb.expand(*rgb.shape[:-3], 3, *rgb.shape[-2:])
    forward, offset, _, _ = space.matrices(_rgb(rgb))
    return _affine(rgb, forward[:1], offset[:1])


def grey(rgb: Tensor) -> Tensor:
    """... 3 H W in 0..1 to its luma stretched to 0..1, ... 1 H W; one channel comes back as it is."""
    return (luma(rgb * 255) - 16) / 219


def _affine(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", matrix, x) + offset[:, None, None]


def _rgb(x: Tensor) -> Tensor:
    if x.ndim < 3 or x.shape[-3] != 3 or not x.is_floating_point():
        raise ValueError(
            f"expected a float tensor ... 3 H W in 0..255, got {x.dtype} of shape {tuple(x.shape)}"
        )
    return x
