"""ADM's noisy-image classifier: the UNet's encoder with a pool (Dhariwal and Nichol 2021, section 4 and
appendix).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from .adm_blocks import GroupNorm32, attend, split_heads, zeroed
from .adm_config import ADMConfig
from .adm_encoder import ADMEncoder, check_labels

HIDDEN = 2048  # width of the spatial pools


class AttentionPool(nn.Module):
    """What the mean position sees when it attends to all positions. B C side side to B classes.

    Its heads are always in the new order, whatever the order of the body (Radford et al. 2021, CLIP, section
    2.4).
    """

    def __init__(self, side: int, channels: int, heads: int, classes: int):
        super().__init__()
        self.side, self.heads = side, heads
        self.positional_embedding = nn.Parameter(torch.empty(channels, side**2 + 1))
        nn.init.normal_(self.positional_embedding, std=channels**-0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        tokens = torch.cat([tokens.mean(2, keepdim=True), tokens], 2) + self.positional_embedding.to(x.dtype)
        q, k, v = split_heads(self.qkv_proj(tokens), self.heads, new_order=True)
        return self.c_proj(attend(q[:, :, :1], k, v))[:, :, 0]  # only the mean's answer is used


class ADMClassifier(ADMEncoder):
    """Class scores of a noisy image.

    x B C H W in about -1..1 and t (B,) to logits B K in x's precision. With the attention pool H = W =
    config.image_size, otherwise any size. State-dict keys equal the released ones. Raises ValueError.
    """

    def __init__(self, config: ADMConfig):
        if config.pool is None:
            raise ValueError(
                "the settings describe a UNet: give the classifier's pool, or let build_adm choose the class"
            )
        super().__init__(config)
        classes, channels = config.out_channels, config.widths[-1]
        features = sum(self.skip_widths) + channels
        if config.pool == "attention":
            pool = AttentionPool(
                config.image_size // config.reduction, channels, config.heads(channels), classes
            )
            self.out = nn.Sequential(GroupNorm32(channels, groups=config.groups), nn.SiLU(), pool)
        elif config.pool == "adaptive":
            last = zeroed(nn.Conv2d(channels, classes, 1))
            self.out = nn.Sequential(
                GroupNorm32(channels, groups=config.groups),
                nn.SiLU(),
                nn.AdaptiveAvgPool2d(1),
                last,
                nn.Flatten(),
            )
        elif config.pool == "spatial":
            self.out = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
        else:
            self.out = nn.Sequential(
                nn.Linear(features, HIDDEN), GroupNorm32(HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, classes)
            )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.check_inputs(x, t)
        maps = self.encode(self.stem(x), self.embed(t))
        weight = next(self.out.parameters())
        if self.config.pool in ("spatial", "spatial_v2"):  # the mean of every map, coarse and fine
            return self.out(torch.cat([m.to(weight.dtype).mean((2, 3)) for m in maps], 1)).to(x.dtype)
        return self.out(maps[-1].to(weight.dtype)).to(x.dtype)

    def log_prob(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """log p(label | x_t) of each sample, (B,), in float32: what classifier guidance differentiates.

        Raises ValueError.
        """
        check_labels(label, self.config.out_channels, len(x))
        return self(x, t).float().log_softmax(1).gather(1, rearrange(label, "b -> b 1").long())[:, 0]

    def check_inputs(self, x: Tensor, t: Tensor) -> None:
        super().check_inputs(x, t)
        size = self.config.image_size
        if self.config.pool == "attention" and x.shape[-2:] != (size, size):
            raise ValueError(
                f"this classifier is tied to images of {size} x {size}, not {x.shape[-2]} x {x.shape[-1]}: "
                "resize the image first"
            )
