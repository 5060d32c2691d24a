"""SongUNet: the DDPM++ and NCSN++ networks of Song et al. (2021) as EDM trains them (Karras et al. 2022,
appendix F).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .edm_blocks import BlockStyle, FourierEmbedding, PositionalEmbedding, given_labels, group_norm
from .edm_unet import EDMUNet, UNetPlan, build_decoder, build_encoder

EPS = 1e-6


class SongUNet(EDMUNet):
    """Image and noise label to the raw output that a preconditioning turns into a denoiser.

    DDPM++ has a positional embedding, a standard encoder and the filter [1, 1]; NCSN++ a Fourier one with
    channel_mult_noise 2, a residual encoder and [1, 3, 3, 1]. Arguments have the names that EDM's checkpoints
    record, state-dict keys those of the checkpoints (without their `model.`). `label_dropout` is recorded
    only: dropping labels is the training loop's work.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.1,
        label_dropout: float = 0.0,
        embedding_type: str = "positional",
        channel_mult_noise: int = 1,
        encoder_type: str = "standard",
        decoder_type: str = "standard",
        resample_filter: Sequence[float] = (1, 1),
    ):
        dims = label_dim, augment_dim
        super().__init__(img_resolution, in_channels, out_channels, len(channel_mult), dims)
        for name, value, known in (
            ("embedding_type", embedding_type, ("positional", "fourier")),
            ("encoder_type", encoder_type, ("standard", "residual")),
            ("decoder_type", decoder_type, ("standard",)),
        ):
            if value not in known:
                raise ValueError(
                    f"{name} {value!r} is not supported: choose a network with {' or '.join(known)}"
                )
        self.label_dropout = label_dropout
        noise_channels, emb_channels = model_channels * channel_mult_noise, model_channels * channel_mult_emb

        self.map_noise = (
            FourierEmbedding(noise_channels)
            if embedding_type == "fourier"
            else PositionalEmbedding(noise_channels, endpoint=True)
        )
        self.map_label = nn.Linear(label_dim, noise_channels) if label_dim else None
        self.map_augment = nn.Linear(augment_dim, noise_channels, bias=False) if augment_dim else None
        self.map_layer0 = nn.Linear(noise_channels, emb_channels)
        self.map_layer1 = nn.Linear(emb_channels, emb_channels)

        style = BlockStyle(
            EPS,
            math.sqrt(0.5),
            scale_shift=False,
            project_resampled=True,
            head_channels=None,
            resample_filter=tuple(resample_filter),
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
            residual_input=encoder_type == "residual",
            attend_every_up=False,
        )
        self.enc, widths = build_encoder(plan)
        self.dec = build_decoder(plan, widths)
        finest, width, _ = plan.levels[0]
        self.last = (f"{finest}_aux_norm", f"{finest}_aux_conv")
        self.dec[self.last[0]] = group_norm(width, EPS)
        self.dec[self.last[1]] = nn.Conv2d(width, out_channels, 3, padding=1)

    def embed(
        self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        dtype = self.map_layer0.weight.dtype
        cosines, sines = self.map_noise(noise_labels).chunk(2, 1)
        emb = torch.cat([sines, cosines], 1).to(dtype)  # these networks were trained with the sines first
        if self.map_label is not None:
            emb = emb + self.map_label(given_labels(class_labels).to(dtype) * math.sqrt(self.label_dim))
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels.to(dtype))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))

    def finish(self, x: Tensor) -> Tensor:
        norm, conv = (self.dec[name] for name in self.last)
        return conv(F.silu(norm(x)))
