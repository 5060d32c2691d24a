"""What every prior answers, whatever it was trained to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .schedule import Level


@dataclass(frozen=True)
class Prediction:
    """A network's answer as both clean data and noise, B C H W each, with x = alpha * x0 + sigma * eps.

    frac: a learned variance, between log beta~ (0) and log beta (1), where the network has one.
    """

    x0: Tensor
    eps: Tensor
    frac: Tensor | None = None


def from_eps(x: Tensor, level: Level, eps: Tensor, frac: Tensor | None = None) -> Prediction:
    return Prediction((x - level.sigma * eps) / level.alpha, eps, frac)


def from_x0(x: Tensor, level: Level, x0: Tensor, frac: Tensor | None = None) -> Prediction:
    return Prediction(x0, (x - level.alpha * x0) / level.sigma, frac)


def from_v(x: Tensor, level: Level, v: Tensor) -> Prediction:
    """v = alpha * eps - sigma * x0 with alpha^2 + sigma^2 = 1 (Salimans and Ho 2022)."""
    return Prediction(level.alpha * x - level.sigma * v, level.sigma * x + level.alpha * v)


@dataclass(frozen=True)
class Cond:
    """Named conditions, the batch first:

    `spatial` ones (B C h w) follow the picture when it is cut, `flat` ones do not.
    """

    spatial: Mapping[str, Tensor] = field(default_factory=dict)
    flat: Mapping[str, Tensor] = field(default_factory=dict)

    def crop(self, top: int, left: int, height: int, width: int, size: tuple[int, int]) -> Cond:
        """The part that belongs to a window of a picture of `size`; smaller spatial maps are cut in
        proportion.
        """
        return Cond(
            {k: _cut(k, v, (top, left), (height, width), size) for k, v in self.spatial.items()}, self.flat
        )

    def expand(self, batch: int) -> Cond:
        """Conditions of one sample for every sample of a batch; those that have as many already stay."""

        def widen(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {k: v.expand(batch, *v.shape[1:]) if len(v) == 1 else v for k, v in part.items()}

        return Cond(widen(self.spatial), widen(self.flat))

    @staticmethod
    def cat(conds: list[Cond]) -> Cond:
        """Along the batch. All must hold the same names."""
        first = conds[0]
        if any(c.spatial.keys() != first.spatial.keys() or c.flat.keys() != first.flat.keys() for c in conds):
            raise ValueError("conditions that are computed together must hold the same names")

        def join(part: str) -> dict[str, Tensor]:
            return {k: torch.cat([getattr(c, part)[k] for c in conds]) for k in getattr(first, part)}

        return Cond(join("spatial"), join("flat"))


def _cut(
    name: str, value: Tensor, at: tuple[int, int], part: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    for dim, start, length, whole in ((-2, at[0], part[0], size[0]), (-1, at[1], part[1], size[1])):
        have = value.shape[dim]
        if start * have % whole or length * have % whole:
            raise ValueError(
                f"condition {name!r} of {have} does not divide with tiles of {length} at {start} of "
                f"{whole}: choose other tiles"
            )
        value = value.narrow(dim, start * have // whole, length * have // whole)
    return value


class Denoiser(Protocol):
    """A prior: B C H W at one level, and its conditions, to a Prediction of the same shape."""

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction: ...
