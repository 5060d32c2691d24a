"""DPI's condition corrector (CRT): an ADM UNet that is shown the sparse initial condition without any weights
for it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .adm_config import ADMConfig
from .adm_unet import ADMUNet

INJECTION = 0.1  # how strongly the mean channel of y_T is added to every map of the first convolution

# for one-channel priors of 64 pixels: 4 x 4 pixels a position, which costs least for what is learnt in
# minutes
SMALL = ADMConfig(
    image_size=64,
    in_channels=1,
    out_channels=1,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 1, 1),
    attention_factors=(4,),
    num_head_channels=16,
    resblock_updown=False,
    unshuffle=4,
    groups=8,
)


class CorrectorUNet(ADMUNet):
    """A clean condition from a noisy one.

    x B C H W is sparse, at unit variance, t (B,) its step 0..999, y_T B C H W in -1..1 the sparse initial
    condition; to B C H W. State-dict keys equal those of an ADM UNet with these settings and of the published
    corrector without `module.`. Raises ValueError. Source: Yang et al. 2025, Eq. 16 and the published code.
    """

    def __init__(self, config: ADMConfig):
        if config.out_channels != config.in_channels or config.num_classes is not None:
            raise ValueError(
                "a corrector answers as many channels as it sees and takes no label: change out_channels "
                "or num_classes"
            )
        super().__init__(config)

    def forward(self, x: Tensor, t: Tensor, y_T: Tensor) -> Tensor:
        self.check_inputs(x, t)
        if y_T.shape != x.shape:
            raise ValueError(
                f"the initial condition is {tuple(y_T.shape)}, the noisy one {tuple(x.shape)}: they must "
                "agree"
            )
        # the sum of a block that the network sees as one position; where the block is one cell of the grid,
        # its one pixel
        shown = F.avg_pool2d(y_T.mean(1, keepdim=True), self.config.unshuffle, divisor_override=1)
        h = self.stem(x)
        return self.body(h + INJECTION * shown.to(h.dtype), self.embed(t)).to(x.dtype) + y_T
