"""The methods of this package as restorers of aligned faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...samplers.run import Step
from ..diffsr.method import DiffSRSettings, diffsr_upscale
from ..dpi.method import dpi_upscale, levels_of
from ..dpi.presets import AUTO, choose_corrector, choose_settings
from ..imaging.resize import resize
from ..priors.load import shipped_priors
from ..priors.ncsnpp import NCSNppPrior
from ..priors.prior import Prior
from ..srdg.attributes import Wish
from ..srdg.method import RELEASED, SRDGSettings, shipped_networks, srdg_upscale
from ..stablesr.method import StableSR, StableSRSettings, stablesr_upscale
from ..visionrefine.srcnn import SCALES, load_srcnn, native_scale, srcnn_upscale
from .align import SIDE
from .restore import ZoomAware

OnStep = Callable[[Step, Tensor], None]
Report = Callable[[str], None]
ENOUGH = 1.1  # a face enlarged by less than this when it was cut out has all the pixels that a method would give it
PUBLISHED = (4.0, 8.0, 16.0)  # scales of DPI, which its correctors are trained for


@dataclass(frozen=True)
class EnlargingRestorer(ZoomAware):
    """Aligned faces B 3 S S in 0..1, reduced to the pixels that each has in its picture and enlarged again by a method.

    enlarge: B 3 n n in 0..1, S / n and a seed each to B 3 S S. networks: those it runs on. size: S. frame: how tightly faces fill
    their square. steps: network calls. coarse: how many times fewer pixels than S every face is taken to have, 0 for those
    that it has. scales: enlargements that the method is made for, the nearest of which is taken; none for any.
    Raises ValueError for a `coarse` that enlarges nothing.
    """

    enlarge: Callable[[Tensor, float, Sequence[int]], Tensor]
    networks: tuple[nn.Module, ...]
    size: int
    frame: str
    steps: int = 1
    coarse: float = 0.0
    scales: tuple[float, ...] = ()

    def __post_init__(self):
        if self.coarse and not ENOUGH <= self.coarse <= self.size / 2:
            raise ValueError(
                f"coarse {self.coarse:g} is outside {ENOUGH:g} .. {self.size / 2:g}: give 0 for what each face has in the picture"
            )

    def leaves(self, zoom: float) -> str | None:
        least = max(ENOUGH, min(self.scales, default=0) / 2)
        if self.coarse or zoom >= least:
            return None
        own, most = self.size / zoom, self.size / least
        return f"it has {own:.0f} pixels across, and the method is for {most:.0f} or fewer; take it as coarser to restore it anyway"

    @torch.no_grad()
    def __call__(self, faces: Tensor, seeds: Sequence[int], zooms: Sequence[float]) -> Tensor:
        sides = [self._side(self.coarse or zoom) for zoom in zooms]
        result = torch.empty_like(faces)
        for side in sorted(set(sides)):
            group = [i for i, s in enumerate(sides) if s == side]
            low = resize(faces[group], (side, side)).clamp(0, 1)
            result[group] = self.enlarge(low, self.size / side, [seeds[i] for i in group]).to(result)
        return result

    def _side(self, zoom: float) -> int:
        return max(1, round(self.size / (nearest(self.scales, zoom) if self.scales else zoom)))


@dataclass(frozen=True)
class BlindRestorer:
    """Aligned faces B 3 S S in 0..1 as they are, whatever they lack, to the same shape; the fields as of EnlargingRestorer."""

    restore: Callable[[Tensor, Sequence[int]], Tensor]
    networks: tuple[nn.Module, ...]
    size: int
    frame: str
    steps: int = 1

    @torch.no_grad()
    def __call__(self, faces: Tensor, seeds: Sequence[int]) -> Tensor:
        return self.restore(faces, seeds).to(faces)


def nearest(scales: Sequence[float], scale: float) -> float:
    """The scale that differs by the smallest factor."""
    return min(scales, key=lambda s: abs(math.log(s / scale)))


def frame_of(prior: str) -> str:
    """How tightly the faces of a prior are cropped: shipped ones from chin to forehead, others as FFHQ."""
    return "tight" if prior in (*shipped_priors(), *shipped_networks()) else "ffhq"


def by_diffsr(
    prior: Prior,
    frame: str,
    settings: DiffSRSettings = DiffSRSettings(),
    coarse: float = 0.0,
    on_step: OnStep | None = None,
    report: Report | None = None,
) -> EnlargingRestorer:
    """Diff-SR; report hears what was chosen for every face."""
    tell = report and (lambda i, text: report(text))

    def enlarge(low: Tensor, scale: float, seeds: Sequence[int]) -> Tensor:
        return diffsr_upscale(
            prior, _beside(low, prior.network), scale, settings, seeds=seeds, on_step=on_step, report=tell
        )

    return EnlargingRestorer(enlarge, (prior.network,), prior.size, frame, settings.steps, coarse)


def by_dpi(
    prior: Prior,
    frame: str,
    preset: str = AUTO,
    steps: int = 0,
    corrector: str = AUTO,
    coarse: float = 0.0,
    on_step: OnStep | None = None,
    report: Report | None = None,
) -> EnlargingRestorer:
    """DPI at the published scales, or at the scale of a corrector trained for another. Raises ValueError before the first step."""
    notes: dict[float, list[str]] = {scale: [] for scale in PUBLISHED}
    correctors = {
        scale: choose_corrector(corrector, prior.channels, scale, report=notes[scale].append)
        for scale in PUBLISHED
    }
    own = next((c.scale for c in correctors.values() if c and corrector != AUTO), None)
    scales = PUBLISHED if own is None else (float(own),)
    settings = {scale: choose_settings(preset, scale, steps) for scale in scales}
    for scale in scales:
        if one := correctors.setdefault(scale, correctors[PUBLISHED[0]]):
            one.check(prior.channels, settings[scale].k, scale)
    taken = max(len(levels_of(prior, s)) - 1 for s in settings.values())

    def enlarge(low: Tensor, scale: float, seeds: Sequence[int]) -> Tensor:
        trained = nearest(scales, scale)
        while report and notes.get(trained):
            report(notes[trained].pop())
        return dpi_upscale(
            prior,
            correctors[trained],
            _beside(low, prior.network),
            scale,
            settings[trained],
            seeds=seeds,
            on_step=on_step,
        )

    used = {id(c.network): c.network for s, c in correctors.items() if c and s in scales}
    return EnlargingRestorer(
        enlarge, (prior.network, *used.values()), prior.size, frame, taken, coarse, scales
    )


def by_srdg(
    prior: NCSNppPrior,
    frame: str,
    wanted: Sequence[Wish] = (),
    settings: SRDGSettings = SRDGSettings(),
    scales: Sequence[float] = RELEASED,
    coarse: float = 0.0,
    on_step: OnStep | None = None,
) -> EnlargingRestorer:
    """SRDG at the scales that its network is trained for, every face pulled towards the attributes that are wished for."""

    def enlarge(low: Tensor, scale: float, seeds: Sequence[int]) -> Tensor:
        return srdg_upscale(
            prior, _beside(low, prior.network), scale, wanted, settings, seeds=seeds, on_step=on_step
        )

    networks = (prior.network, *(wish.classifier.network for wish in wanted))
    return EnlargingRestorer(
        enlarge, networks, prior.size, frame, settings.steps, coarse, tuple(map(float, scales))
    )


def by_stablesr(
    model: StableSR,
    context: Tensor,
    settings: StableSRSettings = StableSRSettings(),
    negative: Tensor | None = None,
    size: int = SIDE,
    on_step: OnStep | None = None,
) -> BlindRestorer:
    """StableSR on faces in FFHQ's frame; the prompts are tokens 1 L D, that of the context an empty one as it was trained."""

    def restore(faces: Tensor, seeds: Sequence[int]) -> Tensor:
        prompts = [t if t is None else _beside(t, model.prior.network) for t in (context, negative)]
        return stablesr_upscale(
            model,
            _beside(faces, model.prior.network),
            1.0,
            prompts[0],
            settings,
            prompts[1],
            seeds,
            on_step=on_step,
        )

    networks = (
        model.prior.network,
        model.layers.encoder,
        model.layers.sft,
        model.vae,
        *filter(None, [model.cfw]),
    )
    return BlindRestorer(restore, networks, size, "ffhq", settings.steps)


def by_srcnn(size: int = SIDE, coarse: float = 0.0) -> EnlargingRestorer:
    """SRCNN with the shipped weights of the nearest scale; invents nothing."""
    networks = {scale: load_srcnn(scale)[0] for scale in SCALES}

    def enlarge(low: Tensor, scale: float, seeds: Sequence[int]) -> Tensor:
        native = native_scale(scale)
        return srcnn_upscale(networks[native], low, scale, native)

    return EnlargingRestorer(enlarge, tuple(networks.values()), size, "ffhq", coarse=coarse)


def _beside(x: Tensor, network: nn.Module) -> Tensor:
    return x.to(next(network.parameters()).device)
