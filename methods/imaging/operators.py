"""Linear measurement operators y = A x, each with its exact adjoint: reduction, blur, missing pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .filters import blur
from .resize import Resampler, size_of


class LinearOperator:
    """x of B C H W and `in_size` to y; subclasses say how, the adjoint follows from that."""

    in_size: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, B C H W, exact to rounding."""
        x = torch.zeros(*y.shape[:-2], *self.in_size, dtype=y.dtype, device=y.device)
        with torch.inference_mode(False), torch.enable_grad():
            pull = torch.func.vjp(self, x.clone())[1]
            return pull(y.clone())[0].detach()


@dataclass(frozen=True)
class Reduction(LinearOperator):
    """Antialiased cubic reduction by `scale`, mirrored at the border: the super-resolution operator of DPS
    and EDM-DPS.
    """

    in_size: tuple[int, int]
    scale: float = 4.0

    @cached_property
    def resampler(self) -> Resampler:
        return Resampler(self.in_size, scale=1 / self.scale, border="mirror", centred=True)

    def __call__(self, x: Tensor) -> Tensor:
        return self.resampler(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.resampler.adjoint(y)


@dataclass(frozen=True)
class ReduceTo:
    """The same reduction from whatever size comes in to a fixed one, for measurements whose picture's size is
    not known yet.

    covered: the part of what comes in, from its top left corner, that the picture covers; the rest is a rim
    of no meaning.
    """

    size: tuple[int, int]
    covered: tuple[int, int] | None = None
    _made: dict[tuple[int, int], Resampler] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        height, width = self.covered or x.shape[-2:]
        return self._of((height, width))(x[..., :height, :width])

    def lift(self, d: Tensor, like: Tensor) -> Tensor:
        """A^+ d in the shape of `like`, zero in the rim."""
        height, width = self.covered or like.shape[-2:]
        return F.pad(
            self._of((height, width)).pseudo_inverse(d),
            (0, like.shape[-1] - width, 0, like.shape[-2] - height),
        )

    def _of(self, in_size: tuple[int, int]) -> Resampler:
        if in_size not in self._made:
            self._made[in_size] = Resampler(in_size, self.size, border="mirror")
        return self._made[in_size]


@dataclass(frozen=True, eq=False)
class Blurring(LinearOperator):
    """Convolution with an odd k x k kernel, reflected at the border."""

    in_size: tuple[int, int]
    kernel: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return blur(x.flatten(0, -3), self.kernel).view(x.shape)


@dataclass(frozen=True, eq=False)
class Masking(LinearOperator):
    """Pixels seen (mask 1) or missing (0); mask is H W or 1 1 H W."""

    in_size: tuple[int, int]
    mask: Tensor

    def __post_init__(self):
        if size_of(self.mask) != tuple(self.in_size):
            raise ValueError(
                f"the mask is {size_of(self.mask)}, the image {tuple(self.in_size)}: resize the mask"
            )

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.mask.to(x)
