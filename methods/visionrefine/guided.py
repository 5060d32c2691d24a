"""Classifier-guided diffusion super-resolution (VisionRefine, Algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...samplers.denoiser import Cond
from ...samplers.guidance.classifier import ClassifierGuidance, LogProb
from ...samplers.hooks import ClipX0
from ...samplers.noise import Noise
from ...samplers.run import Draw, Step, run
from ...samplers.schedule import Level
from ...samplers.transition import DDIM, DDPM
from ..priors.adm import ADMPrior
from ..settings import Settings, option


@dataclass(frozen=True)
class GuidedSettings(Settings):
    """How the upsampler is run; respacing is a step count, sections such as 10,10, or ddim25."""

    sampler: str = option("ddpm", "ddpm is Algorithm 1, ddim Algorithm 2", choices=("ddpm", "ddim"))
    respacing: str = option("250", "Which of the trained steps are taken: 250, 10,10 or ddim25")
    eta: float = option(0.0, "Randomness of ddim, 0 none", low=0, high=1)
    classifier_scale: float = option(4.0, "How hard the classifier pushes towards the label", low=0, high=1000)


def class_log_prob(classifier: nn.Module, labels: Tensor) -> LogProb:
    """log p(y | x_t) of a noise-aware classifier for one label (B,) a sample. Raises ValueError for a label it does not know."""

    def log_prob(x: Tensor, level: Level) -> Tensor:
        logits = classifier(x.float(), torch.full((len(x),), level.t, device=x.device))
        if not bool(((labels >= 0) & (labels < logits.shape[1])).all()):
            raise ValueError(f"labels {labels.tolist()} are outside the classifier's 0 .. {logits.shape[1] - 1}")
        return logits.float().log_softmax(1).gather(1, labels.to(x.device).view(-1, 1))[:, 0]

    return log_prob


def guided_upsample(
    prior: ADMPrior,
    classifier: nn.Module | None,
    low: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    settings: GuidedSettings = GuidedSettings(),
    noise: Draw | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """B C H W in -1..1 from `low` B C h w in -1..1: the upsampler conditioned on it and on the class, pushed by the classifier.

    labels: (B,) integers. Without a classifier the upsampler runs alone. `size` is what the upsampler was trained for.
    """
    if len(labels) != len(low):
        raise ValueError(f"{len(low)} images need as many labels, not {len(labels)}")
    noise = noise or Noise([0] * len(low))
    random = settings.sampler == "ddpm"
    hooks = [ClipX0()]
    if classifier is not None:
        form = "mean" if random else "score"
        hooks.append(ClassifierGuidance(class_log_prob(classifier, labels), settings.classifier_scale, form))
    schedule = prior.schedule.respace(settings.respacing)
    start = noise((len(low), low.shape[1], *size)).to(low)
    cond = Cond(spatial={"low_res": low}, flat={"label": labels.to(low.device)})
    return run(prior, start, schedule.levels(), DDPM() if random else DDIM(settings.eta), hooks, noise, cond, on_step)
