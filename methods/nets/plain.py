"""A plain residual classifier of pictures that know no noise: what judges attributes, and never guides."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8


@dataclass(frozen=True)
class PlainConfig:
    """Sizes of the network."""

    image_size: int = 128  # the size it is trained on; it takes others
    width: int = 32  # channels of the first level; a multiple of 2 GROUPS
    levels: int = 4  # each halves the sides, and is wider by half of that than the one before
    num_classes: int = 2

    def __post_init__(self):
        if self.width % (2 * GROUPS) or self.image_size >> self.levels + 1 < 1:
            raise ValueError(
                f"width {self.width} must be a multiple of {2 * GROUPS}, and {self.image_size} pixels be "
                f"halved "
                f"{self.levels + 1} times: change one of them"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * (2 + i) // 2 for i in range(self.levels))


class Level(nn.Module):
    """B C H W to B C' H/2 W/2: a strided convolution and a residual block."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.reduce = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, out_channels) for _ in range(2))
        self.first = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        h = self.first(F.silu(self.norms[0](x)))
        return x + self.second(F.silu(self.norms[1](h)))


class PlainClassifier(nn.Module):
    """Class scores of a picture, clean or degraded.

    x B 3 S S, RGB in 0..1, to logits B K float32. sigma, which noise-aware classifiers are told, is not
    looked at.
    """

    def __init__(self, config: PlainConfig = PlainConfig()):
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(3, config.width, 5, stride=2, padding=2)
        widths = config.widths
        self.levels = nn.Sequential(*map(Level, (config.width, *widths), widths))
        self.norm = nn.GroupNorm(GROUPS, widths[-1])
        self.last = nn.Linear(widths[-1], config.num_classes)

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        return self.answer(self.features(x, sigma))

    def answer(self, features: Tensor) -> Tensor:
        """B F to logits B K float32."""
        return self.last(features).float()

    def features(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """What the last layer sees, B F."""
        h = self.levels(self.stem(x * 2 - 1))
        return F.silu(self.norm(h)).mean((2, 3))
