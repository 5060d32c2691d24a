"""Colours of the low-resolution picture given back to the restored one: adain and wavelet (Wang et al. 2024,
section 3.3, Eq. 2-5), and statistics of opponent colours (Reinhard et al. 2001, Eq. 10-11).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.resize import resize, size_of

EPS = 1e-5  # added to variances of pictures in -1..1
LEVELS = 5


def adain(image: Tensor, source: Tensor) -> Tensor:
    """B C H W in -1..1 with mean and deviation of each channel of `source`, B C h w of any size (Eq. 2)."""
    (mean, deviation), (wanted_mean, wanted_deviation) = _statistics(image), _statistics(source)
    return (image - mean) / deviation * wanted_deviation + wanted_mean


def wavelet(image: Tensor, source: Tensor, levels: int = LEVELS) -> Tensor:
    """B C H W with its own fine bands and the coarsest band of `source`, which is resized if need be (Eq.
    3-5). Any range.
    """
    if source.shape[-2:] != image.shape[-2:]:
        source = resize(source, size_of(image), method="lanczos")
    return split_bands(image, levels)[0] + split_bands(source, levels)[1]


def lab(image: Tensor, source: Tensor) -> Tensor:
    """B C H W in -1..1 with mean and deviation of L, a and b of `source`, B C h w of any size: lightness and
    two opponent colours of CIELAB (D65), each moved by itself (Reinhard et al. 2001).
    """
    return _opponents(image, source, 0)


def lab_ab(image: Tensor, source: Tensor) -> Tensor:
    """The same for a and b alone: the lightness stays the picture's own."""
    return _opponents(image, source, 1)


def _opponents(image: Tensor, source: Tensor, first: int) -> Tensor:
    """`adain` in CIELAB from the channel `first` on."""
    from kornia.color import lab_to_rgb, rgb_to_lab  # which takes half a second

    def coordinates(x: Tensor) -> Tensor:
        return rgb_to_lab(((x.expand(-1, 3, -1, -1) + 1) / 2).clamp(0, 1)) / 100

    own = coordinates(image)
    moved = adain(own[:, first:], coordinates(source)[:, first:])
    done = lab_to_rgb(torch.cat([own[:, :first], moved], 1) * 100) * 2 - 1
    return done if image.shape[1] == 3 else done.mean(1, keepdim=True)


def split_bands(x: Tensor, levels: int = LEVELS) -> tuple[Tensor, Tensor]:
    """The sum of the fine bands of B C H W and the coarsest band; together they are x."""
    low = x
    for level in range(levels):
        low = blur(low, 2**level)
    return x - low, low


def blur(x: Tensor, radius: int) -> Tensor:
    """B C H W through 1 2 1 along both axes, taps `radius` apart, the edge repeated."""
    taps = x.new_tensor([0.25, 0.5, 0.25])
    for axis in (2, 3):
        shape = [1, 1, 1, 1]
        shape[axis] = 3
        dilation = (radius, 1) if axis == 2 else (1, radius)
        padded = F.pad(x, (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0), mode="replicate")
        x = F.conv2d(
            padded, taps.view(shape).expand(x.shape[1], 1, *shape[2:]), dilation=dilation, groups=x.shape[1]
        )
    return x


METHODS = {"adain": adain, "wavelet": wavelet, "lab": lab, "lab-ab": lab_ab}
COLORS = ("none", *METHODS)


def color_fix(image: Tensor, source: Tensor, method: str = "adain") -> Tensor:
    """Pictures B C H W in 0..1 with the colours of `source`, clipped to 0..1; `none` leaves them.

    C is 1, 3, or 4 with alpha, which is kept; the source's alpha is left out. One source serves a batch; a
    grey one is taken as equal channels. Raises ValueError.
    """
    if method not in COLORS:
        raise ValueError(f"colour correction {method!r} is not one of {', '.join(COLORS)}")
    for name, x in (("picture", image), ("source", source)):
        if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or not x.is_floating_point():
            raise ValueError(
                f"the {name} must be float B C H W with 1, 3 or 4 channels, not {x.dtype} of {tuple(x.shape)}"
            )
    if len(source) not in (1, len(image)):
        raise ValueError(f"{len(source)} sources for {len(image)} pictures: give one, or one for each")
    if method == "none":
        return image
    colours, alpha = (image[:, :3], image[:, 3:]) if image.shape[1] == 4 else (image, image[:, :0])
    source = source[:, :3].to(image)
    if source.shape[1] != colours.shape[1]:
        source = source.expand(-1, 3, -1, -1) if source.shape[1] == 1 else source.mean(1, keepdim=True)
    fixed = (METHODS[method](colours * 2 - 1, source * 2 - 1) + 1) / 2
    return torch.cat([fixed.clamp(0, 1), alpha], 1)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, B C 1 1; the variance is unbiased, and that of a single pixel
    zero.
    """
    variance, mean = torch.var_mean(x, (2, 3), keepdim=True, correction=min(1, x[0, 0].numel() - 1))
    return mean, (variance + EPS).sqrt()
