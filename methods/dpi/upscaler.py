"""DPI on whole pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...samplers.tiled import Tiled
from ..batches import of_picture
from ..imaging.canvas import TileSettings
from ..inputs import FaceUse, Scales, WeightInput
from ..memory import call_bytes
from ..method import AUTO, NONE, Given, Method, Plan, Report
from ..precision import loaded_in, wanted
from ..priors.load import PRIORS, PriorSettings, frame_of, load_prior, shipped_priors
from ..priors.prior import Prior
from ..priors.typicality import ood_warnings
from ..priors.upscaler import PriorUpscaler
from ..settings import Settings, option
from .corrector import Corrector
from .method import PRESETS, DPISettings, dpi_upscale, levels_of, tiles_of
from .presets import REAL, choose_corrector, choose_settings, shipped_correctors

PUBLISHED = (4.0, 8.0, 16.0)  # scales that correctors are trained for


@dataclass(frozen=True)
class StepSettings(Settings):
    """How many of the trained steps are taken."""

    primary = True
    steps: int = option(
        0, "Network calls for each picture; 0: 100, or what a preset that is named asks for", low=0, high=1000
    )


class DPIUpscaler(PriorUpscaler):
    """DPI with the settings and the corrector that a scale asks for."""

    def __init__(self, prior: Prior, corrector: str, canvas: TileSettings, given: Given, frame: str = "ffhq"):
        self.given = given
        self.precision = wanted()
        self.preset = given.preset
        self.steps = given.make(StepSettings).steps
        self.own = given.of(DPISettings)
        self.corrector_name = corrector
        self.said: list[str] = []
        self.notes: dict[float, list[str]] = {}
        self.correctors: dict[float, Corrector | None] = {}
        super().__init__(prior, canvas, frame=frame)
        for scale in PUBLISHED:  # loaded now, so that whatever is wrong is said before the first picture
            self.corrector(scale)
        found = [c for c in self.correctors.values() if c]
        own = next((c.scale for c in found if c.scale and corrector != AUTO), None)
        self.scales = PUBLISHED if own is None else (float(own),)
        for scale in self.scales if own else ():
            found[0].check(prior.channels, self.settings(scale).k, scale)
        self.networks = (prior.network, *dict.fromkeys(c.network for c in found))

    def settings(self, scale: float) -> DPISettings:
        """Those of the preset at a scale, and what was given. Raises ValueError."""
        return choose_settings(self.preset, scale, self.steps, **self.own)

    def corrector(self, scale: float) -> Corrector | None:
        """The one for a scale, which is loaded once."""
        real = self.preset == REAL
        key = float(scale) if self.corrector_name == AUTO and not real else 0.0  # one that serves every scale
        if key not in self.correctors:
            notes = self.notes.setdefault(key, [])
            k = self.own.get("k", DPISettings.k)
            with loaded_in(self.precision):
                self.correctors[key] = choose_corrector(
                    self.corrector_name, self.prior.channels, scale, k, real, notes.append, self.prior.size
                )
        self.said = self.notes.get(key, [])
        return self.correctors[key]

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        if corrector := self.corrector(scale):
            corrector.check(self.prior.channels, self.settings(scale).k, scale)
        return super().plan(size, scale)

    def calls(self, scale: float) -> int:
        return len(levels_of(self.prior, self.settings(scale))) - 1

    def tiles(self, scale: float) -> Tiled:
        return tiles_of(self.prior, self.corrector(scale), self.settings(scale).k, self.canvas)

    def room(self, scale: float) -> int:
        corrector = self.corrector(scale)
        shape = self.call_shape(scale)
        own = call_bytes(corrector.network, shape, pictures=2) if corrector else 0
        return max(super().room(scale), own)

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        settings = self.settings(scale)
        corrector = self.corrector(scale)
        for note in self.said:
            report(note)
        strength = f"tau {settings.tau:g}, s {settings.s:g}, omega {settings.omega:g}"
        report(f"{strength}, {settings.sampler}, {self.calls(scale)} steps")
        for i, text in enumerate(ood_warnings(self.prior, low, scale)):
            if text:
                report(of_picture(i, text))
        if corrector:
            corrector.network.to(low.device)
        return dpi_upscale(self.prior, corrector, low, scale, settings, self.canvas, seeds, step)


def _load(files: Mapping[str, str], given: Given) -> DPIUpscaler:
    name = files["prior"]
    prior = load_prior(name, given.make(PriorSettings))
    return DPIUpscaler(prior, files["corrector"], given.make(TileSettings), given, frame_of(name))


METHOD = Method(
    "dpi",
    "PriorSRUpscaleDPI",
    "DPI Face Super-Resolution",
    "Enlarge faces with a diffusion prior, held by conditions on a sparse grid that a corrector refines "
    "(DPI, Yang et al. 2025).",
    settings=(StepSettings, DPISettings, PriorSettings, TileSettings),
    load=_load,
    weights=(
        WeightInput("prior", "an ADM or EDM prior", "face128", shipped=shipped_priors, kinds=PRIORS),
        WeightInput(
            "corrector",
            "what refines the conditions; auto: the shipped one of the scale, if there is one; none: nothing",
            AUTO,
            words=(AUTO, NONE),
            shipped=shipped_correctors,
            kinds=("corrector",),
        ),
    ),
    presets=tuple(PRESETS),
    scales=Scales(least=2.0),
    faces=FaceUse(),
)
