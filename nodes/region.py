"""What limits our restorers to a region, in any node that restores."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..methods.imaging.region import Region, RegionSettings
from . import host


def region_inputs() -> list[io.Input]:
    """A mask, and how its edge fades; the last inputs of a node."""
    edge = host.settings_inputs(RegionSettings)
    for one in edge:
        one.optional = True
    return [
        io.Mask.Input(
            "region",
            optional=True,
            tooltip=(
                "A mask of any size, for all images or one for each: only there the image is restored, "
                "elsewhere it stays or is enlarged bicubically."
            ),
        ),
        *edge,
    ]


def region_of(mask: Tensor | None, feather: float) -> Region | None:
    """What a MASK B H W or H W limits, None where there is none. Raises ValueError."""
    if mask is None:
        return None
    return Region((mask if mask.ndim == 3 else mask[None])[:, None].float().clone(), feather)
