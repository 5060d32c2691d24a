"""A trained corrector with what it was trained for, whole or in tiles, and its weight files."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ...samplers.denoiser import Cond, Prediction
from ...samplers.schedule import Level
from ...samplers.tiled import Tiled
from .. import weights
from ..nets.corrector import CorrectorUNet
from .conditions import Correct


@dataclass(frozen=True)
class Corrector:
    """CRT of Eq. 16 for grids of every k-th pixel; scale is the enlargement it was trained on, None where
    that is any or not told.
    """

    network: CorrectorUNet
    k: int = 2
    scale: int | None = None

    @property
    def channels(self) -> int:
        return self.network.config.in_channels

    @property
    def size(self) -> int:
        """Side of the pictures that it was trained on."""
        return self.network.config.image_size

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of."""
        return self.network.config.reduction

    def serves(self, channels: int, k: int, scale: float | None, size: int) -> bool:
        """Whether it is for such pictures; scale: None for degraded ones; size: of faces, 0 for any."""
        return (self.channels, self.k, self.scale) == (channels, k, scale) and size in (0, self.size)

    def __call__(self, x: Tensor, t: float, y_T: Tensor) -> Tensor:
        return self.network(x, torch.full((len(x),), t, device=x.device, dtype=torch.float32), y_T)

    def tiles(self) -> TiledCorrector:
        """The corrector on pictures of any size, in pieces as large as it was trained on that overlap by a
        quarter.
        """
        unit = math.lcm(self.multiple, self.k)
        side = max(self.network.config.image_size // unit, 1) * unit
        return TiledCorrector(self, side, side // 4 // self.k * self.k)

    def check(self, channels: int, k: int, scale: float | None = None) -> None:
        """Raises ValueError when it was trained for other pictures; a scale of None is not compared."""
        if channels != self.channels:
            raise ValueError(
                f"the corrector is for {self.channels} channels, the prior for {channels}: choose the "
                "corrector that goes with the prior"
            )
        if k != self.k:
            raise ValueError(
                f"the corrector was trained with k {self.k}, not {k}: set k to {self.k}, or choose another "
                "corrector"
            )
        if scale is not None and self.scale is not None and abs(scale - self.scale) > 1e-6:
            raise ValueError(
                f"the corrector was trained for x{self.scale}, not x{scale:g}: enlarge by {self.scale}, or "
                "choose another corrector"
            )


@dataclass(frozen=True)
class TiledCorrector:
    """A corrector on pictures larger than it was trained on, cut and blended as the prior's are; tiles must
    start on the grid.
    """

    corrector: Correct
    size: int
    overlap: int
    batch: int = 1

    _tiled: Tiled = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        # nothing of this object in it: a cycle would keep the network alive until the next garbage collection
        object.__setattr__(
            self, "_tiled", Tiled(partial(_corrected, self.corrector), self.size, self.overlap, self.batch)
        )

    def __call__(self, x: Tensor, t: float, y_T: Tensor) -> Tensor:
        return self._tiled(x, Level(t, 0.0, 1.0), Cond({"y_T": y_T})).x0


def _corrected(corrector: Correct, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
    """A corrector as a denoiser, for tiles."""
    assert cond is not None
    corrected = corrector(x, level.t, cond.spatial["y_T"])
    return Prediction(corrected, corrected[:, :0])  # tiles blend one tensor only


def load_corrector(name: str) -> Corrector:
    """The corrector in a weight file: one trained here, or a released one (`ema_*.pt`, `Corrector8.pt`, with
    or without `module.`).

    Raises ValueError for another kind of file, for a k that is none, and for weights that were not averaged
    over training, which sample badly.
    """
    found = weights.load(weights.locate(name), "corrector")
    said, k = found.metadata, found.metadata.get("k", "2")
    with weights.building(found.path, "corrector"):
        averaged = (
            float(said.get("ema", 0)) > 0
            if said.get("kind") == "corrector"
            else not re.fullmatch(r"model_?\d+", found.path.stem)
        )
    if not averaged:
        raise ValueError(
            f"{found.path} holds a corrector without EMA: choose the averaged weights of the same training "
            "(ema_* in published runs)"
        )
    if not re.fullmatch("[0-9]{1,4}", k) or int(k) < 2:
        raise ValueError(
            f"{found.path} says that it was trained with k {k[:20]!r}, which is no grid: give one with "
            "k 2 or more"
        )
    named = re.fullmatch(r"Corrector([0-9]{1,4})", found.path.stem)
    return Corrector(found.network, int(k), int(named[1]) if named else found.scale)
