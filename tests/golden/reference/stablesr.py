"""The released canvas script, number for number: how it sizes, pads and crops; for comparison with its
results only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from priorsr.methods.imaging.resize import resize
from priorsr.methods.stablesr.color_fix import METHODS
from priorsr.methods.stablesr.method import Restored, StableSR, StableSRSettings, restore
from priorsr.samplers.run import Draw

STRIDE = 32  # what the script pads sides to


@dataclass(frozen=True)
class PublishedCanvas:
    """Its stages: the padded input -1..1, the state at the start, what was restored, and the pictures in 0..1
    by colour correction.
    """

    padded: Tensor
    x_T: Tensor
    restored: Restored
    images: dict[str, Tensor]


def published_canvas(
    model: StableSR,
    low: Tensor,
    upscale: float,
    context: Tensor,
    settings: StableSRSettings,
    noise: Draw | None = None,
) -> PublishedCanvas:
    """Restore B 3 h w in -1..1 as `sr_val_ddpm_text_T_vqganfin_oldcanvas_tile.py` does.

    Two of its habits are kept: a side that needs no padding gets a whole stride of it when the other needs
    some, and padding stays in the result where the picture was enlarged further than asked.
    """
    scale = max(settings.tile / min(low.shape[-2:]), upscale)
    size = tuple(int(n * scale) for n in low.shape[-2:])
    enlarged = _bicubic(low, size).clamp(-1, 1)
    rim = [(n // STRIDE + 1) * STRIDE - n for n in size] if any(n % STRIDE for n in size) else [0, 0]
    padded = F.pad(enlarged, (0, rim[1], 0, rim[0]), mode="reflect")
    first = []
    restored = restore(
        model, padded, context, settings, noise=noise, on_step=lambda step, x: first or first.append(step.x)
    )
    images = {}
    for name in ("nofix", *METHODS):
        image = METHODS[name](restored.image, padded) if name in METHODS else restored.image
        image = ((image + 1) / 2).clamp(0, 1)
        if scale > upscale:
            image = _bicubic(image, tuple(int(n * upscale / scale) for n in image.shape[-2:]))
        images[name] = image[..., : size[0], : size[1]]
    return PublishedCanvas(padded, first[0], restored, images)


def _bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """As torch resizes without antialiasing."""
    return resize(x, size, method="bicubic-0.75", antialias=False, border="edge")
