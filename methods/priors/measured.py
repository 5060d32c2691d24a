"""Methods that restore a picture from its reduction with any prior: what they share but for the restoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...samplers.run import Draw, Step
from ...samplers.travel import stretches
from ..imaging.canvas import TileSettings, enlarge, noise_for
from ..inputs import FaceUse, WeightInput
from ..method import Given, Method, Report
from ..settings import Settings
from .load import PRIORS, PriorSettings, frame_of, load_prior, shipped_priors
from .prior import Prior
from .upscaler import PriorUpscaler

OPERATORS = ("bicubic", "average")


@dataclass(frozen=True)
class Measured:
    """A run: the part `size` of `sides` that was reduced, the noise of its pictures, who hears of steps."""

    size: tuple[int, int]
    sides: tuple[int, int]
    noise: Draw
    on_step: Callable[[Step, Tensor], None] | None = None


Restore = Callable[..., Tensor]  # prior, y (B C h w in -1..1), Measured, settings, denoiser to B C sides


class MeasuredUpscaler(PriorUpscaler[Prior]):
    """`restore` on pictures of any size; settings has `respacing` and, for time travel, `length` and
    `repeats`.
    """

    def __init__(
        self, prior: Prior, restore: Restore, settings: Any, canvas: TileSettings, frame: str = "ffhq"
    ):
        super().__init__(prior, canvas, frame=frame)
        self.restore, self.settings = restore, settings

    def calls(self, scale: float) -> int:
        levels = self.prior.spaced_levels(self.settings.respacing)
        repeats = getattr(self.settings, "repeats", 1)
        if repeats > 1:
            return repeats * sum(len(part) - 1 for part in stretches(levels, self.settings.length))
        return len(levels) - 1

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        noise, tiles = noise_for(low, seeds), self.canvas.tiles(self.prior)

        def restore(shown: Tensor, size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
            task = Measured(size, sides, noise, step)
            return (self.restore(self.prior, shown * 2 - 1, task, self.settings, tiles) + 1) / 2

        return enlarge(low, scale, self.prior.channels, self.prior.multiple, restore)


def measured_method(
    name: str, node_id: str, title: str, about: str, kind: type[Settings], restore: Restore
) -> Method:
    """The Method of such a restoration, with the prior that comes along."""

    def load(files: Mapping[str, str], given: Given) -> MeasuredUpscaler:
        prior, canvas = load_prior(files["prior"], given.make(PriorSettings)), given.make(TileSettings)
        return MeasuredUpscaler(prior, restore, given.make(kind), canvas, frame_of(files["prior"]))

    return Method(
        name,
        node_id,
        title,
        about,
        settings=(kind, PriorSettings, TileSettings),
        load=load,
        weights=(
            WeightInput("prior", "an ADM or EDM prior", "face128", shipped=shipped_priors, kinds=PRIORS),
        ),
        faces=FaceUse(),
    )
