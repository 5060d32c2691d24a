"""Classifiers, correctors and the guidance made of them, whose place in memory the host manages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import comfy.model_management as mm
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ...methods.dpi.conditions import Conditions
from ...methods.dpi.corrector import Corrector
from ...methods.dpi.method import DPISettings
from ...methods.memory import gradient_bytes
from ...methods.priors.classifier import LabelGuidance, NoiseClassifier, class_label
from ...methods.srdg.attributes import AttributeClassifier, AttributeTarget
from ...methods.srdg.classifier_crop import VIEWS
from ...methods.srdg.guidance import AttributeGuidance
from ...methods.srdg.method import SRDGSettings
from ...samplers.schedule import Level
from .runtime import loaded

BACKWARD = 14  # how much more memory a guided step needs than a plain one (ADM-FFHQ at 256 pixels)


@dataclass(frozen=True)
class ManagedClassifier:
    """A classifier whose place in memory the host manages."""

    classifier: NoiseClassifier | AttributeClassifier
    patcher: comfy.model_patcher.ModelPatcher


@torch.inference_mode(False)
def as_classifier(classifier: NoiseClassifier | AttributeClassifier) -> ManagedClassifier:
    patcher = comfy.model_patcher.ModelPatcher(
        classifier.network, mm.get_torch_device(), mm.unet_offload_device()
    )
    return ManagedClassifier(classifier, patcher)


@contextmanager
def classifiers_ready(managed: Sequence[ManagedClassifier], room: int) -> Iterator[torch.device]:
    """Classifiers on the compute device, fit for gradients, while a block runs that needs `room` bytes for
    itself.
    """
    with loaded([m.patcher for m in managed], room) if managed else nullcontext():
        for m in managed:
            grad_ready(m.patcher.model)
        yield mm.get_torch_device()


class ManagedLabelGuidance(LabelGuidance):
    """Guidance by a managed classifier; as_sampler loads `models` for the run, with room for `memory`."""

    def __init__(self, managed: ManagedClassifier, label: int, scale: float, form: str):
        super().__init__(managed.classifier, class_label(label, managed.classifier.classes), scale, form)
        self.models = (managed.patcher,)

    def memory(self, x: Tensor) -> int:
        self.check(x)
        sides = (self.classifier.side,) * 2 if self.classifier.side else x.shape[-2:]
        return gradient_bytes(self.classifier.network, (len(x), x.shape[1], *sides))


@dataclass(frozen=True)
class ManagedCorrector:
    """DPI's corrector, whose place in memory the host manages."""

    corrector: Corrector
    patcher: comfy.model_patcher.ModelPatcher


@torch.inference_mode(False)
def as_corrector(corrector: Corrector) -> ManagedCorrector:
    patcher = comfy.model_patcher.ModelPatcher(
        corrector.network, mm.get_torch_device(), mm.unet_offload_device()
    )
    return ManagedCorrector(corrector, patcher)


def correction_bytes(corrector: Corrector, shape: Sequence[int]) -> int:
    """What a call of a corrector needs beside its weights."""
    return gradient_bytes(corrector.network, shape, pictures=2) // BACKWARD


class ManagedConditions(Conditions):
    """DPI's conditions for a run whose sides are k times those of `low`, with a managed corrector, which sees
    larger pictures in tiles.
    """

    __repr__ = object.__repr__  # what a condition is made of comes with the run, and may be asked for before

    def __init__(self, low: Tensor, managed: ManagedCorrector | None, settings: DPISettings, seed: int):
        self.models = () if managed is None else (managed.patcher,)
        self.managed, self.tiles = managed, managed and managed.corrector.tiles()
        strength = (
            settings.tau,
            settings.s,
            settings.omega,
            settings.k,
            settings.refine,
            settings.weighted,
            settings.compound,
        )
        super().__init__(low, self.tiles, *strength, uniform=seed)

    def memory(self, x: Tensor) -> int:
        if self.managed is None:
            return 0
        sides = (min(n, self.tiles.size) for n in x.shape[-2:])
        return correction_bytes(self.managed.corrector, (*x.shape[:2], *sides))

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        height, width = (n * self.k for n in self.low.shape[-2:])
        if tuple(x.shape[-2:]) != (height, width):
            raise ValueError(
                f"the conditions are those of a latent of {width} x {height}, the latent is {x.shape[-1]} "
                f"x {x.shape[-2]}: "
                "make one of that size, or change the scale of Guide by DPI Conditions"
            )
        multiple = 1 if self.managed is None else self.managed.corrector.multiple
        if any(min(n, self.tiles.size) % multiple for n in (height, width) if self.tiles):
            raise ValueError(
                f"the corrector needs sides that are multiples of {multiple}, not {width} x {height}: pad "
                "the image, or leave it out"
            )
        super().begin(x, levels)


@torch.inference_mode(False)
def grad_ready(module: nn.Module) -> None:
    """Replace tensors made in inference mode, which autograd refuses; their values and devices stay."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is not None and value.is_inference():
                    copy = value.clone()
                    tensors[name] = (
                        nn.Parameter(copy, requires_grad=False) if isinstance(value, nn.Parameter) else copy
                    )


class ManagedAttributes(AttributeGuidance):
    """Guidance of any prior of pictures in -1..1; as_sampler loads `models` for the run, with room for
    `memory`.
    """

    def __init__(
        self,
        managed: Sequence[ManagedClassifier],
        wanted: Sequence[AttributeTarget],
        form: str,
        settings: SRDGSettings,
    ):
        window = (settings.last, settings.first)
        super().__init__(wanted, settings.h, form, settings.limit, window, view=VIEWS[settings.view])
        asked = [wish.classifier for wish in wanted]
        self.models = tuple(m.patcher for m in managed if any(m.classifier is c for c in asked))

    def memory(self, x: Tensor) -> int:
        self.begin(x, ())  # complains before anything is loaded
        return attribute_bytes([wish.classifier for wish in self.wanted], len(x))


def attribute_bytes(classifiers: Sequence[AttributeClassifier], count: int) -> int:
    """What the gradients of classifiers need beside their weights for so many pictures at once."""
    sides = [(c.network, c.network.config.image_size) for c in classifiers]
    return sum(gradient_bytes(network, (count, 3, side, side)) for network, side in sides)
