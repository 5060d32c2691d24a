"""What every diffusion prior of this package answers, so that no method asks which kind it is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from ...samplers.denoiser import Cond, Prediction
from ...samplers.schedule import Level
from .calibration import Calibration


class PicturePrior(Protocol):
    """A denoiser of pictures with what methods need to know of it, conditioned or not.

    network: its weights. measured: its errors, where they were measured. channels, size: of the pictures it
    was trained on. multiple: of which sides must be. span: the values of black and white in its state.
    """

    @property
    def network(self) -> nn.Module: ...

    @property
    def measured(self) -> Calibration | None: ...

    @property
    def channels(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def multiple(self) -> int: ...

    @property
    def span(self) -> tuple[float, float]: ...

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction: ...


class Prior(PicturePrior, Protocol):
    """One that needs no condition, with its noise levels."""

    def noise_levels(self) -> tuple[Level, ...]:
        """Every level that a noise level t / T may mean, ascending."""
        ...

    def spaced_levels(self, rule: str) -> list[Level]:
        """The levels of a run down to clean data. Raises ValueError for a rule that this prior cannot
        follow.
        """
        ...
