"""SRDG on whole pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..batches import of_picture
from ..imaging.canvas import TileSettings, resized_from
from ..inputs import FaceUse, Scales, WeightInput
from ..memory import gradient_bytes
from ..method import Given, Method, Plan, Report
from ..priors.load import frame_of
from ..priors.ncsnpp import NCSNppPrior
from ..priors.upscaler import PriorUpscaler
from ..settings import Settings, option
from ..timing import Call
from .attributes import (
    AttributeClassifier,
    AttributeTarget,
    attribute_targets,
    load_attribute,
    parse_weights,
    parse_wishes,
    read_attributes,
    shipped_attributes,
)
from .classifier_crop import VIEWS, WHOLE
from .method import (
    AUTO,
    PRESETS,
    SRDGSettings,
    levels_of,
    load_sr_prior,
    network_name,
    preset,
    scales_of,
    shipped_networks,
    srdg_upscale,
    start_of,
)


@dataclass(frozen=True)
class AttributeSettings(Settings):
    """What the faces shall have."""

    primary = True
    attributes: str = option(
        "", "What the faces shall have, by name or number of the class: happy=1 or gender=male, glasses=0"
    )
    attribute_weights: str = option("", "How much each attribute weighs, where not 1: gender=2, beard=0.5")


class SRDGUpscaler(PriorUpscaler[NCSNppPrior]):
    """A score network that sees the small picture, pulled towards attributes."""

    pictures = 2

    def __init__(
        self,
        prior: NCSNppPrior,
        settings: SRDGSettings,
        canvas: TileSettings,
        classifiers: Sequence[AttributeClassifier] = (),
        wanted: Sequence[AttributeTarget] = (),
        scales: Sequence[float] = (),
        frame: str = "ffhq",
    ):
        networks: tuple[nn.Module, ...] = tuple(c.network for c in classifiers)
        super().__init__(prior, canvas, networks, frame)
        self.settings = settings
        self.classifiers = classifiers
        self.wanted = wanted
        self.scales = tuple(map(float, scales))

    def native(self, scale: float) -> float:
        """The scale that the network is run at: one that it is trained for, or any where that is not
        known.
        """
        return min(self.scales, key=lambda s: max(s, scale) / min(s, scale), default=scale)

    def calls(self, scale: float) -> int:
        return len(levels_of(self.prior, self.settings)) - 1

    def room(self, scale: float) -> int:
        sides = [(w.classifier.network, w.classifier.network.config.image_size) for w in self.wanted]
        pulled = sum(gradient_bytes(n, (self.call_shape(scale)[0], 3, side, side)) for n, side in sides)
        return super().room(scale) + pulled

    def scale_warnings(self, scale: float) -> tuple[str, ...]:
        native = self.native(scale)
        if native == scale:
            return ()
        trained = ", ".join(f"{s:g}" for s in self.scales)
        return (
            f"this network is trained for x{trained}, not for x{scale:g}: the picture is enlarged "
            f"x{native:g} and resized",
        )

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        native = super().plan(size, self.native(scale))
        warnings = (*self.scale_warnings(scale), *native.warnings)
        return replace(native, size=self.result_size(size, scale), warnings=warnings)

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        call = super().one_call(size, self.native(scale))
        # attributes bring a gradient through their classifiers
        return call and replace(call, key=(*call.key, len(self.wanted)))

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        native = self.native(scale)

        def made(which: slice, step: Callable) -> Tensor:
            wanted = [w.of(which, len(low)) for w in self.wanted]
            return srdg_upscale(
                self.prior, low[which], native, wanted, self.settings, self.canvas, seeds[which], step
            )

        apart = self.wanted and not self.settings.joint
        result = self.one_by_one(native, step, len(low), made) if apart else made(slice(None), step)
        for text in describe(self.wanted):
            report(text)
        seen = VIEWS[self.settings.view] or WHOLE  # which is the same where the size is exact
        readings = read_attributes(self.classifiers, result, view=seen)
        for i in range(len(low)):
            for reading in readings:
                report(of_picture(i, reading.describe(i)))
        return resized_from(result, low, scale, native)


def describe(wanted: Sequence[AttributeTarget]) -> list[str]:
    """What the labels mean, a line each."""
    if not wanted:
        return ["no attribute is asked for"]
    return [
        f"{w.classifier.attribute}: {w.classifier.classes[w.labels[0]]} (of {w.classifier.meaning}), "
        f"weight {w.weight:g}"
        for w in wanted
    ]


def _load(files: Mapping[str, str], given: Given) -> SRDGUpscaler:
    name = network_name(files["prior"])
    start = start_of(name) if given.preset == AUTO else 0.0
    settings = preset(given.preset, name, start, **given.of(SRDGSettings))
    asked = given.make(AttributeSettings)
    wanted = parse_wishes(asked.attributes)
    named = files["classifier"]
    if named == "":  # none are named, which is not the same as an empty list of them
        named = shipped_attributes() if wanted else ()
    classifiers = [c if isinstance(c, AttributeClassifier) else load_attribute(c) for c in named]
    targets = attribute_targets(classifiers, wanted, parse_weights(asked.attribute_weights))
    prior = load_sr_prior(name)
    canvas = given.make(TileSettings)
    return SRDGUpscaler(prior, settings, canvas, classifiers, targets, scales_of(name), frame_of(name))


METHOD = Method(
    "srdg",
    "PriorSRUpscaleSRDG",
    "SRDG Super-Resolution",
    "Enlarge tiny faces by a score network that sees them, pulled towards attributes that you name (dos "
    "Santos et al. 2024).",
    settings=(AttributeSettings, SRDGSettings, TileSettings),
    load=_load,
    weights=(
        WeightInput(
            "prior",
            "an NCSN++ super-resolution network",
            "srdg128",
            shipped=shipped_networks,
            kinds=("ncsnpp",),
        ),
        WeightInput(
            "classifier",
            "what tells the attributes, one file each",
            shipped=shipped_attributes,
            many=True,
            kinds=("attribute",),
        ),
    ),
    presets=tuple(PRESETS),
    scales=Scales(default=8.0),
    faces=FaceUse(),
)
