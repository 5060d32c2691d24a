"""What a method takes: weight files, enlargements, faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightInput:
    """A weight file that a method takes.

    default: "" where one must be given; words: what stands for a file, such as auto; shipped: names that come
    along. many: several may be given. kinds: of weight files that fit, by their ids; none: any.
    """

    name: str
    help: str
    default: str = ""
    words: tuple[str, ...] = ()
    shipped: Callable[[], list[str]] = list
    many: bool = False
    kinds: Collection[str] = ()

    def names(self) -> list[str]:
        """Everything that may be named beside files."""
        return [*self.words, *self.shipped()]


@dataclass(frozen=True)
class Scales:
    """Enlargements that a method takes, and the one it is asked for by default."""

    least: float = 1.0
    most: float = 64.0
    default: float = 4.0

    def check(self, scale: float, method: str) -> float:
        """Raises ValueError for a scale outside."""
        if not self.least <= scale <= self.most:
            raise ValueError(f"{method} enlarges by {self.least:g} to {self.most:g}, not by {scale:g}")
        return scale

    def for_longest(self, longest: int, size: tuple[int, int], method: str) -> float:
        """The scale that makes the longer side of h x w exactly `longest` pixels. Raises ValueError."""
        side = max(size)
        least, most = math.ceil(side * self.least), math.floor(side * self.most)
        if not least <= longest <= most:
            raise ValueError(
                f"longest {longest} is outside {least} .. {most} pixels, which {method} makes of a picture "
                f"of {size[1]} x {size[0]}: choose a length within"
            )
        return longest / side


@dataclass(frozen=True)
class FaceUse:
    """How a method restores aligned faces. blind: as they are, else reduced to the pixels that they have and
    enlarged again.
    """

    blind: bool = False
