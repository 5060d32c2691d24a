"""Classifier-guided diffusion super-resolution (VisionRefine, Algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.denoiser import Cond
from ...samplers.guidance.classifier import ClassifierGuidance, LogProb
from ...samplers.hooks import ClipX0
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, run
from ...samplers.transition import DDIM, DDPM
from ..nets.adm_classifier import ADMClassifier
from ..priors.adm import ADMPrior
from ..settings import Settings, option


@dataclass(frozen=True)
class GuidedSettings(Settings):
    """How the upsampler is run; respacing is a step count, sections such as 10,10, or ddim25."""

    sampler: str = option("ddpm", "ddpm is Algorithm 1, ddim Algorithm 2", choices=("ddpm", "ddim"))
    respacing: str = option("250", "Which of the trained steps are taken: 250, 10,10 or ddim25")
    eta: float = option(0.0, "Randomness of ddim, 0 none", low=0, high=1)
    classifier_scale: float = option(4.0, "How hard the classifier pushes towards the label", low=0, high=1000)


def class_log_prob(classifier: ADMClassifier, labels: Tensor) -> LogProb:
    """log p(y | x_t) of a noise-aware classifier for one label (B,) a sample, at the network's original timestep."""
    return lambda x, level: classifier.log_prob(x.float(), torch.full((len(x),), level.t, device=x.device), labels.to(x.device))


def guided_upsample(
    prior: ADMPrior,
    classifier: ADMClassifier | None,
    low: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    settings: GuidedSettings = GuidedSettings(),
    noise: Draw | None = None,
    hooks: tuple[Hook, ...] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """B C H W in -1..1 from `low` B C h w in -1..1: the upsampler conditioned on it and on the class, pushed by the classifier.

    labels: (B,) integers. Without a classifier the upsampler runs alone. `size` is what the upsampler was trained for;
    `hooks` run after the guidance.
    """
    if len(labels) != len(low):
        raise ValueError(f"{len(low)} images need as many labels, not {len(labels)}")
    noise = noise or Noise([0] * len(low))
    random = settings.sampler == "ddpm"
    guidance: list[Hook] = [ClipX0()]
    if classifier is not None:
        form = "mean" if random else "score"
        guidance.append(ClassifierGuidance(class_log_prob(classifier, labels), settings.classifier_scale, form))
    schedule = prior.schedule.respace(settings.respacing)
    start = noise((len(low), low.shape[1], *size)).to(low)
    cond = Cond(spatial={"low_res": low}, flat={"label": labels.to(low.device)})
    return run(prior, start, schedule.levels(), DDPM() if random else DDIM(settings.eta), [*guidance, *hooks], noise, cond, on_step)
