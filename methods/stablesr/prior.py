"""Stable Diffusion modulated by a low-resolution latent, as a denoiser of the core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...samplers.denoiser import Cond, Denoiser, Prediction, from_x0
from ...samplers.guidance.cfg import CFG
from ...samplers.run import Hook
from ...samplers.schedule import Level
from ...samplers.tiled import gaussian_weights
from ..nets.spade import Place
from ..priors.adm import ADMPrior
from ..weights.known import find_known
from .layers import StableSRLayers
from .levels import CHAIN, index_of

LR = "lr"  # name of the spatial condition
CONTEXT = "context"  # name of the flat one
SPREAD = 0.01  # variance of the tiles' Gaussian, in sides squared


def diffusion_prior(unet: nn.Module, target: str = "eps") -> ADMPrior:
    """Stable Diffusion on its own chain; target: what the UNet predicts, v for the 768-pixel 2.1 model."""
    return ADMPrior(unet, CHAIN, target)


def trained_target(name: str, told: str = "") -> str:
    """What the UNet predicts that StableSR's weights were trained on: as they say, or by the name of a
    published file; else nothing.
    """
    if told:
        return told
    known = find_known(name)
    return "v" if "768v" in name else "eps" if known and known.method == "stablesr" else ""


def unlike_target(target: str, name: str, told: str = "") -> str:
    """What to beware of where StableSR's weights are known to be for another target than the UNet's; else
    nothing. told: what their file says of it.
    """
    trained = trained_target(name, told)
    if trained in ("", target):
        return ""
    words = {"v": "v", "eps": "noise", "x0": "the picture"}
    wanted = {
        "v": "the 768-pixel model of Stable Diffusion 2.1",
        "eps": "its 512-pixel base model or SD-Turbo",
    }.get(trained, "another one")
    return (
        f"the model predicts {words.get(target, target)}, and {name} is for one that predicts "
        f"{words.get(trained, trained)}: if the result is blurred or noisy, take {wanted}, or other StableSR "
        "weights"
    )


@dataclass(frozen=True)
class SFTDenoiser:
    """A denoiser whose UNet is modulated, in every call, by features of the spatial condition `lr` at the
    level's own time.

    `inner` may hold guidance around the UNet: all conditions of one call share the features. Other conditions
    go on to it.
    """

    inner: Denoiser
    unet: nn.Module
    layers: StableSRLayers
    _places: Sequence[Place] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        self.layers.check(self.unet)
        object.__setattr__(self, "_places", self.layers.sft.places(self.unet))

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        if cond is None or LR not in cond.spatial:
            raise ValueError(
                f"StableSR needs the latent of the low-resolution picture as spatial condition {LR!r}"
            )
        lr = cond.spatial[LR]
        features = self.layers.encoder(
            lr, torch.full((len(lr),), level.t, device=lr.device, dtype=torch.float32)
        )
        rest = Cond({name: value for name, value in cond.spatial.items() if name != LR}, cond.flat)
        with self.layers.sft.modulating_at(self._places, features):
            return self.inner(x, level, rest)


def modulated(
    prior: ADMPrior, layers: StableSRLayers, negative: Tensor | None = None, scale: float = 1.0
) -> SFTDenoiser:
    """StableSR on a Stable Diffusion prior, pushed away from a negative prompt (1 L D) where scale is not 1
    (Eq. 8).
    """
    if scale == 1:
        return SFTDenoiser(prior, prior.network, layers)
    if negative is None or len(negative) != 1:
        raise ValueError(
            f"a guidance scale of {scale:g} needs a negative prompt (1, tokens, channels), one for all "
            "pictures; 1 needs none"
        )
    return SFTDenoiser(CFG(prior, Cond(flat={CONTEXT: negative}), scale), prior.network, layers)


def symmetric_weights(height: int, width: int) -> Tensor:
    """Weights of a tile of aggregation sampling, centred."""
    return gaussian_weights(height, width, SPREAD)


def published_weights(height: int, width: int) -> Tensor:
    """As released: the centre lies half a pixel too far down."""
    return gaussian_weights(height, width, SPREAD, 0.5)


WEIGHTS: dict[str, Callable[[int, int], Tensor]] = {
    "symmetric": symmetric_weights,
    "published": published_weights,
}


@dataclass
class Reference(Hook):
    """Pull predictions towards a reference latent:

    `repeats` times x0 + 2 * rate * (reference - x0), in the steps `first`..`last`.

    Steps are counted from the end of the run, which is 0. Of the released face script; not in the paper.
    shared: divide the rate by the batch, as released; a picture's result then depends on how many others are
    restored with it.
    """

    reference: Tensor
    rate: float = 0.5
    repeats: int = 10
    first: int = 10
    last: int = 1000
    shared: bool = False
    _levels: Sequence[Level] = field(default=(), init=False, repr=False)

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        if self.reference.shape[1:] != x.shape[1:] or len(self.reference) not in (1, len(x)):
            raise ValueError(
                f"a reference of {tuple(self.reference.shape)} does not fit latents of {tuple(x.shape)}: "
                "give it the same size"
            )
        self._levels = levels

    def predict(self, x: Tensor, level: Level, pred: Prediction) -> Prediction:
        if not self.first <= index_of(level, self._levels) <= self.last:
            return pred
        kept = (1 - 2 * self.rate / (len(self.reference) if self.shared else 1)) ** self.repeats
        return from_x0(x, level, torch.lerp(self.reference.to(pred.x0), pred.x0, kept), pred.frac)
