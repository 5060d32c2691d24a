"""ADM networks (guided diffusion) as denoisers: discrete, variance preserving, with or without a learned
variance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...samplers.denoiser import Cond, Prediction, from_eps, from_v, from_x0
from ...samplers.schedule import DiscreteSchedule, Level
from .calibration import Calibration

TARGETS: dict[str, Callable[..., Prediction]] = {"eps": from_eps, "x0": from_x0, "v": from_v}


@dataclass
class ADMPrior:
    """A network that maps (x, t, conditions) to its target and perhaps a variance, on the levels of its
    schedule.

    Conditions: spatial `low_res` (super-resolution networks), flat `label` (class-conditional ones). Range of
    x0: -1..1. measured: what the weight file knows of the prior's errors.
    """

    network: Any  # an ADMUNet, or another that answers as one
    schedule: DiscreteSchedule = field(default_factory=DiscreteSchedule.named)
    target: str = "eps"
    measured: Calibration | None = None

    def __post_init__(self):
        if self.target not in TARGETS:
            raise ValueError(f"target {self.target!r} is not one of {', '.join(TARGETS)}")

    @property
    def channels(self) -> int:
        return self.network.config.in_channels

    @property
    def size(self) -> int:
        """The side of the pictures it was trained on."""
        return self.network.config.image_size

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of."""
        return self.network.config.reduction

    @property
    def span(self) -> tuple[float, float]:
        return -1.0, 1.0

    def noise_levels(self) -> tuple[Level, ...]:
        """Those of its schedule, ascending."""
        return self.schedule.table

    def spaced_levels(self, rule: str) -> list[Level]:
        """Of the trained steps those that a rule keeps: all, or 250, 10,10, ddim25."""
        return self.schedule.respace(rule).levels()

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        cond = cond or Cond()
        t = torch.full((len(x),), level.t, device=x.device, dtype=torch.float32)
        arguments = {**cond.flat, **cond.spatial}
        return self.interpret(self.network(x, t, **arguments).float(), x, level)

    def interpret(self, output: Tensor, x: Tensor, level: Level) -> Prediction:
        """What a raw output B C or 2C H W says: the second half of the channels is a variance in -1..1."""
        learned = output.shape[1] == 2 * x.shape[1]
        if not learned and output.shape[1] != x.shape[1]:
            raise ValueError(
                f"the network answers {output.shape[1]} channels for an image of {x.shape[1]}: it is made "
                "for other images"
            )
        value, frac = output.chunk(2, 1) if learned else (output, None)
        pred = TARGETS[self.target](x, level, value)
        return Prediction(pred.x0, pred.eps, None if frac is None else (frac + 1) / 2)
