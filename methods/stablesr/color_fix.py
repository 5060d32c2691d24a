"""Colours of the low-resolution picture given back to the restored one: adain and wavelet (Wang et al. 2024,
section 3.3, Eq. 2-5), and statistics of opponent colours (Reinhard et al. 2001, Eq. 10-11).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.resize import resize, size_of
from ..imaging.strips import by_strips, laid, strips

EPS = 1e-5  # added to variances of pictures in -1..1
LEVELS = 5


def adain(image: Tensor, source: Tensor) -> Tensor:
    """B C H W in -1..1 with mean and deviation of each channel of `source`, B C h w of any size (Eq. 2)."""
    (mean, deviation), (wanted_mean, wanted_deviation) = _statistics(image), _statistics(source)
    return by_strips(lambda x: (x - mean) / deviation * wanted_deviation + wanted_mean, image)


def wavelet(image: Tensor, source: Tensor, levels: int = LEVELS) -> Tensor:
    """B C H W with its own fine bands and the coarsest band of `source`, which is resized if need be (Eq.
    3-5). Any range.
    """
    if source.shape[-2:] != image.shape[-2:]:
        source = resize(source, size_of(image), method="lanczos")
    return by_strips(torch.add, split_bands(image, levels)[0], split_bands(source, levels)[1])


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
        return by_strips(lambda part: rgb_to_lab(((part + 1) / 2).clamp(0, 1)) / 100, x.expand(-1, 3, -1, -1))

    own = coordinates(image)
    moved = adain(own[:, first:], coordinates(source)[:, first:])
    back = lambda some: lab_to_rgb(torch.cat(some, 1) * 100) * 2 - 1  # noqa: E731
    done = by_strips(lambda kept, part: back([kept[:, :first], part]), own, moved)
    return done if image.shape[1] == 3 else done.mean(1, keepdim=True)


def split_bands(x: Tensor, levels: int = LEVELS) -> tuple[Tensor, Tensor]:
    """The sum of the fine bands of B C H W and the coarsest band; together they are x."""
    low = x
    for level in range(levels):
        low = blur(low, 2**level)
    return by_strips(torch.sub, x, low), low


def blur(x: Tensor, radius: int) -> Tensor:
    """B C H W through 1 2 1 along both axes, taps `radius` apart, the edge repeated."""
    height, step = x.shape[2], strips(x)[0].shape[2]

    def part(start: int) -> Tensor:
        end = min(start + step, height)
        rows = torch.arange(start - radius, end + radius, device=x.device).clamp(0, height - 1)
        down = _tapped(x[:, :, rows], radius, 2)
        return _tapped(F.pad(down, (radius, radius, 0, 0), mode="replicate"), radius, 3)

    return laid(map(part, range(0, height, step)), height)


def _tapped(x: Tensor, radius: int, dim: int) -> Tensor:
    before, middle, after = (x.narrow(dim, i * radius, x.shape[dim] - 2 * radius) for i in range(3))
    return (before + after) * 0.25 + middle * 0.5


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
    own, wanted = (by_strips(lambda part: part * 2 - 1, x) for x in (colours, source))
    fixed = by_strips(lambda part: ((part + 1) / 2).clamp(0, 1), METHODS[method](own, wanted))
    return torch.cat([fixed, alpha], 1) if alpha.shape[1] else fixed


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, B C 1 1; the variance is unbiased, and that of a single pixel
    zero.
    """
    count, height = x[0, 0].numel(), x.shape[2]
    parts = [torch.var_mean(part, (2, 3), keepdim=True, correction=0) for part in strips(x)]
    spreads, means = (torch.stack(some) for some in zip(*parts, strict=True))
    shares = x.new_tensor([part.shape[2] / height for part in strips(x)]).view(-1, 1, 1, 1, 1)
    mean = (shares * means).sum(0)
    variance = (shares * (spreads + (means - mean).square())).sum(0)
    return mean, (variance * (count / max(1, count - 1)) + EPS).sqrt()
