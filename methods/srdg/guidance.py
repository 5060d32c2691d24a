"""Guidance by attribute classifiers as a hook of any run, on any prior of pictures (SRDG, Eq. 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from ...samplers.guidance.classifier import ClassifierGuidance, LogProb, weighted
from ...samplers.schedule import ExplodingSchedule, Level
from ..nets.densenet import DenseNet
from .attributes import AttributeTarget
from .classifier_crop import ClassifierCrop

STRONGEST = 10_000.0  # twenty times what was published


class AttributeGuidance(ClassifierGuidance):
    """score + h * the sum of weight * grad log p(label | x_t) over the wishes.

    form: `score` for any sampler, `mean` for the mean of random steps. limit: the largest ratio of the push,
    of all wishes together, to the score that it is added to, which is the prior's own and what hooks before
    this one made of it; 0 none. window: the times 0..1 of the classifiers' schedule (1 is pure noise) outside
    which none is asked. span: the values of black and white in the state. view: the part of the picture that
    they see; without one it must have their size. Raises ValueError.
    """

    def __init__(
        self,
        wanted: Sequence[AttributeTarget],
        h: float = 500.0,
        form: str = "score",
        limit: float = 0.0,
        window: tuple[float, float] = (0.0, 1.0),
        span: tuple[float, float] = (-1.0, 1.0),
        view: ClassifierCrop | None = None,
        schedule: ExplodingSchedule = ExplodingSchedule(),
    ):
        if check_strength(h) == 0:
            raise ValueError(
                "an h of 0 asks no classifier: leave the guidance out, or give the published 50 or 500"
            )
        if not 0 <= window[0] < window[1] <= 1:
            raise ValueError(
                f"times from {window[0]} to {window[1]} are no window within 0 .. 1: give two ascending times"
            )
        self.wanted, self.span, self.view, self.schedule = agreeing(wanted), span, view, schedule
        width = span[1] - span[0]
        lowest = width * schedule.sigma(window[0]) if window[0] > 0 else 0.0
        highest = width * schedule.sigma(window[1]) if window[1] < 1 else math.inf
        total = weighted([(self.log_prob_of(wish), wish.weight) for wish in self.wanted])
        super().__init__(total, h, form, limit or None, (lowest, highest))

    def log_prob_of(self, wish: AttributeTarget) -> LogProb:
        """log p of one wish at a state of the prior, (B,)."""
        network = cast(DenseNet, wish.classifier.network)  # judges, which know of no noise, guide nothing
        side = network.config.image_size

        def log_prob(x: Tensor, level: Level) -> Tensor:
            width = self.span[1] - self.span[0]
            scale, shift = 1 / (level.alpha * width), self.span[0] / width
            scaled = (
                x.float() if (scale, shift) == (1, 0) else x.float() * scale - shift
            )  # in the published units nothing is to do
            seen, sigma = wish.classifier.shown(scaled, level.sigma / level.alpha / width)
            if self.view is not None:
                seen, sigma = self.view(seen, sigma, side)
            sigma = min(
                max(sigma, self.schedule.smallest), self.schedule.largest
            )  # what they were trained for
            labels = _labels(wish.labels, x.device).expand(len(x))
            return network.log_prob(
                seen, torch.full((len(x),), sigma, device=x.device, dtype=torch.float32), labels
            )

        return log_prob

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        """Raises ValueError unless the classifiers can judge such samples."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(
                f"attribute classifiers judge pictures of 1 or 3 channels, not {tuple(x.shape)}: guide a "
                "prior of pictures"
            )
        for wish in self.wanted:
            side, attribute = wish.classifier.network.config.image_size, wish.classifier.attribute
            if self.view is not None:
                self.view(x[:1], 1.0, side)
            elif x.shape[-2:] != (side, side):
                size = "{} x {}".format(*x.shape[-2:])
                raise ValueError(
                    f"the {attribute} classifier takes {side} x {side} pixels, not {size}: sample that "
                    "size, or give it a view"
                )
            wish.of(slice(None), len(x))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept from a node must serve gradients later
def _labels(labels: tuple[int, ...], device: torch.device) -> Tensor:
    """On the device once, not in every step."""
    return torch.tensor(labels, device=device)


def check_strength(h: float) -> float:
    """h. Raises ValueError for one that no run can use."""
    if not 0 <= h <= STRONGEST:
        raise ValueError(
            f"h {h} is outside 0 .. {STRONGEST:g}: published are 50 and 500, and far above these the push "
            "drowns the prior; "
            "to pull the other way wish for the other label"
        )
    return h


def agreeing(wanted: Sequence[AttributeTarget]) -> tuple[AttributeTarget, ...]:
    """The wishes. Raises ValueError when two of them want different labels of one attribute."""
    labels: dict[str, tuple[int, ...]] = {}
    for wish in wanted:
        classifier = wish.classifier
        if (other := labels.setdefault(classifier.attribute, wish.labels)) != wish.labels:
            names = " and ".join(
                "/".join(classifier.classes[i] for i in some) for some in (other, wish.labels)
            )
            raise ValueError(f"{classifier.attribute} cannot be {names} at once: give one label an attribute")
    return tuple(wanted)
