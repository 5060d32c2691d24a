"""What each stage of CodeFormer's training minimises: networks whose forward pass is their loss (Zhou et al.
2022, Eq. 1-6).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...faces.codeformer import from_network
from ...metrics.fidelity import psnr
from ...nets.codeformer import CodeFormer
from ...nets.codeformer_blocks import adain
from ...nets.codeformer_vqgan import VQGAN
from ..adversary import Adversary
from ..frozen import Frozen
from ..perceptual import Perceptual

TOKENS = 0.5  # weight of the cross entropy of codes against the distance of latents


class Teacher(Frozen[VQGAN]):
    """The first stage's network, asked for the codes of pictures."""

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (B, s s) of the codes of pictures in -1..1, and their rows as maps B C s s."""
        network = self.beside(x)
        quantised = network.quantize(network.encoder(x).float())
        return quantised.indices.flatten(1), network.quantize.lookup(quantised.indices)


class Reconstruction(nn.Module):
    """Stage one: pictures through the codebook and back."""

    def __init__(self, network: VQGAN, adversarial: float = 0.8, after: int = 0, perceptual: float = 0.0):
        super().__init__()
        self.network, self.adversary = network, Adversary(adversarial, after, network.config.image_size)
        self.perceptual = Perceptual(perceptual)

    def forward(self, clean: Tensor, low: Tensor | None = None) -> Tensor:
        made, quantised = self.network(clean)
        made = made.float()
        others = F.l1_loss(made, clean) + self.perceptual(made, clean)
        return others + quantised.loss.float() + self.adversary(made, clean, others)

    @staticmethod
    def figures(network: VQGAN, clean: Tensor, low: Tensor) -> dict[str, float]:
        made, quantised = network(clean)
        return {"psnr": _psnr(made, clean), "codes": quantised.perplexity.item()}


class Prediction(nn.Module):
    """Stage two: the encoder and the transformer learn the codes of undamaged pictures from damaged ones; the
    rest is frozen.
    """

    def __init__(self, network: CodeFormer, teacher: VQGAN):
        super().__init__()
        self.network, self.teacher = network, Teacher(teacher)
        network.requires_grad_(True)
        for part in (network.quantize, network.generator, network.fuse_convs_dict):
            part.requires_grad_(False)

    def forward(self, clean: Tensor, low: Tensor) -> Tensor:
        latent = self.network.encode(low, fused=False)[0]
        return code_terms(latent, self.network.predict(latent), *self.teacher.codes(clean))

    def figures(self, network: CodeFormer, clean: Tensor, low: Tensor) -> dict[str, float]:
        indices, _ = self.teacher.codes(clean)
        right = network.predict(network.encode(low, fused=False)[0]).argmax(2) == indices
        return {"right": right.float().mean().item(), "psnr": _psnr(network(low, 0.0), clean)}


class Fusion(nn.Module):
    """Stage three: the fusion of the encoder's maps, with the terms of stage two so that w = 0 stays as
    good.
    """

    def __init__(
        self,
        network: CodeFormer,
        teacher: VQGAN,
        adversarial: float = 0.8,
        after: int = 0,
        perceptual: float = 0.0,
    ):
        super().__init__()
        self.network, self.teacher = network, Teacher(teacher)
        self.adversary, self.perceptual = (
            Adversary(adversarial, after, network.config.image_size),
            Perceptual(perceptual),
        )
        network.requires_grad_(True)
        for part in (network.quantize, network.generator):
            part.requires_grad_(False)

    def forward(self, clean: Tensor, low: Tensor) -> Tensor:
        latent, maps = self.network.encode(low)
        indices, rows = self.teacher.codes(clean)
        logits = self.network.predict(latent)
        made = self.network.decode(adain(self.network.lookup(logits.detach()), latent), maps, 1.0).float()
        others = F.l1_loss(made, clean) + self.perceptual(made, clean)
        return others + code_terms(latent, logits, indices, rows) + self.adversary(made, clean, others)

    def figures(self, network: CodeFormer, clean: Tensor, low: Tensor) -> dict[str, float]:
        return {"psnr": _psnr(network(low, 1.0), clean), "psnr_codes": _psnr(network(low, 0.0), clean)}


def code_terms(latent: Tensor, logits: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    """Cross entropy of predicted scores against the codes of undamaged pictures, and the distance of the
    latent from their rows.
    """
    return TOKENS * F.cross_entropy(logits.float().flatten(0, 1), indices.flatten()) + F.mse_loss(
        latent.float(), rows.float()
    )


def _psnr(made: Tensor, clean: Tensor) -> float:
    return float(psnr(from_network(made.float()), from_network(clean)).mean())
