"""Training of the score networks of SDE-SR and SRDG on square pictures: noisy pictures beside what is left of
them at low resolution.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...samplers.noise import Noise
from ...samplers.schedule import ExplodingSchedule
from .. import weights
from ..device import device_of
from ..imaging.images import Picture, to_uint8, write
from ..imaging.resize import size_of
from ..nets.ncsnpp import NCSNpp, NCSNppConfig
from ..priors.load import FRAMES
from ..priors.ncsnpp import NCSNppPrior
from ..settings import Settings, option, to_json
from ..srdg.method import KIND, SRDGSettings, condition, enlarged, srdg
from ..srdg.objective import noisy, score_loss, train_times
from .channels import Coloured
from .curve import plot_profiles
from .init import init_option
from .loop import Batch, Optimisation, Task, channels_last
from .prior import drawn, grid, numbers

TUNED = Optimisation(
    steps=1_000_000,
    lr=2e-4,
    final_lr=1.0,
    warmup=5000,
    ema=0.999,
    clip=1.0,
    checkpoint_every=5000,
    validate_every=10_000,
)
JUDGED = 64  # validation pictures that figures come from
SHOWN = 4  # of them are restored at every validation
FILTERS = ("bilinear", "bicubic", "lanczos", "area")
PARTS = 8  # times of the figures
DRAFT = SRDGSettings(steps=50, sampler="renoise")  # of the pictures that are shown


@dataclass(frozen=True)
class SRRecipe(Coloured, Settings):
    """The network, the noise and the batches; the defaults are those of the released networks.

    Lists are written as 1,2,4.
    """

    size: int = option(
        128, "Side of the pictures; others are cropped to a square and resized", low=8, high=1024
    )
    channels: str = option("rgb", "What of the pictures is learnt", choices=("luma", "rgb"))
    factors: str = option(
        "8", "How much smaller the pictures are made; one of several is drawn for each batch"
    )
    kernels: str = option(
        "bilinear",
        "Antialiased filters that make the pictures smaller; one of several is drawn for each batch: "
        "bilinear as published, bicubic, lanczos, area",
    )
    rounded: bool = option(False, "Round the small pictures to 8 bits, as they come out of files")
    frame: str = option(
        "",
        "How the faces are cropped, which the file says: ffhq, the whole head, or tight, from chin to "
        "forehead",
        choices=("", *FRAMES),
    )
    init: str = init_option("they decide the network and its noise")
    unshuffle: int = option(
        1, "The network sees blocks of so many pixels squared as channels, which is cheap", low=1, high=8
    )
    width: int = option(128, "Channels of a level, times its entry in --mult", low=4, high=512)
    mult: str = option("1,1,2,2,2,2,2", "Width of each level, in --width; each level halves the size")
    blocks: int = option(2, "Residual blocks a level", low=1, high=8)
    attention: str = option("16", "Sides of the maps with attention; the coarsest always has it")
    dropout: float = option(
        0.0, "Share of feature values dropped in training, against overfitting", low=0, high=0.9
    )
    sigma_min: float = option(0.01, "Least noise", low=1e-4, high=1)
    sigma_max: float = option(
        348.0,
        "Most noise: about the largest distance between two pictures, 8-bit levels being 1/255",
        low=1,
        high=10_000,
    )
    start_sigma: float = option(
        0.0,
        "Most noise that is trained, and with which runs begin on the enlarged picture; 0: all that the "
        "network's schedule has",
        low=0,
        high=10_000,
    )
    residual: float = option(
        0.0,
        "Spread of what the small picture leaves open, about 0.1 at x8: levels then weigh alike; 0: as "
        "published, where errors at much noise hardly count",
        low=0,
        high=1,
    )
    batch: int = option(2, "Pictures a step and process", low=1, high=65536)
    flip: bool = option(False, "Mirror half of the pictures")

    def config(self) -> NCSNppConfig:
        """The network's settings. Raises ValueError when they do not fit together."""
        mult = numbers(self.mult)
        if not mult or 0 in mult:
            raise ValueError(f"mult {self.mult!r} gives no levels: write 1,2,2")
        if mult[0] * self.width < self.colours * self.unshuffle**2:
            raise ValueError(
                f"the first level has {mult[0] * self.width} channels, unshuffle {self.unshuffle} brings "
                f"{self.colours * self.unshuffle**2}, which cannot pass: give a larger --width or less "
                f"unshuffle"
            )
        attention = numbers(self.attention)
        return NCSNppConfig(
            self.size,
            self.colours,
            self.width,
            mult,
            self.blocks,
            attention,
            dropout=self.dropout,
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            unshuffle=self.unshuffle,
        )

    def reductions(self) -> tuple[int, ...]:
        """The factors. Raises ValueError for those that do not divide the size."""
        factors = numbers(self.factors)
        if not factors or any(f < 2 or self.size % f for f in factors):
            raise ValueError(
                f"factors {self.factors!r} do not divide the size {self.size} into something smaller: give "
                "8, or 4,8"
            )
        return factors

    def filters(self) -> tuple[str, ...]:
        """The names in `kernels`. Raises ValueError for one that there is not."""
        names = tuple(name.strip() for name in self.kernels.split(","))
        if unknown := [name for name in names if name not in FILTERS]:
            raise ValueError(f"there is no kernel {unknown[0]!r}: give one or more of {','.join(FILTERS)}")
        return names


