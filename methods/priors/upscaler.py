"""What the methods that run a prior on pictures of any size share: tiles, memory and warnings."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

from torch import nn

from ..imaging.canvas import TileSettings
from ..memory import call_bytes
from ..method import Plan, Upscaler
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
        tiles = self.canvas.tiles(self.prior)
        return tiles.batch, self.prior.channels, tiles.size, tiles.size

    def room(self, scale: float) -> int:
        """Bytes of one call beside the weights."""
        shape = self.call_shape(scale)
        return call_bytes(self.prior.network, shape, self.pictures, self.gradient)

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        warning = size_warning(self.prior, size, scale)
        warnings = (*self.scale_warnings(scale), *filter(None, [warning]))
        height, width = self.result_size(size, scale)
        pictures = 4 * STATES * self.prior.channels * height * width
        return Plan((height, width), self.calls(scale), self.room(scale) + pictures, warnings)

    def shrink(self) -> str:
        self.canvas, words = self.canvas.smaller(self.prior)
        return words

    def scale_warnings(self, scale: float) -> tuple[str, ...]:
        """What to say of a scale that the networks were not trained for."""
        return ()
