"""Bicubic enlargement as a method: what every other one is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from .imaging.resize import resize, size_of
from .method import Given, Method, Plan, Report, Upscaler


class Bicubic(Upscaler):
    """Antialiased bicubic interpolation (Keys, a = -0.5), clipped."""

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        return Plan(self.result_size(size, scale))

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        return resize(low, self.result_size(size_of(low), scale)).clamp(0, 1)


def _load(files: Mapping[str, str], given: Given) -> Bicubic:
    return Bicubic()


METHOD = Method(
    "bicubic",
    "PriorSRUpscaleBicubic",
    "Bicubic Upscale",
    "Enlarge bicubically: no network, invents nothing; what others are compared with.",
    settings=(),
    load=_load,
)
