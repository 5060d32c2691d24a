"""Classifier-guided diffusion super-resolution (VisionRefine, Algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...samplers.denoiser import Cond, Denoiser
from ...samplers.guidance.classifier import LogProb
from ...samplers.hooks import ClipX0
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, run
from ...samplers.transition import DDIM, DDPM
from ..imaging.canvas import TileSettings, check_enlargement, enlarge, noise_for, padded, resized_from
from ..nets.adm_classifier import ADMClassifier
from ..nets.adm_encoder import check_labels
from ..priors.adm import ADMPrior
from ..priors.classifier import LabelGuidance, NoiseClassifier, class_label
from ..settings import Settings, option

NATIVE = 4  # how much the released upsamplers enlarge


@dataclass(frozen=True)
class GuidedSettings(Settings):
    """How the upsampler is run; respacing is a step count, sections such as 10,10, or ddim25."""

    sampler: str = option("ddpm", "ddpm is Algorithm 1, ddim Algorithm 2", choices=("ddpm", "ddim"))
    respacing: str = option("250", "Which of the trained steps are taken: 250, 10,10 or ddim25")
    eta: float = option(0.0, "Randomness of ddim, 0 none", low=0, high=1)
    classifier_scale: float = option(
        4.0, "How hard the classifier pushes towards the label", low=0, high=1000
    )


def class_log_prob(classifier: ADMClassifier, labels: Tensor) -> LogProb:
    """log p(y | x_t) of a noise-aware classifier for one label (B,) a sample, at the network's original
    timestep.
    """
    return lambda x, level: classifier.log_prob(
        x.float(), torch.full((len(x),), level.t, device=x.device, dtype=torch.float32), labels.to(x.device)
    )


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
    denoiser: Denoiser | None = None,
    tile_batch: int = 1,
) -> Tensor:
    """B C H W in -1..1 from `low` B C h w in -1..1: the upsampler conditioned on it and on the class, pushed
    by the classifier.

    labels: (B,) integers. Without a classifier the upsampler runs alone. `size`: what the upsampler was
    trained for, or any that it takes; a classifier tied to a smaller one sees tiles, `tile_batch` a call.
    `hooks` run after the guidance; denoiser runs in the prior's place, for example tiles around it. Raises
    ValueError, for labels that a network does not know before the first step.
    """
    if len(labels) != len(low):
        raise ValueError(f"{len(low)} images need as many labels, not {len(labels)}")
    noise = noise or Noise([0] * len(low))
    random = settings.sampler == "ddpm"
    guidance: list[Hook] = [ClipX0()]
    if classifier is not None:
        judge = NoiseClassifier(classifier, prior.schedule)
        guidance.append(
            LabelGuidance(judge, labels, settings.classifier_scale, "mean" if random else "score", tile_batch)
        )
    flat = {}
    if prior.network.config.num_classes is not None:
        check_labels(labels, prior.network.config.num_classes, len(low))
        flat = {"label": labels.to(low.device)}
    schedule = prior.schedule.respace(settings.respacing)
    start = noise((len(low), low.shape[1], *size)).to(low)
    transition = DDPM() if random else DDIM(settings.eta)
    return run(
        denoiser or prior,
        start,
        schedule.levels(),
        transition,
        [*guidance, *hooks],
        noise,
        Cond({"low_res": low}, flat),
        on_step,
    )


def guided_upscale(
    prior: ADMPrior,
    classifier: ADMClassifier | None,
    low: Tensor,
    label: int = -1,
    scale: float = NATIVE,
    settings: GuidedSettings = GuidedSettings(),
    canvas: TileSettings = TileSettings(),
    seeds: Sequence[int] | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) of any size. label: of all images, needed unless nothing is
    class-conditional.

    The upsampler quadruples; another scale follows by a bicubic resize. seeds: one an image, 0 for all by
    default. Raises ValueError.
    """
    check_enlargement(low, scale)
    check_guided(prior, classifier, label)
    labels = torch.full((len(low),), label, device="cpu")
    noise = noise_for(low, seeds)
    tiles = canvas.tiles(prior)
    least = (classifier and NoiseClassifier(classifier, prior.schedule).side) or 0

    def restore(shown: Tensor, size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
        # enlarged here as the network would, so that tiles are cut from one picture and none has an edge of
        # its own
        seen = F.interpolate(shown * 2 - 1, size, mode="bilinear", align_corners=False)
        height, width = (-(-max(n, least) // prior.multiple) * prior.multiple for n in size)
        sides = height, width
        seen = padded(seen, sides)
        result = guided_upsample(
            prior, classifier, seen, labels, sides, settings, noise, (), on_step, tiles, canvas.tile_batch
        )
        return (result + 1) / 2

    result = enlarge(low, NATIVE, prior.channels, prior.multiple, restore)
    return resized_from(result, low, scale, NATIVE)


def check_guided(prior: object, classifier: ADMClassifier | None, label: int) -> None:
    """Raises ValueError unless the prior is an ADM upsampler and both networks know the label, where they
    need one.
    """
    if not isinstance(prior, ADMPrior) or not prior.network.config.superres:
        raise ValueError(
            "this prior does not look at a low-resolution image: choose an ADM upsampler such as "
            "64_256_upsampler.pt"
        )
    for classes in (prior.network.config.num_classes, classifier and classifier.config.out_channels):
        if classes is not None:
            class_label(label, classes)


def steps_of(prior: ADMPrior, settings: GuidedSettings) -> int:
    """How many steps a run takes."""
    return len(prior.schedule.respace(settings.respacing).table)
