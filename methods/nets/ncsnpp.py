"""NCSN++ for super-resolution: the score network of SDE-SR and SRDG (Song et al. 2021; Santos et al.
2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .adm_blocks import zeroed
from .attention import attention
from .edm_blocks import Sampling, group_norm
from .fir import fir_down, fir_filter, fir_up
from .fourier import GaussianFourierProjection

EPS = 1e-6
HALF = math.sqrt(0.5)  # of every residual sum


@dataclass(frozen=True)
class NCSNppConfig:
    """Sizes of the network, the defaults being those released for 128 pixels.

    One level per entry of ch_mult, each half the one above.
    """

    image_size: int = 128
    channels: int = 3  # of the picture; the network sees as many of its low-resolution condition
    nf: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 2, 2, 2)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    fourier_scale: float = 16.0
    dropout: float = 0.0
    sigma_min: float = 0.01  # the noise it is trained for
    sigma_max: float = 348.0
    num_scales: int = 2000  # length of the table that the released files carry
    # the network sees blocks of so many pixels squared as channels: cheap (not in the released files)
    unshuffle: int = 1

    def __post_init__(self):
        if self.nf < 4 or self.nf % 4:
            raise ValueError(f"nf {self.nf} is no positive multiple of 4, which the group norms need")
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"noise from {self.sigma_min:g} to {self.sigma_max:g} does not ascend from above 0"
            )
        if not 1 <= self.unshuffle <= 64:
            raise ValueError(f"unshuffle {self.unshuffle} is outside 1 .. 64")

    @property
    def seen(self) -> int:
        """Channels that the network sees of the picture, and as many of its condition."""
        return self.channels * self.unshuffle**2

    @property
    def reduction(self) -> int:
        """What the sides of a picture must be multiples of."""
        return self.unshuffle * 2 ** (len(self.ch_mult) - 1)

    @property
    def sigmas(self) -> Tensor:
        """The table of the released files, float64 ascending; nothing is computed from it."""
        ends = math.log(self.sigma_min), math.log(self.sigma_max)
        return torch.linspace(*ends, self.num_scales, dtype=torch.float64).exp()


class ResnetBlockBigGANpp(nn.Module):
    """Residual block that resamples by 2 inside, before its first convolution. x B C H W, emb B E (activated)
    to B C' H' W'.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        dropout: float,
        sampling: Sampling | None = None,
    ):
        super().__init__()
        self.resample = {"up": fir_up, "down": fir_down}.get(sampling or "")
        self.dropout = dropout
        self.GroupNorm_0 = group_norm(in_channels, EPS)
        self.Conv_0 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.Dense_0 = nn.Linear(emb_channels, out_channels)
        self.GroupNorm_1 = group_norm(out_channels, EPS)
        self.Conv_1 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.Conv_2 = (
            Pointwise(in_channels, out_channels) if sampling or in_channels != out_channels else None
        )

    def forward(self, x: Tensor, emb: Tensor, kernel: Tensor) -> Tensor:
        h = F.silu(self.GroupNorm_0(x))
        if self.resample:
            h, x = self.resample(h, kernel), self.resample(x, kernel)
        h = self.Conv_0(h) + self.Dense_0(emb)[:, :, None, None]
        h = self.Conv_1(F.dropout(F.silu(self.GroupNorm_1(h)), self.dropout, self.training))
        return ((self.Conv_2(x) if self.Conv_2 else x) + h) * HALF


class Pointwise(nn.Conv2d):
    """A convolution of every pixel by itself, B C H W."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        # as a product of matrices: processors round this convolution by the number of threads, and the
        # gradient of a classifier magnifies that
        done = self.weight.flatten(1) @ x.flatten(2) + cast(Tensor, self.bias)[:, None]
        return done.unflatten(2, x.shape[2:])


class NIN(nn.Module):
    """One matrix (in, out) for every position of B N in."""

    def __init__(self, channels: int):
        super().__init__()
        self.W = nn.Parameter(nn.init.xavier_uniform_(torch.empty(channels, channels)))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.W + self.b


class AttnBlockpp(nn.Module):
    """One head of attention over all positions, B C H W."""

    def __init__(self, channels: int):
        super().__init__()
        self.GroupNorm_0 = group_norm(channels, EPS)
        self.NIN_0, self.NIN_1, self.NIN_2 = NIN(channels), NIN(channels), NIN(channels)
        self.NIN_3 = zeroed(NIN(channels))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.GroupNorm_0(x).flatten(2).mT
        q, k, v = (layer(tokens)[:, None] for layer in (self.NIN_0, self.NIN_1, self.NIN_2))
        return (x + self.NIN_3(attention(q, k, v)[:, 0]).mT.reshape(x.shape)) * HALF


class Combine(nn.Module):
    """Adds a projection of the shrunk input to the features."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.Conv_0 = Pointwise(in_channels, channels)

    def forward(self, shrunk: Tensor, x: Tensor) -> Tensor:
        return self.Conv_0(shrunk) + x


