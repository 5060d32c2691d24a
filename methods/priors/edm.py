"""EDM networks as denoisers: continuous, variance exploding, the network's answer being clean data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...samplers.denoiser import Cond, Prediction, from_x0
from ...samplers.schedule import DiscreteSchedule, Level, c_noise, karras_sigmas, sigma_levels
from ..nets.edm_precond import EDMPrecond
from .calibration import Calibration


@dataclass
class EDMPrior:
    """D(x; sigma) of Karras et al. 2022 around a preconditioned network; flat condition `label` where it is
    class-conditional.

    Range of x0: -1..1. The state may be float64, the network computes in float32.
    """

    network: EDMPrecond
    measured: Calibration | None = None

    @property
    def channels(self) -> int:
        return self.network.img_channels

    @property
    def size(self) -> int:
        """The side of the pictures it was trained on."""
        return self.network.img_resolution

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of."""
        return 2 ** (self.network.model.levels - 1)

    @property
    def span(self) -> tuple[float, float]:
        return -1.0, 1.0

    def noise_levels(self) -> tuple[Level, ...]:
        """With the signal-to-noise ratios of the linear schedule, as far as the network was trained,
        ascending.
        """
        sigmas = (level.sigma / level.alpha for level in DiscreteSchedule.named("linear").table)
        known = (s for s in sigmas if self.network.sigma_min <= s <= self.network.sigma_max)
        return tuple(Level(c_noise(s), 1.0, s) for s in known)

    def spaced_levels(self, rule: str) -> list[Level]:
        """So many Karras levels. Raises ValueError for a rule that is no number of 2 or more."""
        if not rule.isdigit() or int(rule) < 2:
            raise ValueError(
                f"this prior has no steps of its own to take {rule!r} from: set respacing to a number, "
                "such as 100"
            )
        return self.levels(int(rule))

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        labels = (cond or Cond()).flat.get("label")
        if labels is not None and not labels.is_floating_point():
            labels = self.one_hot(labels)
        sigma = torch.full((len(x),), level.sigma, device=x.device, dtype=torch.float32)
        return from_x0(x, level, self.network(x, sigma, labels).to(x))

    def one_hot(self, labels: Tensor) -> Tensor:
        """Class numbers (B,) as the network takes them."""
        return nn.functional.one_hot(labels, self.network.label_dim).float()

    def levels(
        self, steps: int = 18, smallest: float = 0.002, largest: float = 80.0, rho: float = 7.0
    ) -> list[Level]:
        """Karras levels within what the network was trained for."""
        smallest, largest = max(smallest, self.network.sigma_min), min(largest, self.network.sigma_max)
        return sigma_levels(karras_sigmas(steps, smallest, largest, rho), c_noise)
