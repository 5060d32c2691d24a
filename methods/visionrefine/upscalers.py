"""VisionRefine's methods on whole pictures: SRCNN and the guided upsampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import weights
from ..device import device_of
from ..imaging.canvas import TileSettings
from ..inputs import FaceUse, Scales, WeightInput
from ..memory import gradient_bytes
from ..method import NONE, Given, Method, Plan, Report, Upscaler
from ..nets.adm_classifier import ADMClassifier
from ..nets.srcnn import SRCNN
from ..priors.adm import ADMPrior
from ..priors.load import PriorSettings, load_classifier, load_prior
from ..priors.typicality import size_warning
from ..priors.upscaler import PriorUpscaler
from ..settings import Settings, option
from ..timing import Call
from .guided import NATIVE, GuidedSettings, check_guided, guided_upscale, steps_of
from .srcnn import SCALES, SRCNNSettings, load_srcnn, native_scale, srcnn_upscale

SHIPPED = "shipped"
MAPS = 2 * 96  # of a tile: both feature maps, and as much again for the convolutions' workspace
LARGE, LEAST = 2048, 64  # pixels of tiles that memory allows: where to begin, and where to end
RIM = 16  # pixels that a tile sees beyond itself


class SRCNNUpscaler(Upscaler):
    """SRCNN by the network of the nearest trained scale."""

    def __init__(self, settings: SRCNNSettings, name: str = SHIPPED):
        own = None if name == SHIPPED else name
        self.settings = settings
        self.tile = settings.tile
        self.name = own
        self.by_scale: dict[int, SRCNN] = {} if own else {scale: load_srcnn(scale)[0] for scale in SCALES}
        if own:
            network, native = load_own_srcnn(own)
            self.by_scale = {native: network} if native else dict.fromkeys(SCALES, network)
        self.networks = tuple(dict.fromkeys(self.by_scale.values()))

    def native(self, scale: float) -> int:
        """The trained scale that serves a scale. Raises ValueError where the file's own is another."""
        native = native_scale(scale)
        if native not in self.by_scale:
            raise ValueError(
                f"{self.name} was trained for scale {next(iter(self.by_scale))}, a scale of {scale:g} "
                f"needs x{native} "
                "weights: choose those"
            )
        return native

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        native = self.native(scale)
        full = [n * native for n in size]
        tile = self.tile or max(full)
        calls = math.prod(-(-n // tile) for n in full)
        return Plan(self.result_size(size, scale), calls, 4 * MAPS * (min(tile, max(full)) + RIM) ** 2)

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        network, native = self.by_scale[self.native(scale)], self.native(scale)
        sides = [min(self.tile or n * native, n * native) + RIM for n in size]
        shape = (1, network.conv1.in_channels, *sides)

        def run(own: SRCNN) -> Tensor:
            return own(torch.zeros(shape, dtype=torch.float32, device=device_of(own)))

        return Call((network,), run, (shape, self.settings.channels, self.settings.half))

    def shrink(self) -> str:
        tile = (self.settings.tile or LARGE) // 2
        if tile < LEAST:
            return ""
        self.settings = replace(self.settings, tile=tile)
        return f"tiles of {tile} pixels"

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        native = self.native(scale)
        network = self.by_scale[native]
        settings = replace(self.settings, tile=self.tile)
        return srcnn_upscale(network, low, scale, native, settings, lambda done, total: step(total=total))


def load_own_srcnn(name: str) -> tuple[SRCNN, int | None]:
    """A network by its file, and the scale that it was trained for, None where nothing tells."""
    found = weights.load(weights.locate(name), "srcnn")
    return found.network, found.scale


def _load_srcnn(files: Mapping[str, str], given: Given) -> SRCNNUpscaler:
    return SRCNNUpscaler(given.make(SRCNNSettings), files["weights"])


SRCNN_METHOD = Method(
    "srcnn",
    "PriorSRUpscaleSRCNN",
    "SRCNN Upscale",
    "Enlarge images with SRCNN 9-5-5: sharper than bicubic, faithful, invents nothing. Weights for x2, x3, "
    "x4 come along.",
    settings=(SRCNNSettings,),
    load=_load_srcnn,
    weights=(
        WeightInput(
            "weights",
            "the weights shipped for the scale, or a file",
            SHIPPED,
            words=(SHIPPED,),
            kinds=("srcnn",),
        ),
    ),
    scales=Scales(default=2.0),
    faces=FaceUse(),
)


@dataclass(frozen=True)
class ClassSettings(Settings):
    """What the pictures show."""

    primary = True
    label: int = option(
        -1, "What the images show, 0 to 999 of ImageNet. It has to be given", low=-1, high=100_000
    )


class GuidedUpscaler(PriorUpscaler[ADMPrior]):
    """An ADM upsampler, pushed by a classifier where there is one."""

    def __init__(
        self,
        prior: ADMPrior,
        classifier: ADMClassifier | None,
        label: int,
        settings: GuidedSettings,
        canvas: TileSettings,
    ):
        check_guided(prior, classifier, label)
        super().__init__(prior, canvas, tuple(filter(None, [classifier])))
        self.classifier = classifier
        self.label = label
        self.settings = settings

    def calls(self, scale: float) -> int:
        return steps_of(self.prior, self.settings)

    def room(self, scale: float) -> int:
        # the feature maps that the upsampler hands across, and all of the classifier's, for its gradient
        tiles = self.canvas.tiles(self.prior)
        maps = tiles.batch * tiles.size**2 * 4 * 16 * self.prior.network.config.model_channels
        if self.classifier is None:
            return maps
        side = self.classifier.config.image_size
        return maps + gradient_bytes(self.classifier, (tiles.batch, 3, side, side))

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        warnings = tuple(filter(None, [size_warning(self.prior, size, NATIVE)]))  # whatever follows it
        room, pieces = self.room(scale), self.pieces(size, NATIVE)
        return Plan(self.result_size(size, scale), self.calls(scale), room, warnings, pieces)

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        return None  # the upsampler sees the picture by a part of its own: runs tell

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        def made(which: slice, step: Callable) -> Tensor:
            return guided_upscale(
                self.prior,
                self.classifier,
                low[which],
                self.label,
                scale,
                self.settings,
                self.canvas,
                seeds[which],
                step,
            )

        return self.one_by_one(scale, step, len(low), made) if self.classifier else made(slice(None), step)


def _load_guided(files: Mapping[str, str], given: Given) -> GuidedUpscaler:
    prior = load_prior(files["prior"], given.make(PriorSettings))
    if not isinstance(prior, ADMPrior):
        raise ValueError(f"{files['prior']} is no ADM upsampler: choose one such as 64_256_upsampler.pt")
    classifier = None if files["classifier"] == NONE else load_classifier(files["classifier"])
    label = given.make(ClassSettings).label
    return GuidedUpscaler(prior, classifier, label, given.make(GuidedSettings), given.make(TileSettings))


GUIDED_METHOD = Method(
    "guided",
    "PriorSRUpscaleGuided",
    "Guided Upsampler",
    "Enlarge images of a known class with a diffusion upsampler and a classifier that pushes it "
    "(VisionRefine, Algorithms 1-2).",
    settings=(ClassSettings, GuidedSettings, PriorSettings, TileSettings),
    load=_load_guided,
    weights=(
        WeightInput("prior", "an ADM upsampler such as 64_256_upsampler.pt", kinds=("adm",)),
        WeightInput(
            "classifier",
            "a noise-aware classifier such as 256x256_classifier.pt; none lets the upsampler run alone",
            NONE,
            words=(NONE,),
            kinds=("adm-classifier",),
        ),
    ),
    scales=Scales(default=float(NATIVE)),
)
