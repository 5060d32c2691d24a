"""What the methods that run a prior on pictures of any size share: tiles, memory and warnings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ...samplers.tiled import Tiled, grid
from ..imaging.canvas import TileSettings
from ..memory import call_bytes
from ..method import Plan, Upscaler
from ..timing import Call, network_call
from .prior import PicturePrior
from .typicality import size_warning

STATES = 6  # of the result's size, in float32: the state, what is predicted of it, noise, sums of tiles
P = TypeVar("P", bound=PicturePrior)


class PriorUpscaler(Upscaler, Generic[P]):
    """A prior with how pictures beyond its size are cut; `more` are networks that run beside it."""

    pictures = 1  # that the network sees in a call
    gradient = False  # whether a step needs one through the network

    def __init__(self, prior: P, canvas: TileSettings, more: tuple[nn.Module, ...] = (), frame: str = "ffhq"):
        self.prior: P = prior
        self.canvas = canvas
        self.networks = (prior.network, *more)
        self.size = prior.size
        self.frame = frame

    @abstractmethod
    def calls(self, scale: float) -> int:
        """Network calls for a picture or tile. Raises ValueError for settings that do not fit the prior."""

    def call_shape(self, scale: float) -> tuple[int, int, int, int]:
        """What one network call sees."""
        tiles = self.tiles(scale)
        return tiles.batch, self.prior.channels, tiles.size, tiles.size

    def tiles(self, scale: float) -> Tiled:
        """How pictures are cut."""
        return self.canvas.tiles(self.prior)

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        places, sides = self._cut(size, scale)
        batch = min(self.call_shape(scale)[0], places)
        shape = (batch, self.prior.channels, *sides)
        return network_call(self.prior.network, shape, self.pictures, self.gradient)

    def _cut(self, size: tuple[int, int], scale: float) -> tuple[int, tuple[int, int]]:
        """How many tiles the result has, and their sides."""
        tiles, unit = self.tiles(scale), self.prior.multiple
        height, width = (-(-n // unit) * unit for n in self.result_size(size, scale))
        places = grid(height, width, tiles.size, min(tiles.overlap, tiles.size - 1))
        return len(places), (min(height, tiles.size), min(width, tiles.size))

    def pieces(self, size: tuple[int, int], scale: float) -> int:
        """Network calls of a step."""
        return -(-self._cut(size, scale)[0] // self.call_shape(scale)[0])

    def room(self, scale: float) -> int:
        """Bytes of one call beside the weights."""
        shape = self.call_shape(scale)
        return call_bytes(self.prior.network, shape, self.pictures, self.gradient)

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        warning = size_warning(self.prior, size, scale)
        warnings = (*self.scale_warnings(scale), *filter(None, [warning]))
        height, width = self.result_size(size, scale)
        pictures = 4 * STATES * self.prior.channels * height * width
        room, pieces = self.room(scale) + pictures, self.pieces(size, scale)
        return Plan((height, width), self.calls(scale), room, warnings, pieces)

    def one_by_one(
        self, scale: float, step: Callable[..., None], pictures: int, made: Callable[..., Tensor]
    ) -> Tensor:
        """What made(which pictures, step) gives for all: on a processor, one after the other.

        For runs that follow a gradient through networks, which magnifies that processors round a batch
        differently from a single picture: so each picture is the same in every batch.
        """
        if self.device.type != "cpu" or pictures == 1:
            return made(slice(None), step)
        counted = partial(step, total=self.calls(scale) * pictures)
        return torch.cat([made(slice(i, i + 1), counted) for i in range(pictures)])

    def shrink(self) -> str:
        self.canvas, words = self.canvas.smaller(self.prior)
        return words

    def scale_warnings(self, scale: float) -> tuple[str, ...]:
        """What to say of a scale that the networks were not trained for."""
        return ()
