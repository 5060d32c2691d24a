"""Bicubic enlargement and one projection onto what the small picture tells: what no network has a part in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from .imaging.operators import ReduceTo
from .imaging.resize import resize, size_of
from .inputs import FaceUse
from .method import Given, Method, Plan, Report, Upscaler


class NoPrior(Upscaler):
    """x + A^+ (y - A x) of the bicubically enlarged x: reduced again, it is the picture, but for clipping."""

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        return Plan(self.result_size(size, scale))

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        x = resize(low, self.result_size(size_of(low), scale))
        reduce = ReduceTo(size_of(low))
        return (x + reduce.lift(low - reduce(x), x)).clamp(0, 1)


def _load(files: Mapping[str, str], given: Given) -> NoPrior:
    return NoPrior()


METHOD = Method(
    "no-prior",
    "PriorSRUpscaleNoPrior",
    "Projection Upscale (no prior)",
    "Enlarge bicubically so that the result, reduced again, is the picture: what projection alone gains, to "
    "compare diffusion priors with.",
    settings=(),
    load=_load,
    faces=FaceUse(),
)
