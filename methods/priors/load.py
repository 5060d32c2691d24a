"""A prior or a classifier from a weight file, ready for the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar, overload

import torch

from ...samplers.schedule import BETAS, DiscreteSchedule
from .. import weights
from ..nets.adm_classifier import ADMClassifier
from ..nets.adm_config import ADMConfig
from ..precision import loaded_in
from ..settings import Settings, option
from .adm import TARGETS, ADMPrior
from .calibration import Calibration
from .edm import EDMPrior
from .ncsnpp import NCSNppPrior
from .prior import PicturePrior, Prior

Predicts = TypeVar("Predicts", bound="PriorSettings")
FRAMES = ("ffhq", "tight")  # of faces: the whole head, or from chin to forehead
Chain = TypeVar("Chain", bound="ChainSettings")  # typing.Self is newer than the oldest supported Python


@dataclass(frozen=True)
class ChainSettings(Settings):
    """What an ADM file does not say of the noise it was trained with."""

    schedule: str = option(
        "auto",
        "Noise schedule it was trained with; auto: what the file says, else cosine at 64 pixels, "
        "linear elsewhere",
        choices=("auto", *BETAS),
    )
    train_steps: int = option(
        0, "Steps of that schedule; 0: what the file says, else 1000", low=0, high=100_000
    )

    def resolved(self: Chain, config: ADMConfig, said: Mapping[str, Any] = MappingProxyType({})) -> Chain:
        """The same with nothing left open, for a network whose file said `said`."""
        automatic = said.get("schedule") or (
            "cosine" if config.image_size == 64 and not config.superres else "linear"
        )
        steps = self.train_steps or said.get("train_steps", 1000)
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f"train_steps {str(steps)[:20]!r} is no number of steps")
        return replace(
            self, schedule=automatic if self.schedule == "auto" else self.schedule, train_steps=steps
        )

    def chain(self, config: ADMConfig) -> DiscreteSchedule:
        """The schedule of a network."""
        resolved = self.resolved(config)
        return DiscreteSchedule.named(resolved.schedule, resolved.train_steps)


@dataclass(frozen=True)
class PriorSettings(ChainSettings):
    """What an ADM prior's file does not say of itself; EDM files need none of it."""

    target: str = option(
        "auto", "What the network predicts; auto: what the file says, else eps", choices=("auto", *TARGETS)
    )

    def resolved(
        self: Predicts, config: ADMConfig, said: Mapping[str, Any] = MappingProxyType({})
    ) -> Predicts:
        resolved = super().resolved(config, said)
        return replace(resolved, target=said.get("target", "eps") if self.target == "auto" else self.target)


@overload
def load_prior(name: str, settings: PriorSettings = ...) -> Prior: ...


@overload
def load_prior(name: str, settings: PriorSettings = ..., *, conditional: bool) -> PicturePrior: ...


def load_prior(
    name: str, settings: PriorSettings = PriorSettings(), *, conditional: bool = False
) -> PicturePrior:
    """The prior in a weight file (a path, or a name in a model folder), of pictures in -1..1.

    conditional: NCSN++ networks too, which only restore a low-resolution picture. Raises ValueError when the
    file holds something else.
    """
    found = weights.load(weights.locate(name))
    if conditional and found.kind == "ncsnpp":
        return NCSNppPrior(found.network, (-1.0, 1.0))
    if found.kind not in PRIORS:
        raise ValueError(
            f"{found.path} holds {found.kind} weights, not a diffusion prior: choose an ADM or EDM file"
        )
    return PRIORS[found.kind](found, settings)


def _adm(found: weights.Weights, settings: PriorSettings) -> ADMPrior:
    config = found.network.config
    with weights.naming(found.path):
        resolved = settings.resolved(config, found.json("chain"))
    return ADMPrior(found.network, resolved.chain(config), resolved.target, _measured(found))


def _edm(found: weights.Weights, settings: PriorSettings) -> EDMPrior:
    return EDMPrior(found.network, _measured(found))


def add_prior(kind: weights.Kind, make: MakePrior) -> None:
    """One more kind of prior, which every method then takes from its files. Raises ValueError."""
    weights.add_kind(kind)
    PRIORS[kind.id] = make


MakePrior = Callable[[weights.Weights, PriorSettings], Prior]
PRIORS: dict[str, MakePrior] = {"adm": _adm, "edm": _edm}  # by the kind of weights


def _measured(found: weights.Weights) -> Calibration | None:
    """What was measured of a prior, as its file says.

    Raises ValueError naming the file where it says something else.
    """
    with weights.naming(found.path):
        return Calibration.from_json(found.metadata["measured"]) if found.json("measured") else None


def load_classifier(name: str) -> ADMClassifier:
    """The noise-aware classifier in a weight file."""
    with loaded_in(torch.float32):  # gradients of log probabilities are too small for half precision
        return weights.load(weights.locate(name), "adm-classifier").network


def shipped_priors() -> list[str]:
    """Names of the diffusion priors that come with the package."""
    return weights.shipped("prior")


def frame_of(name: str) -> str:
    """How tightly the faces of a prior are cropped: as its file says, else shipped ones from chin to forehead
    (tight), others as in FFHQ.
    """
    try:
        said = weights.read_metadata(weights.locate(name)).get("frame", "")
    except (FileNotFoundError, ValueError):  # of another format, or found later by its method
        said = ""
    if said in FRAMES:
        return said
    return "tight" if name in (*shipped_priors(), *weights.shipped("sr-sde")) else "ffhq"
