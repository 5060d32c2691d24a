"""The half that ADM's UNets and classifiers have in common: embeddings, encoder and middle, and the checks of
their inputs.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .adm_blocks import (
    AttentionBlock,
    Downsample,
    Resampling,
    ResBlock,
    Stage,
    Upsample,
    time_mlp,
    timestep_embedding,
)
from .adm_config import ADMConfig


class ADMEncoder(nn.Module):
    """Time and class embedding, encoder and middle of an ADM network; a subclass adds what follows.

    Source: Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis (2021), section 3.
    """

    def __init__(self, config: ADMConfig):
        super().__init__()
        self.config = config
        self.time_embed = time_mlp(config.model_channels)
        if config.num_classes is not None:
            self.label_emb = nn.Embedding(config.num_classes, self.emb_channels)
        self.skip_widths = [config.widths[0]]  # of the output of each input block
        self.input_blocks = nn.ModuleList(
            [Stage(nn.Conv2d(config.stem_channels, config.widths[0], 3, padding=1))]
        )
        for level, width in enumerate(config.widths):
            for _ in range(config.num_res_blocks):
                self._add(self.stage(level, self.skip_widths[-1]), width)
            if level < len(config.widths) - 1:
                self._add(Stage(self.resampler("down", width)), width)
        self.middle_block = Stage(
            self.res_block(width, width), self.attention(width), self.res_block(width, width)
        )

    @property
    def emb_channels(self) -> int:
        return 4 * self.config.model_channels

    def _add(self, stage: Stage, width: int) -> None:
        self.input_blocks.append(stage)
        self.skip_widths.append(width)

    def stage(self, level: int, channels: int, decoder: bool = False) -> Stage:
        """A residual block to the level's width, with attention where the level has it."""
        width = self.config.widths[level]
        layers: list[nn.Module] = [self.res_block(channels, width)]
        if 2**level in self.config.attention_factors:
            layers.append(self.attention(width, decoder))
        return Stage(*layers)

    def res_block(self, channels: int, width: int, resampling: Resampling | None = None) -> ResBlock:
        return ResBlock(
            channels,
            self.emb_channels,
            width,
            self.config.scale_shift,
            self.config.dropout,
            resampling,
            self.config.groups,
            self.config.eps,
        )

    def attention(self, width: int, decoder: bool = False) -> AttentionBlock:
        return AttentionBlock(
            width,
            self.config.heads(width, decoder),
            self.config.new_attention_order,
            self.config.groups,
            self.config.eps,
        )

    def resampler(self, resampling: Resampling, width: int) -> nn.Module:
        """What stands between two levels."""
        if self.config.resblock_updown:
            return self.res_block(width, width, resampling)
        if resampling == "up":
            return Upsample(width, self.config.conv_resample)
        return Downsample(width, self.config.conv_resample, self.config.pad_after)

    def stem(self, x: Tensor) -> Tensor:
        """The first convolution, in its weights' precision."""
        conv = cast(nn.Conv2d, self.input_blocks[0].get_submodule("0"))
        return conv(F.pixel_unshuffle(x, self.config.unshuffle).to(conv.weight.dtype))

    def embed(self, t: Tensor, label: Tensor | None = None) -> Tensor:
        """t (B,) in training steps, label (B,) for class-conditional networks only, to B E.

        Raises ValueError.
        """
        classes = self.config.num_classes
        dtype = cast(nn.Linear, self.time_embed[0]).weight.dtype
        emb = self.time_embed(self.angles(t).to(dtype))
        if classes is None:
            if label is not None:
                raise ValueError(
                    "this network is not class-conditional: leave the label out, or load class-conditional "
                    "weights"
                )
            return emb
        if label is None:
            raise ValueError(
                f"this network is class-conditional: give a label in 0..{classes - 1} for each sample"
            )
        check_labels(label, classes, len(t))
        return emb + self.label_emb(label)

    def angles(self, t: Tensor) -> Tensor:
        """What the time embedding sees of t (B,): B model_channels, float32."""
        return timestep_embedding(t, self.config.model_channels, self.config.frequency_shift)

    def encode(self, h: Tensor, emb: Tensor) -> list[Tensor]:
        """The output of the stem, of every further input block, and of the middle."""
        maps = [h]
        for block in list(self.input_blocks)[1:]:
            maps.append(block(maps[-1], emb))
        return [*maps, self.middle_block(maps[-1], emb)]

    def check_inputs(self, x: Tensor, t: Tensor) -> None:
        """Raises ValueError where the image has other channels than the network or the time steps do not
        match the batch.
        """
        if x.ndim != 4 or x.shape[1] != self.config.in_channels:
            raise ValueError(
                f"this network takes images of shape (B, {self.config.in_channels}, H, W), not "
                f"{tuple(x.shape)}: convert the image first"
            )
        if t.shape != x.shape[:1]:
            raise ValueError(
                f"{len(x)} samples need time steps of shape ({len(x)},), not {tuple(t.shape)}: give one "
                "step for each sample"
            )


def check_labels(label: Tensor, classes: int, count: int) -> None:
    """Raises ValueError unless `label` holds `count` integers in 0..classes-1.

    The range is read on the CPU only: elsewhere it would wait for the device in every step, so check before
    moving labels there.
    """
    if label.shape != (count,) or label.is_floating_point() or label.dtype == torch.bool:
        raise ValueError(
            f"labels must be {count} integers of shape ({count},), not {label.dtype} of shape "
            f"{tuple(label.shape)}: one for each sample"
        )
    if label.device.type == "cpu" and bool(((label < 0) | (label >= classes)).any()):
        raise ValueError(
            f"a label of {label.tolist()} lies outside 0..{classes - 1}: this network knows {classes} classes"
        )
