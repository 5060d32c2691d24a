"""What the training of CFW minimises: the reconstruction of a frozen autoencoder whose decoder it corrects
(Wang et al. 2024, sections 3.2, 4.1).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...nets.cfw import CFW
from ...nets.sd_vae import VAE
from ...stablesr.autoencoder import Autoencoder
from ..adversary import Adversary
from ..frozen import Frozen
from ..perceptual import Perceptual

DISTANCES = {"l1": F.l1_loss, "l2": F.mse_loss}
FIDELITY = 1.0  # w of Eq. 6 in training


class Wrapping(nn.Module):
    """The fusion blocks on an autoencoder that is not trained, and the discriminator, whose weight is fixed.

    Sampled latents B Z h w (scaled), enlarged inputs and truth B 3 S S in -1..1 to the loss: the pixels' mean
    distance, that of LPIPS where there is one, and the adversarial term.
    """

    def __init__(self, cfw: CFW, vae: VAE, distance: str, perceptual: Perceptual, adversary: Adversary):
        super().__init__()
        self.cfw, self.vae, self.distance = cfw, Frozen(vae), DISTANCES[distance]
        self.perceptual, self.adversary = perceptual, adversary
        self.requires_grad_(True)

    def sides(self) -> list[list[nn.Parameter]]:
        """Weights of what makes pictures and of what judges them, whose gradients are clipped apart as
        released.
        """
        judging = list(self.adversary.parameters())
        known = {id(p) for p in judging}
        return [part for part in ([p for p in self.parameters() if id(p) not in known], judging) if part]

    def decode(self, latent: Tensor, low: Tensor, w: float = FIDELITY) -> Tensor:
        """B 3 S S in about -1..1; w = 0 is the plain decoder."""
        return Autoencoder(self.vae.beside(latent), self.cfw).decode(latent, low, w).float()

    def forward(self, latent: Tensor, low: Tensor, truth: Tensor) -> Tensor:
        made = self.decode(latent, low)
        others = self.distance(made, truth) + self.perceptual(made, truth)
        return others + self.adversary(made, truth, others)
