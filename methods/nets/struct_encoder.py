"""StableSR's time-aware encoder: features of a low-resolution latent at every width of the UNet that they
modulate.
"""

from __future__ import annotations

from torch import Tensor, nn

from .adm_config import ADMConfig
from .adm_encoder import ADMEncoder

RELEASED = ADMConfig(
    image_size=96,
    in_channels=4,
    out_channels=256,
    channel_mult=(1, 1, 2, 2),
    attention_factors=(1, 2, 4),
    num_heads=4,
    num_head_channels=None,
    scale_shift=False,
    resblock_updown=False,
)


class StructEncoder(ADMEncoder):
    """B C h w (the scaled latent) and t (B,) in training steps to one feature map a level, the finest first.

    Every map has config.out_channels channels; each level halves the sides, rounded up. State-dict keys equal
    the released ones. timed: without, the layers that take in the time are left out, and every t has the
    same features (Table 3). Raises ValueError for latents of other channels. Source: Wang et al. 2024,
    section 3.1.
    """

    def __init__(self, config: ADMConfig = RELEASED, timed: bool = True):
        super().__init__(config)
        self.timed = timed
        if not timed:
            del self.time_embed
        self.fea_tran = nn.ModuleList([self.res_block(width, config.out_channels) for width in config.widths])

    def forward(self, latent: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        self.check_inputs(latent, t)
        x = self.stem(latent)
        emb = self.embed(t) if self.timed else x.new_zeros(len(x), self.emb_channels)
        *maps, middle = self.encode(x, emb)
        period = (
            self.config.num_res_blocks + 1
        )  # input blocks from one level's first to the next's, the halving one among them
        ends = [
            *maps[period - 1 : -1 : period],
            middle,
        ]  # what goes into each halving; the last level ends in the middle
        return tuple(adapt(end, emb) for adapt, end in zip(self.fea_tran, ends, strict=True))
