"""What a degradation is: settings that may be ranges until they are drawn, and a plain function then."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import ClassVar, TypeVar

from torch import Tensor

Range = float | tuple[float, float]  # a value, or the limits of a uniform draw
Size = tuple[int, int]
Drawn = TypeVar("Drawn", bound="Step")


@dataclass(frozen=True)
class Step:
    """Base of all steps: checks its ranges when made, and draws every one of them by default."""

    limits: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self):
        for name, (low, high) in self.limits.items():
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            if (
                len(values) not in (1, 2)
                or not all(low <= v <= high for v in values)
                or values[0] > values[-1]
            ):
                words = f"{name} {value} must lie within {low:g} .. {high:g}, smaller value first"
                raise ValueError(f"{type(self).__name__} {words}")

    def draw(self: Drawn, rng: random.Random) -> Drawn:
        """A copy with one value for every range and a seed for every noise; what is fixed already stays."""
        changes = {name: uniform(rng, getattr(self, name)) for name in self.limits}
        if getattr(self, "seed", 0) is None:
            changes["seed"] = rng.getrandbits(48)
        return replace(self, **changes)

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        raise NotImplementedError


def uniform(rng: random.Random, value: Range) -> float:
    return rng.uniform(*value) if isinstance(value, tuple) else value


def single(value: Range | None) -> float:
    """The one value of a drawn setting. Raises ValueError."""
    if value is None or isinstance(value, tuple):
        raise ValueError(f"{value} is no single value: draw the recipe before applying it")
    return value


def check_drawn(step: Step) -> None:
    """Raises ValueError that names the setting that is still to be drawn."""
    for f in fields(step):
        value = getattr(step, f.name)
        if (f.name in step.limits and isinstance(value, tuple)) or (f.name == "seed" and value is None):
            raise ValueError(
                f"{type(step).__name__} has no single {f.name} yet: draw the recipe before applying it"
            )


@dataclass(frozen=True)
class Sequence(Step):
    """Steps one after another."""

    steps: tuple[Step, ...] = ()

    def draw(self, rng: random.Random) -> Sequence:
        return Sequence(tuple(step.draw(rng) for step in self.steps))

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        for step in self.steps:
            x = step(x, size)
        return x


@dataclass(frozen=True)
class OneOf(Step):
    """One of several steps, drawn by weight; a drawn one is that step. The rest is for none."""

    steps: tuple[Step, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self):
        if (
            len(self.steps) != len(self.weights)
            or min(self.weights, default=0) < 0
            or sum(self.weights) > 1 + 1e-6
        ):
            raise ValueError("OneOf needs one weight for each step, none negative, one in total at most")

    def draw(self, rng: random.Random) -> Step:
        point = rng.random()
        for step, weight in zip(self.steps, self.weights, strict=True):
            point -= weight
            if point < 0:
                return step.draw(rng)
        return Sequence()

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        raise ValueError("the recipe still has a choice to make: draw it before applying it")
