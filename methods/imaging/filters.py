"""Blur kernels, each k x k and summing to one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .strips import laid, strips

STRIP = 2**26  # products of a channel at once, of a large picture
SHAPES = ("gaussian", "generalised", "plateau")


def gaussian(
    size: int,
    sigma_x: float,
    sigma_y: float | None = None,
    angle: float = 0.0,
    beta: float = 1.0,
    shape: str = "gaussian",
) -> Tensor:
    """A Gaussian with standard deviations in pixels and an angle in radians, or one of its relatives with
    exponent beta.

    generalised: exp(-d^beta / 2), plateau: 1 / (1 + d^beta), d the squared Mahalanobis distance (Liu et al.
    2020; Wang et al., Real-ESRGAN 2021, section 3.1).
    """
    if shape not in SHAPES:
        raise ValueError(f"kernel shape {shape!r} is not one of {', '.join(SHAPES)}")
    sigma_y = sigma_x if sigma_y is None else sigma_y
    if min(sigma_x, sigma_y) <= 0:
        raise ValueError(
            f"a blur of sigma {min(sigma_x, sigma_y):g} pixels is not possible: give more than 0"
        )
    x, y = _grid(size)
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_x
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_y
    distance = along**2 + across**2
    if shape == "plateau":
        kernel = 1 / (1 + distance**beta)
    else:
        kernel = torch.exp(-0.5 * (distance**beta if shape == "generalised" else distance))
    return (kernel / kernel.sum()).float()


def sinc(size: int, cutoff: float) -> Tensor:
    """The circular low-pass kernel that causes ringing; cutoff in radians per pixel, 0..pi (Real-ESRGAN, Eq.
    6).
    """
    x, y = _grid(size)
    radius = torch.sqrt(x**2 + y**2)
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)  # the limit at radius 0
    return (kernel / kernel.sum()).float()


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter C H W with an odd k x k kernel; the image is reflected at its borders, however small it is."""
    reach = kernel.shape[-1] // 2
    rows, cols = (reflected(n, reach).to(x.device) for n in x.shape[-2:])
    kernel = kernel.to(x)[None, None]
    strip = max(1, min(strips(x)[0].shape[-2], STRIP // (kernel.numel() * x.shape[-1])))
    starts = range(0, x.shape[-2], strip)
    padded = (x[:, rows[i : i + strip + 2 * reach]][:, :, cols][:, None] for i in starts)
    return laid((F.conv2d(part, kernel)[:, 0] for part in padded), x.shape[-2])


def _grid(size: int) -> tuple[Tensor, Tensor]:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel of {size} pixels has no centre: give an odd size")
    axis = torch.arange(size, dtype=torch.float64, device="cpu") - size // 2
    return axis[None, :].expand(size, size), axis[:, None].expand(size, size)


def reflected(size: int, reach: int) -> Tensor:
    """Indices -reach .. size + reach - 1 reflected without repeating the edge."""
    period = max(1, 2 * size - 2)
    index = torch.arange(-reach, size + reach, device="cpu").remainder(period)
    return torch.minimum(index, period - index) if size > 1 else torch.zeros_like(index)
