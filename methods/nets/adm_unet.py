"""ADM UNets: the guided-diffusion denoiser and its super-resolution form (Dhariwal and Nichol 2021, section 3
and appendix).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .adm_blocks import GroupNorm32, zeroed
from .adm_config import ADMConfig
from .adm_encoder import ADMEncoder


class ADMUNet(ADMEncoder):
    """Noise, and perhaps a variance, from a noisy image.

    x B C H W in about -1..1 and t (B,), label (B,) if class-conditional, to B C' H W in x's precision; the
    variance is the second half of C' = 2C channels, unbounded. Sides are multiples of config.reduction.
    State-dict keys equal the released ones. Raises ValueError.
    """

    def __init__(self, config: ADMConfig):
        if config.pool is not None or config.superres != isinstance(self, ADMSuperRes):
            raise ValueError("the settings describe another kind of network: let build_adm choose the class")
        super().__init__(config)
        self.output_blocks = nn.ModuleList()
        widths, skips = config.widths, list(self.skip_widths)
        channels = widths[-1]
        for level in reversed(range(len(widths))):
            for i in range(config.num_res_blocks + 1):
                block = self.stage(level, channels + skips.pop(), decoder=True)
                channels = widths[level]
                if level > 0 and i == config.num_res_blocks:
                    block.append(self.resampler("up", channels))
                self.output_blocks.append(block)
        last = zeroed(nn.Conv2d(channels, config.out_channels * config.unshuffle**2, 3, padding=1))
        self.out = nn.Sequential(GroupNorm32(channels, config.eps, config.groups), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.check_inputs(x, t)
        return self.body(self.stem(x), self.embed(t, label)).to(x.dtype)

    def body(self, h: Tensor, emb: Tensor) -> Tensor:
        """Everything after the stem: its map B W H W and the embedding to the output, in the precision of the
        last weights.
        """
        *skips, h = self.encode(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], 1), emb)
        return F.pixel_shuffle(
            self.out(h.to(cast(nn.Conv2d, self.out[2]).weight.dtype)), self.config.unshuffle
        )

    def check_inputs(self, x: Tensor, t: Tensor) -> None:
        super().check_inputs(x, t)
        step, (height, width) = self.config.reduction, x.shape[-2:]
        if height % step or width % step:
            raise ValueError(
                f"this network takes images whose sides are multiples of {step}, not {height} x {width}: "
                "pad or resize the image"
            )


class ADMSuperRes(ADMUNet):
    """An ADM UNet that sees a low-resolution image beside the noisy one.

    low_res B C h w in -1..1 of any size is enlarged bilinearly to x's and follows it in the channels.
    Otherwise as ADMUNet.
    """

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, low_res: Tensor | None = None
    ) -> Tensor:
        self.check_inputs(x, t)
        if low_res is None:
            raise ValueError(
                "a super-resolution network needs low_res, the image to enlarge: give it, in -1..1"
            )
        if low_res.ndim != 4 or low_res.shape[:2] != x.shape[:2]:
            raise ValueError(
                f"low_res must have shape ({x.shape[0]}, {x.shape[1]}, h, w) as x has, not "
                f"{tuple(low_res.shape)}: one image for each sample"
            )
        enlarged = F.interpolate(low_res.to(x.dtype), x.shape[-2:], mode="bilinear", align_corners=False)
        return self.body(self.stem(torch.cat([x, enlarged], 1)), self.embed(t, label)).to(x.dtype)
