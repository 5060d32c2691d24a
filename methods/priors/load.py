"""A prior or a classifier from a weight file, ready for the core."""

from __future__ import annotations

from dataclasses import dataclass

from ...samplers.schedule import BETAS, DiscreteSchedule
from .. import weights
from ..nets.adm_classifier import ADMClassifier
from ..settings import Settings, option
from .adm import TARGETS, ADMPrior
from .edm import EDMPrior


@dataclass(frozen=True)
class PriorSettings(Settings):
    """What an ADM file does not say of itself; EDM files need none of it."""

    schedule: str = option("auto", "Noise schedule it was trained with; auto: cosine for 64-pixel networks, else linear", choices=("auto", *BETAS))
    train_steps: int = option(1000, "Steps of that schedule", low=1, high=100_000)
    target: str = option("eps", "What the network predicts", choices=tuple(TARGETS))


def load_prior(name: str, settings: PriorSettings = PriorSettings()) -> ADMPrior | EDMPrior:
    """The prior in a weight file (a path, or a name in a model folder). Raises ValueError when the file holds something else."""
    found = weights.load(weights.locate(name))
    if found.kind == "edm":
        return EDMPrior(found.network)
    if found.kind != "adm":
        raise ValueError(f"{found.path} holds {found.kind} weights, not a diffusion prior: choose an ADM or EDM file")
    config = found.network.config
    automatic = "cosine" if config.image_size == 64 and not config.superres else "linear"
    schedule = automatic if settings.schedule == "auto" else settings.schedule
    return ADMPrior(found.network, DiscreteSchedule.named(schedule, settings.train_steps), settings.target)


def load_classifier(name: str) -> ADMClassifier:
    """The noise-aware classifier in a weight file."""
    return weights.load(weights.locate(name), "adm-classifier").network
