"""Noise-aware classifiers that guide any prior of pictures, at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.denoiser import Cond, Prediction
from ...samplers.guidance.classifier import ClassifierGuidance
from ...samplers.schedule import DiscreteSchedule, Level
from ...samplers.tiled import Tiled
from ..nets.adm_classifier import ADMClassifier
from ..nets.adm_encoder import check_labels


@dataclass(frozen=True)
class NoiseClassifier:
    """A classifier and the chain it was trained on. It judges pictures in -1..1 at any level of any prior."""

    network: ADMClassifier
    schedule: DiscreteSchedule

    @property
    def classes(self) -> int:
        return self.network.config.out_channels

    @property
    def side(self) -> int | None:
        """The one size it takes; None where it takes any."""
        config = self.network.config
        return config.image_size if config.pool == "attention" else None

    def log_prob(self, x: Tensor, level: Level, labels: Tensor) -> Tensor:
        """log p(label | x_t) of each sample, (B,); x_t is brought to the step of the chain that is as
        noisy.
        """
        t = self.schedule.table[self.schedule.nearest(level.sigma / level.alpha)].t
        scaled = x.float() / math.hypot(level.alpha, level.sigma)
        return self.network.log_prob(
            scaled, torch.full((len(x),), t, device=x.device, dtype=torch.float32), labels
        )


def class_label(label: int, classes: int) -> Tensor:
    """One label, (1,). Raises ValueError where it is missing (below 0) or not one of the classes."""
    if label < 0:
        raise ValueError(f"a class label is needed here: give one of 0..{classes - 1}")
    labels = torch.tensor([label], device="cpu")
    check_labels(labels, classes, 1)
    return labels


class LabelGuidance(ClassifierGuidance):
    """Guidance towards a label, one for all samples or one each.

    Raises ValueError for labels that the classifier does not know.

    A classifier tied to one size sees larger pictures in overlapping tiles, `batch` at a time, whose
    gradients are blended.
    """

    def __init__(
        self,
        classifier: NoiseClassifier,
        labels: Tensor,
        scale: float = 1.0,
        form: str = "score",
        batch: int = 1,
    ):
        super().__init__(self._log_prob, scale, form)
        check_labels(labels, classifier.classes, len(labels))
        self.classifier, self.labels = classifier, labels
        side = classifier.side
        self._whole = Tiled(self._part, side, side // 4, batch) if side else self._part

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        self.check(x)
        self._of_samples = self.labels.expand(len(x)).to(x.device)

    def check(self, x: Tensor) -> None:
        """Raises ValueError unless the classifier can judge such samples."""
        channels, side = self.classifier.network.config.in_channels, self.classifier.side
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(
                f"the classifier judges pictures of {channels} channels, not {tuple(x.shape)}: guide a "
                "prior of such pictures"
            )
        if side and min(x.shape[-2:]) < side:
            size = "{} x {}".format(*x.shape[-2:])
            raise ValueError(
                f"the classifier is tied to {side} x {side} pixels, not {size}: sample larger pictures, or "
                "choose another one"
            )
        if len(self.labels) not in (1, len(x)):
            raise ValueError(f"{len(x)} samples need one label or as many, not {len(self.labels)}")

    def gradient(self, x: Tensor, level: Level) -> Tensor:
        return self._whole(x, level).x0

    def _part(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        gradient = super().gradient(x, level)
        return Prediction(gradient, gradient[:, :0])  # tiles blend one tensor only

    def _log_prob(self, x: Tensor, level: Level) -> Tensor:
        return self.classifier.log_prob(
            x, level, self._of_samples.repeat(len(x) // len(self._of_samples))
        )  # tile after tile of all samples
