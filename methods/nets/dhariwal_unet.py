"""DhariwalUNet: the ADM network of Dhariwal and Nichol (2021) as EDM trains it (Karras et al. 2022, appendix
F).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .edm_blocks import BlockStyle, PositionalEmbedding, given_labels, group_norm
from .edm_unet import EDMUNet, UNetPlan, build_decoder, build_encoder

EPS = 1e-5
HEAD_CHANNELS = 64


class DhariwalUNet(EDMUNet):
    """Image and noise label to the raw output that a preconditioning turns into a denoiser.

    Arguments have the names that EDM's checkpoints record, state-dict keys those of the checkpoints (without
    their `model.`). `label_dropout` is recorded only: dropping labels is the training loop's work.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.1,
        label_dropout: float = 0.0,
    ):
        dims = label_dim, augment_dim
        super().__init__(img_resolution, in_channels, out_channels, len(channel_mult), dims)
        self.label_dropout = label_dropout
        emb_channels = model_channels * channel_mult_emb

        self.map_noise = PositionalEmbedding(model_channels, endpoint=False)
        self.map_augment = nn.Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        self.map_layer0 = nn.Linear(model_channels, emb_channels)
        self.map_layer1 = nn.Linear(emb_channels, emb_channels)
        self.map_label = nn.Linear(label_dim, emb_channels, bias=False) if label_dim else None

        style = BlockStyle(
            EPS,
            1.0,
            scale_shift=True,
            project_resampled=False,
            head_channels=HEAD_CHANNELS,
            resample_filter=(1, 1),
            dropout=dropout,
        )
        plan = UNetPlan(
            img_resolution,
            in_channels,
            model_channels,
            tuple(channel_mult),
            num_blocks,
            tuple(attn_resolutions),
            emb_channels,
            style,
            stem_mult=channel_mult[0],
        )
        self.enc, widths = build_encoder(plan)
        self.dec = build_decoder(plan, widths)
        width = plan.levels[0][1]
        self.out_norm = group_norm(width, EPS)
        self.out_conv = nn.Conv2d(width, out_channels, 3, padding=1)

    def embed(
        self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        dtype = self.map_layer0.weight.dtype
        emb = self.map_noise(noise_labels).to(dtype)
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels.to(dtype))
        emb = self.map_layer1(F.silu(self.map_layer0(emb)))
        if self.map_label is not None:
            emb = emb + self.map_label(given_labels(class_labels).to(dtype))
        return F.silu(emb)

    def finish(self, x: Tensor) -> Tensor:
        return self.out_conv(F.silu(self.out_norm(x)))
