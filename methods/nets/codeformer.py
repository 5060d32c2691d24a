"""CodeFormer: faces from codes that a transformer predicts (Zhou et al., Towards Robust Blind Face
Restoration, NeurIPS 2022).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from .codeformer_blocks import Fuse, TransformerLayer, adain
from .codeformer_vqgan import VQGAN, VQGANConfig


@dataclass(frozen=True)
class CodeFormerConfig:
    """Sizes of the transformer and where the encoder is fused in; the defaults are those of the released
    network.
    """

    vqgan: VQGANConfig = field(default_factory=VQGANConfig)
    channels: int = 512
    heads: int = 8
    layers: int = 9
    fused: tuple[int, ...] = (32, 64, 128, 256)  # sides of the fused maps


class CodeFormer(VQGAN):
    """Restores aligned faces B 3 S S in -1..1, S the size it was made for (512 when released).

    w weighs the encoder's own maps against the codes: 0 trusts the codes alone, 1 stays close to the input.
    State-dict keys equal the released checkpoint's. Raises ValueError for another size.
    """

    def __init__(self, config: CodeFormerConfig = CodeFormerConfig()):
        super().__init__(config.vqgan)
        self.sizes = config
        side, width = config.vqgan.sides[-1], dict(zip(config.vqgan.sides, config.vqgan.widths, strict=True))
        unknown = [s for s in config.fused if s not in width]
        if unknown:
            raise ValueError(
                f"there is no map of side {unknown[0]} to fuse: choose among {', '.join(map(str, width))}"
            )
        self.position_emb = nn.Parameter(torch.zeros(side * side, config.channels))
        self.feat_emb = nn.Linear(config.vqgan.code_channels, config.channels)
        self.ft_layers = nn.ModuleList(
            TransformerLayer(config.channels, config.heads, 2 * config.channels) for _ in range(config.layers)
        )
        self.idx_pred_layer = nn.Sequential(
            nn.LayerNorm(config.channels), nn.Linear(config.channels, config.vqgan.codes, bias=False)
        )
        self.fuse_convs_dict = nn.ModuleDict({str(s): Fuse(width[s]) for s in config.fused})

    def encode(self, x: Tensor, fused: bool = True) -> tuple[Tensor, dict[int, Tensor]]:
        """The latent B C s s, and the encoder's maps by side where they will be fused."""
        size = self.config.image_size
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, size, size):
            raise ValueError(
                f"this CodeFormer restores faces of 3 x {size} x {size}, not {tuple(x.shape[1:])}: align "
                "or resize them first"
            )
        maps: dict[int, Tensor] = {}

        def keep(side: int, h: Tensor) -> Tensor:
            maps[side] = h
            return h

        return self.encoder(x, self.sizes.fused if fused else (), keep), maps

    def predict(self, latent: Tensor) -> Tensor:
        """Scores of every code at every position, row by row: (B, s s, codes)."""
        tokens = self.feat_emb(rearrange(latent, "b c h w -> b (h w) c"))
        for layer in self.ft_layers:
            tokens = layer(tokens, self.position_emb)
        return self.idx_pred_layer(tokens)

    def lookup(self, logits: Tensor) -> Tensor:
        """The maps B C s s of the best code at every position."""
        side = self.config.sides[-1]
        return self.quantize.lookup(logits.argmax(2).reshape(-1, side, side))

    def decode(self, codes: Tensor, maps: dict[int, Tensor], w: float) -> Tensor:
        """Faces B 3 S S from codes B C s s; with w 0 the encoder's maps are not needed."""
        return self.generator(
            codes,
            self.sizes.fused if w else (),
            lambda side, h: self.fuse_convs_dict[str(side)](maps[side], h, w),
        )

    def forward(self, x: Tensor, w: float = 0.5, matched: bool = True) -> Tensor:
        """matched: give the codes the mean and deviation of the input's latent (AdaIN), as released."""
        latent, maps = self.encode(x, fused=bool(w))
        codes = self.lookup(self.predict(latent))
        return self.decode(adain(codes, latent) if matched else codes, maps, w)
