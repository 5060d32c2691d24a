"""NCSN++ super-resolution networks (SDE-SR, SRDG) as denoisers: continuous, variance exploding, conditioned
on the small picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.denoiser import Cond, Prediction, from_eps
from ...samplers.schedule import ExplodingSchedule, Level
from ..nets.ncsnpp import NCSNpp


@dataclass(init=False)
class NCSNppPrior:
    """eps = -sigma * score; spatial condition `low_res`, enlarged to the picture and in its units.

    The network works on pictures in 0..1 plus noise. span: the values of black and white in the state, (0, 1)
    as published; (-1, 1) makes it a prior like the others, with levels twice as high. A level's t is sigma in
    the network's units.
    """

    network: NCSNpp
    span: tuple[float, float]
    schedule: ExplodingSchedule  # in the network's units

    def __init__(
        self,
        network: NCSNpp,
        span: tuple[float, float] = (0.0, 1.0),
        schedule: ExplodingSchedule | None = None,
    ):
        """Without a schedule that of what the network was trained for. Raises ValueError."""
        trained = network.config.sigma_min, network.config.sigma_max
        self.network = network
        self.span = span
        self.schedule = schedule or ExplodingSchedule(*trained)
        if not self.span[0] < self.span[1]:
            raise ValueError(
                f"a span of {self.span} has no room between black and white: give (0, 1) or (-1, 1)"
            )

    def begun_at(self, start: float) -> NCSNppPrior:
        """The same network with levels from a noise of `start` (of pictures in 0..1) down; 0: from its
        most.
        """
        return NCSNppPrior(self.network, self.span, self.schedule.below(start)) if start else self

    @property
    def measured(self) -> None:
        """Unlike the unconditional priors' errors, its own are never measured."""

    @property
    def channels(self) -> int:
        return self.network.config.channels

    @property
    def size(self) -> int:
        """The side of the pictures it was trained on."""
        return self.network.config.image_size

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of."""
        return self.network.config.reduction

    def levels(self, steps: int, continuous: bool = False) -> list[Level]:
        """The published levels in the units of the state, down to clean data; see
        `ExplodingSchedule.levels`.
        """
        return [
            level._replace(sigma=level.sigma * self._width)
            for level in self.schedule.levels(steps, continuous)
        ]

    def c_noise(self, sigma: float) -> float:
        """What the network is told at a noise level of the state."""
        return sigma / self._width

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures in 0..1 in the units of the state."""
        return pictures if self.span == (0, 1) else self.span[0] + self._width * pictures

    def decode(self, x: Tensor) -> Tensor:
        """The reverse of `encode`."""
        return x if self.span == (0, 1) else (x - self.span[0]) / self._width

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        if cond is None or "low_res" not in cond.spatial:
            raise ValueError(
                "this prior restores a low-resolution picture: give it one as the condition low_res"
            )
        heard = torch.full((len(x),), level.t, device=x.device, dtype=torch.float32)
        scaled = self.network(self.decode(x), heard, self.decode(cond.spatial["low_res"]))
        return from_eps(x, level, scaled.to(x) * (-self.c_noise(level.sigma) / level.t))

    def score(self, x: Tensor, level: Level, cond: Cond) -> Tensor:
        """The gradient of ln p(x_t) in the units of the state."""
        return self(x, level, cond).eps / -level.sigma

    @property
    def _width(self) -> float:
        return self.span[1] - self.span[0]
