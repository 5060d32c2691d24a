"""The time-conditioned DenseNet that tells attributes of noisy pictures (Huang et al. 2017; SRDG, section
4.2).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .adm_encoder import check_labels
from .fourier import GaussianFourierProjection

FREQUENCIES, EMBEDDING = 128, 512
MEAN, STD = (
    (0.49139968, 0.48215841, 0.44653091),
    (0.24703223, 0.24348513, 0.26158784),
)  # of CIFAR-10, RGB in 0..1


@dataclass(frozen=True)
class DenseNetConfig:
    """Sizes of the network; the defaults are those of the released attribute classifiers."""

    image_size: int = 128  # the one size it takes
    num_layers: tuple[int, ...] = (6, 6, 6, 6)  # of each block; between blocks the sides are halved
    growth_rate: int = 16
    bn_size: int = 2  # width of a bottleneck, in growth_rate
    num_classes: int = 2
    pool: int = (
        1  # blocks of so many pixels are averaged first: cheap, and calms noise (not in released files)
    )

    def __post_init__(self):
        step = self.pool * 2 ** (len(self.num_layers) - 1)
        if self.image_size < step or self.image_size % step:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of {step}, which {len(self.num_layers)} "
                "blocks and pooling need"
            )


class BatchNorm(nn.BatchNorm2d):
    """Normalises by statistics of the training, without counting batches: the released files hold no
    count.
    """

    def __init__(self, channels: int):
        super().__init__(channels)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        super()._load_from_state_dict(
            state, prefix, {**metadata, "version": 2}, *rest
        )  # version 1 would be given a count


class DenseLayer(nn.Module):
    """B C H W to B C + growth H W."""

    def __init__(self, channels: int, bottleneck: int, growth: int):
        super().__init__()
        self.BatchNorm_0 = BatchNorm(channels)
        self.Conv_0 = nn.Conv2d(channels, bottleneck, 1, bias=False)
        self.BatchNorm_1 = BatchNorm(bottleneck)
        self.Conv_1 = nn.Conv2d(bottleneck, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.Conv_0(F.relu(self.BatchNorm_0(x)))
        return torch.cat([x, self.Conv_1(F.relu(self.BatchNorm_1(h)))], 1)


class TransitionLayer(nn.Module):
    """B C H W to B C' H/2 W/2."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.BatchNorm_0 = BatchNorm(channels)
        self.Conv_0 = nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.Conv_0(F.relu(self.BatchNorm_0(x))), 2)


class DenseNet(nn.Module):
    """Class scores of a noisy picture.

    x B 3 S S (S = config.image_size), RGB in 0..1 plus sigma times noise, sigma (B,), to logits B K float32.
    The noise is told to the first layer only. State-dict keys are the released Flax paths with dots. Raises
    ValueError.
    """

    def __init__(self, config: DenseNetConfig = DenseNetConfig()):
        super().__init__()
        self.config = config
        growth, first = config.growth_rate, config.bn_size * config.growth_rate
        self.GaussianFourierProjection_0 = GaussianFourierProjection(FREQUENCIES)
        self.Dense_0 = nn.Linear(2 * FREQUENCIES, EMBEDDING)
        self.Dense_1 = nn.Linear(EMBEDDING, EMBEDDING)
        self.Dense_2 = nn.Linear(EMBEDDING, first)
        self.Conv_0 = nn.Conv2d(3, first, 3, padding=1)
        width, counted, self.body = 2 * first, first, []
        for i, layers in enumerate(config.num_layers):
            if i:
                counted = counted // 2  # as released, the time channels do not count
                self._append(f"TransitionLayer_{i - 1}", TransitionLayer(width, counted))
                width = counted
            inner = (
                (f"DenseLayer_{k}", DenseLayer(width + k * growth, config.bn_size * growth, growth))
                for k in range(layers)
            )
            self._append(f"DenseBlock_{i}", nn.Sequential(OrderedDict(inner)))
            width, counted = width + layers * growth, counted + layers * growth
        self.BatchNorm_0 = BatchNorm(width)
        side = config.image_size // config.pool >> (len(config.num_layers) - 1)
        self.Dense_3 = nn.Linear(side**2 * width, config.num_classes)

    def _append(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.body.append(name)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.answer(self.features(x, sigma))

    def answer(self, features: Tensor) -> Tensor:
        """B F to logits B K float32."""
        return self.Dense_3(features).float()

    def features(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What the last layer sees, B F."""
        self.check_inputs(x, sigma)
        if self.config.pool > 1:
            x = F.avg_pool2d(x, self.config.pool)
        mean, std = _statistics(x.device, x.dtype)
        h = _standardised((x - mean) / std).to(self.Conv_0.weight.dtype)
        emb = self.Dense_1(F.silu(self.Dense_0(self.GaussianFourierProjection_0(sigma).to(h.dtype))))
        time = self.Dense_2(F.silu(emb))[:, :, None, None].expand(-1, -1, *h.shape[2:])
        h = torch.cat([self.Conv_0(h), time], 1)
        for name in self.body:
            h = getattr(self, name)(h)
        h = F.relu(self.BatchNorm_0(h))
        return rearrange(h, "b c h w -> b (h w c)")

    def log_prob(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """log p(label | x, sigma) of each sample, (B,): what guidance differentiates. Raises ValueError."""
        check_labels(labels, self.config.num_classes, len(x))
        return self(x, sigma).log_softmax(1).gather(1, labels[:, None].long())[:, 0]

    def check_inputs(self, x: Tensor, sigma: Tensor) -> None:
        side = self.config.image_size
        if x.ndim != 4 or x.shape[1:] != (3, side, side):
            raise ValueError(
                f"this classifier takes RGB pictures B 3 {side} {side} only, not {tuple(x.shape)}: resize "
                "or crop them first"
            )
        if sigma.shape != x.shape[:1]:
            raise ValueError(f"{len(x)} pictures need as many noise levels, not {tuple(sigma.shape)}")


def _standardised(x: Tensor) -> Tensor:
    """Each sample with mean 0 and standard deviation 1 over all its pixels and channels; flat ones are not
    blown up.
    """
    numel = prod(x.shape[1:])
    mean, var = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), correction=0, keepdim=True)
    return (x - mean) * var.clamp(min=1 / numel).rsqrt()


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept from a node must serve gradients later
def _statistics(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, device=device, dtype=dtype).view(1, 3, 1, 1) for values in (MEAN, STD))
    return mean, std
