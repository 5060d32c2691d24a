"""Controllable feature wrapping: an autoencoder's decoder mixes in what its encoder saw (Wang et al. 2024,
section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder_blocks import ResnetBlock

RELEASED = {1: 256, 2: 512}  # channels by level of the autoencoder, level 0 being the finest
GROWTH = 32
DAMPING = 0.2  # of the residuals of dense blocks, inner and outer


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all before it (Wang et al. 2018, ESRGAN). B C h w to the same."""

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    conv4: nn.Conv2d
    conv5: nn.Conv2d

    def __init__(self, channels: int, growth: int):
        super().__init__()
        for i in range(1, 6):
            self.add_module(
                f"conv{i}",
                nn.Conv2d(channels + (i - 1) * growth, growth if i < 5 else channels, 3, padding=1),
            )

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, F.leaky_relu(conv(seen), 0.2)], 1)
        return x + DAMPING * self.conv5(seen)


class RRDB(nn.Module):
    """Three dense blocks within a residual."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + DAMPING * self.rdb3(self.rdb2(self.rdb1(x)))


class FuseBlock(nn.Module):
    """What the decoder's map is corrected by: encoder's and decoder's maps B C h w each to the residual B C h
    w.
    """

    def __init__(self, channels: int, blocks: int = 2, growth: int = GROWTH):
        super().__init__()
        self.encode_enc_1 = ResnetBlock(2 * channels, channels, skip="conv_out")
        self.encode_enc_2 = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.encode_enc_3 = ResnetBlock(channels, channels)

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        seen = torch.cat([encoded, decoded], 1).to(self.encode_enc_3.conv1.weight.dtype)
        return self.encode_enc_3(self.encode_enc_2(self.encode_enc_1(seen))).to(decoded.dtype)


def fuse(block: FuseBlock, encoded: Tensor, decoded: Tensor, w: float) -> Tensor:
    """decoded + w * block(encoded, decoded), Eq. 6; nothing is computed where w is 0."""
    return decoded + w * block(encoded, decoded) if w else decoded


def _width(level: nn.Module) -> int | None:
    """Channels that a level of an autoencoder ends with; None where it is of another make."""
    last = list(getattr(level, "block", ()))[-1:]
    return getattr(getattr(last[0], "conv2", None), "out_channels", None) if last else None


class CFW(nn.Module):
    """The fusion blocks of some levels, attached by hooks to any autoencoder in Stable Diffusion's form.

    Keys equal those below `decoder.` of the released files.
    """

    def __init__(self, widths: Mapping[int, int] = RELEASED, blocks: int = 2, growth: int = GROWTH):
        super().__init__()
        self.widths = dict(widths)
        for level, width in self.widths.items():
            self.add_module(f"fusion_layer_{level}", FuseBlock(width, blocks, growth))

    def check(self, vae: nn.Module) -> None:
        """Raises ValueError unless encoder and decoder have the levels and widths that these blocks were made
        for.
        """
        for part, halves in (("encoder", "down"), ("decoder", "up")):
            levels = getattr(getattr(vae, part, None), halves, ())
            for level, width in self.widths.items():
                found = _width(levels[level]) if level < len(levels) else None
                if found != width:
                    raise ValueError(
                        f"CFW was made for an autoencoder with {width} channels at level {level}, the "
                        f"{part}'s has {found or 'no such level'}: "
                        "choose the autoencoder of Stable Diffusion 2.1"
                    )

    @contextmanager
    def collecting(self, encoder: Any) -> Iterator[dict[int, Tensor]]:
        """The encoder's maps by level, before they are halved, of the last call inside."""
        maps: dict[int, Tensor] = {}

        def keep(level: int, module: nn.Module, inputs: tuple, output: Tensor) -> None:
            maps[level] = output

        handles = [
            encoder.down[level].block[-1].register_forward_hook(partial(keep, level)) for level in self.widths
        ]
        try:
            yield maps
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def fusing(self, decoder: Any, maps: Mapping[int, Tensor], w: float) -> Iterator[None]:
        """The decoder's maps are corrected by w times the fusion, before they are enlarged, in the calls
        inside.
        """

        def correct(level: int, module: nn.Module, inputs: tuple) -> tuple:
            return fuse(getattr(self, f"fusion_layer_{level}"), maps[level], inputs[0], w), *inputs[1:]

        handles = (
            [
                decoder.up[level].upsample.register_forward_pre_hook(partial(correct, level))
                for level in self.widths
            ]
            if w
            else []
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