def build(recipe: SRRecipe, seed: int = 0) -> NCSNpp:
    """A new network, or that of the file to go on from.

    Raises ValueError when something does not fit together.
    """
    recipe.reductions()
    recipe.filters()
    torch.manual_seed(seed)
    if recipe.init:
        network = weights.load(weights.locate(recipe.init), "ncsnpp").network.requires_grad_(True)
        if network.config.channels != recipe.colours:
            raise ValueError(
                f"{recipe.init} is for {network.config.channels} channels, the recipe for "
                f"{recipe.channels}: change --channels"
            )
    else:
        network = NCSNpp(recipe.config())
    if recipe.size % network.config.reduction:
        raise ValueError(
            f"size {recipe.size} is no multiple of {network.config.reduction}, which its levels ask for: "
            "change size or mult"
        )
    return channels_last(network)


def pairs(
    images: Tensor, factor: int, kernel: str = "bilinear", rounded: bool = False
) -> tuple[Tensor, Tensor]:
    """uint8 N C S S as truth and condition, both N C S S around 0..1."""
    clean = images / 255
    small = condition(clean, factor, kernel)
    if rounded:
        small = to_uint8(small) / 255
    return clean, enlarged(small, size_of(clean))


def task(recipe: SRRecipe, network: NCSNpp, images: Tensor, validation: Tensor) -> Task:
    """Train on uint8 images N C S S, judging by the error of the noise at times of equal distance on
    `validation`.
    """
    ways = list(product(recipe.reductions(), recipe.filters()))
    schedule = NCSNppPrior(network).begun_at(recipe.start_sigma).schedule
    shown = validation[: max(1, JUDGED // len(ways))]
    judged = [pairs(shown, *way, recipe.rounded) for way in ways]

    def loss(net: NCSNpp, batch: Batch) -> Tensor:
        draw: dict[str, Any] = {"generator": batch.generator}
        x = drawn(images, recipe.batch, images.shape[1], recipe.flip, batch.generator)
        clean, low = pairs(x, *ways[int(torch.randint(len(ways), (1,), **draw))], recipe.rounded)
        t = train_times(torch.empty(recipe.batch).uniform_(**draw), schedule)
        noise = Noise(torch.randint(2**62, (recipe.batch,), **draw).tolist())(clean.shape)
        x, y = (z.to(batch.device).contiguous(memory_format=torch.channels_last) for z in (clean, low))
        with batch.autocast():
            losses = score_loss(
                net, x, y, t.to(batch.device), noise.to(batch.device), schedule, recipe.residual
            )
            return losses.mean()

    def validate(net: NCSNpp) -> dict[str, float]:
        profile = errors(net, judged, schedule)
        return {
            "error": sum(profile.values()) / len(profile),
            **{f"error@{t:.3g}": e for t, e in profile.items()},
        }

    def show(net: NCSNpp, run: Path) -> None:
        plot_profiles(run / "log.jsonl", run / "error.png")
        write(Picture(samples(net, judged, recipe.start_sigma)), run / "samples.png", overwrite=True)

    return Task(network, loss, validate, lambda net: net, {**asdict(recipe), "images": len(images)}, show)


@torch.no_grad()
def errors(
    net: NCSNpp, judged: list[tuple[Tensor, Tensor]], schedule: ExplodingSchedule
) -> dict[float, float]:
    """The mean square error of the noise, by time; 1 is that of a network that has learnt nothing.

    Picture i has the noise of seed i.
    """
    net.eval()
    device, result = device_of(net), {}
    for t in ((i + 0.5) / PARTS for i in range(PARTS)):
        parts = []
        for clean, low in judged:
            noise = Noise(range(len(clean)))(clean.shape)
            for one, small, eps in zip(clean.split(16), low.split(16), noise.split(16), strict=True):
                x, sigma = noisy(one, torch.full((len(one),), t), eps, schedule)
                found = net(x.to(device), sigma.to(device), small.to(device)).cpu()
                parts.append((found + eps).square().flatten(1).mean(1))
        result[t] = float(torch.cat(parts).mean())
    return result


def samples(net: NCSNpp, judged: list[tuple[Tensor, Tensor]], start: float = 0.0) -> Tensor:
    """Condition, restoration in few steps, and truth of some pictures of each factor, side by side in
    rows.
    """
    net.eval()
    device, prior, rows = device_of(net), NCSNppPrior(net), []
    draft = replace(DRAFT, start_sigma=start)
    for clean, low in judged:
        clean, low = clean[:SHOWN], low[:SHOWN]
        restored = srdg(prior, low.to(device), size_of(low), (), draft, Noise(range(len(low)))).cpu()
        rows.append(torch.stack([low, restored, clean], 1).flatten(0, 1))
    return grid(torch.cat(rows).clamp(0, 1), 3 * min(SHOWN, len(judged[0][0])))


def metadata(network: NCSNpp, recipe: SRRecipe, settings: Optimisation) -> dict[str, str]:
    """What the weight file says of itself: how the network is built and trained, and for which factors."""
    return {
        "kind": KIND,
        "settings": json.dumps(asdict(network.config)),
        "factors": recipe.factors,
        "training": to_json(recipe, settings),
        **({"frame": recipe.frame} if recipe.frame else {}),
        **({"start_sigma": f"{recipe.start_sigma:g}"} if recipe.start_sigma else {}),
    }
