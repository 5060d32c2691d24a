"""Pictures with transparency through methods that know only colours."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .resize import resize, size_of

REACH = 5  # pixels across within which alpha is compared
FAINT = 32.0  # colours below 1 / FAINT of the largest alpha around, of few levels, give way to those beside


def fill_hidden(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Pixels B C H W with the visible colours continued where alpha B 1 H W is 0, whatever was hidden.

    A method that looks at neighbours, linear or not, then meets neither hidden colours nor edges nobody sees.
    Colours count as far as they are visible, level by level of a pyramid (pull and push: Gortler et al., The
    Lumigraph, 1996, section 3.6). Fully opaque pictures come back as they are.
    """
    if bool((alpha >= 1).all()):
        return pixels
    # relative to the alpha around, so that an evenly faint picture keeps its colours
    around = F.max_pool2d(alpha, REACH, stride=1, padding=REACH // 2).clamp_min(1e-6)
    weight = (FAINT * alpha / around).clamp(0, 1)
    seen = torch.where(alpha > 0, pixels, torch.zeros_like(pixels))
    return torch.where(weight >= 1, pixels, _continued(seen, weight))


def upscale_with_alpha(
    pixels: Tensor, alpha: Tensor | None, enlarge: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    """What `enlarge` makes of pixels B C H W, and alpha B 1 H W at that size; None is opaque."""
    if alpha is None:
        return enlarge(pixels), None
    done = enlarge(fill_hidden(pixels, alpha))
    return done, resize(alpha, size_of(done)).clamp(0, 1)


def _continued(colours: Tensor, weight: Tensor) -> Tensor:
    """Colours where their weight is 1, those of coarser levels where it is 0."""
    size = colours.shape[-2:]
    if max(size) == 1 or bool((weight >= 1).all()):
        return colours
    pad = (0, size[1] % 2, 0, size[0] % 2)
    mass, sums = F.avg_pool2d(F.pad(weight, pad), 2), F.avg_pool2d(F.pad(colours * weight, pad), 2)
    coarse = _continued(sums / mass.clamp_min(1e-12), (4 * mass).clamp(0, 1))
    wide = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return weight * colours + (1 - weight) * wide[..., : size[0], : size[1]]
