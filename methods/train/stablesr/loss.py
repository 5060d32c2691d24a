"""What the training of StableSR's layers minimises: the error of a frozen UNet that they modulate (Wang et
al. 2024, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ....samplers.noise import Noise
from ...nets.sd_unet import SDUNet
from ...nets.sd_vae import VAE
from ...stablesr.autoencoder import Autoencoder
from ...stablesr.layers import StableSRLayers
from ...stablesr.levels import CHAIN
from ..frozen import Frozen
from ..pairs import enlarged
from ..prior import signed


class Noised(NamedTuple):
    """A batch as the network sees it: noised latents B Z h w, steps t (B,), latents of the enlarged inputs,
    prompts B L D; and the target.
    """

    x: Tensor
    t: Tensor
    lr: Tensor
    context: Tensor
    target: Tensor

    @staticmethod
    def of(z0: Tensor, t: Tensor, lr: Tensor, context: Tensor, eps: Tensor, predicted: str) -> Noised:
        """`predicted`: eps, or v = alpha eps - sigma z0 (Salimans and Ho 2022); context 1 L D; t in whole
        steps of the chain.
        """
        abar = CHAIN.alphas_cumprod.float().to(z0.device)[t].view(-1, 1, 1, 1)
        alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
        target = eps if predicted == "eps" else alpha * eps - sigma * z0
        return Noised(alpha * z0 + sigma * eps, t.float(), lr, context.expand(len(z0), -1, -1), target)


class Modulation(nn.Module):
    """The trained layers on a UNet that is not trained.

    A noised batch to the mean squared error of each sample (B,).

    part: how many samples are computed at once; gradients of a larger batch then take the memory of a part,
    and a second forward pass.
    """

    def __init__(self, layers: StableSRLayers, unet: SDUNet, part: int):
        super().__init__()
        self.encoder, self.sft, self.unet, self.part = layers.encoder, layers.sft, Frozen(unet), part
        self.requires_grad_(True)

    @property
    def layers(self) -> StableSRLayers:
        return StableSRLayers(self.encoder, self.sft)

    def forward(self, *batch: Tensor) -> Tensor:
        again = partial(checkpoint, self.errors, use_reentrant=False, preserve_rng_state=False)
        errors = again if torch.is_grad_enabled() and len(batch[0]) > self.part else self.errors
        return torch.cat([errors(*part) for part in zip(*(x.split(self.part) for x in batch), strict=True)])

    def errors(self, x: Tensor, t: Tensor, lr: Tensor, context: Tensor, target: Tensor) -> Tensor:
        unet = self.unet.beside(x)
        with self.sft.modulating(unet, self.encoder(lr, t)):
            answer = unet(x, t, context)
        return (answer.float() - target).square().flatten(1).mean(1)


@torch.no_grad()
def encoded(
    vae: VAE, truth: Tensor, low: Sequence[Tensor], seeds: Sequence[int], part: int, kernel: str = "bicubic"
) -> tuple[Tensor, Tensor]:
    """Latents B Z h w of uint8 crops B 3 S S and of their enlarged degradations 3 s s, both drawn from the
    posterior, on the device of the crops.
    """
    made = []
    for i in range(0, len(truth), part):
        noise, piece = Noise(seeds[i : i + part]).child("latents"), slice(i, i + part)
        clean = signed(truth[piece])
        shown = enlarged(low[piece], clean.shape[-1], kernel).to(clean.device)
        made.append([Autoencoder(vae).encode(x, noise) for x in (clean, shown)])
    first, second = (torch.cat(z) for z in zip(*made, strict=True))
    return first, second