class NCSNpp(nn.Module):
    """Noisy picture, its noise and a low-resolution condition to score times sigma.

    x and low_res B C H W in 0..1 (x plus sigma times noise), low_res already enlarged to x; sigma (B,); sides
    multiples of config.reduction; to B C H W float32. The score is the result divided by sigma. State-dict
    keys equal the released ones without `module.`. Raises ValueError.
    """

    def __init__(self, config: NCSNppConfig = NCSNppConfig()):
        super().__init__()
        self.config = config
        modules, self.marks = zip(*_layers(config), strict=True)
        self.all_modules = nn.ModuleList(modules)
        self.register_buffer("sigmas", config.sigmas)

    def forward(self, x: Tensor, sigma: Tensor, low_res: Tensor) -> Tensor:
        self.check_inputs(x, sigma, low_res)
        fourier, first, second, stem, *body, norm, last = self.all_modules
        dtype = cast(nn.Conv2d, stem).weight.dtype
        kernel = fir_filter(self.config.fir_kernel, x.device, dtype)
        emb = F.silu(second(F.silu(first(fourier(sigma).to(first.weight.dtype)))))
        x, low_res = (F.pixel_unshuffle(z, self.config.unshuffle) for z in (x, low_res))
        shrunk = torch.stack([x, low_res], 2).flatten(1, 2).to(dtype) * 2 - 1  # R R G G B B
        h = stem(shrunk)
        kept = [h]
        for module, mark in zip(body, self.marks[4:-2], strict=True):
            if mark == "join":
                h = torch.cat([h, kept.pop()], 1)
            if isinstance(module, ResnetBlockBigGANpp):
                h = module(h, emb, kernel)
            elif isinstance(module, Combine):
                shrunk = fir_down(shrunk, kernel)
                h = module(shrunk, h)
            else:
                h = module(h)
            if mark == "keep":
                kept.append(h)
        return F.pixel_shuffle(last(F.silu(norm(h))), self.config.unshuffle).float()

    def check_inputs(self, x: Tensor, sigma: Tensor, low_res: Tensor) -> None:
        channels, step = self.config.channels, self.config.reduction
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"this network takes pictures of shape B {channels} H W, not {tuple(x.shape)}")
        if x.shape[2] % step or x.shape[3] % step:
            raise ValueError(
                f"this network takes sides that are multiples of {step}, not {x.shape[2]} x {x.shape[3]}: "
                "pad or crop the picture"
            )
        if low_res.shape != x.shape:
            raise ValueError(
                f"the condition is {tuple(low_res.shape)}, the picture {tuple(x.shape)}: enlarge it to the "
                "picture's size"
            )
        if sigma.shape != x.shape[:1]:
            raise ValueError(f"{len(x)} pictures need as many noise levels, not {tuple(sigma.shape)}")


def _layers(config: NCSNppConfig) -> Iterator[tuple[nn.Module, str]]:
    """Every layer in the released order; `keep` leaves its result for the way up, `join` takes the latest
    that is left.
    """
    nf, emb, widths = config.nf, 4 * config.nf, [config.nf * m for m in config.ch_mult]
    attentive = [
        config.image_size // config.unshuffle >> level in config.attn_resolutions
        for level in range(len(widths))
    ]

    def block(a: int, b: int, sampling: Sampling | None = None) -> ResnetBlockBigGANpp:
        return ResnetBlockBigGANpp(a, b, emb, config.dropout, sampling)

    yield GaussianFourierProjection(nf, config.fourier_scale), ""
    yield nn.Linear(2 * nf, emb), ""
    yield nn.Linear(emb, emb), ""
    yield nn.Conv2d(2 * config.seen, nf, 3, padding=1), "keep"
    left, width = [nf], nf
    for level, out in enumerate(widths):
        if level:
            yield block(width, width, "down"), ""
            yield Combine(2 * config.seen, width), "keep"
            left.append(width)
        for _ in range(config.num_res_blocks):
            yield block(width, out), "" if attentive[level] else "keep"
            if attentive[level]:
                yield AttnBlockpp(out), "keep"
            left.append(width := out)
    yield block(width, width), ""
    yield AttnBlockpp(width), ""
    yield block(width, width), ""
    for level, out in reversed(list(enumerate(widths))):
        for _ in range(config.num_res_blocks + 1):
            yield block(width + left.pop(), out), "join"
            width = out
        if attentive[level]:
            yield AttnBlockpp(width), ""
        if level:
            yield block(width, width, "up"), ""
    yield group_norm(width, EPS), ""
    yield zeroed(nn.Conv2d(width, config.seen, 3, padding=1)), ""
