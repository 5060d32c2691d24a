"""The perceptual term of trainings: LPIPS, where its weights are installed."""

from __future__ import annotations

import logging

from torch import Tensor, nn

from ..metrics.backbones import missing
from ..metrics.perceptual import lpips_network
from .frozen import Frozen

log = logging.getLogger("priorsr")

NETWORK = "lpips-vgg"


class Perceptual(nn.Module):
    """`weight` times the mean LPIPS (VGG) of batches B 3 H W in -1..1; 0 where its weights are not installed
    or the weight is 0.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        lacks = missing(NETWORK) if weight else None
        if lacks:
            log.warning("the perceptual term is left out: %s", lacks)
        self.weight, self.network = weight, Frozen(lpips_network()) if weight and not lacks else None

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Of each pair, B 1 1 1. Only where there is a network."""
        if self.network is None:
            raise RuntimeError("LPIPS is not installed, so that there is no distance")
        return self.network.beside(a)(a, b)

    def forward(self, made: Tensor, truth: Tensor) -> Tensor | float:
        return self.weight * self.distance(made, truth).mean() if self.network else 0.0


def used(weight: float) -> bool:
    """Whether a training with this weight has the term."""
    return bool(weight) and not missing(NETWORK)
