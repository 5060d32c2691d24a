"""Training of DPI's condition corrector (Yang et al. 2025, Eq. 15-18) on square pictures, degraded as they
are drawn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ....samplers.noise import Noise
from ...degrade import PRESETS, Recipe, degrade
from ...degrade.presets import FACE_LEVELS
from ...degrade.steps import OneOf
from ...degrade.steps import Sequence as Chain
from ...dpi.corrector import load_corrector
from ...dpi.masks import check_grid, on_grid, sparse
from ...dpi.method import grid_condition
from ...dpi.objective import OMEGAS, grid_error
from ...dpi.timestep import STEPS
from ...imaging.images import Picture, write
from ...metrics.faces import reduced
from ...nets.adm_config import ADMConfig
from ...nets.corrector import SMALL, CorrectorUNet
from ...priors.calibration import midpoint_timesteps
from ...priors.load import load_prior
from ...priors.prior import Prior
from ...settings import Settings, option, to_json
from ...weights import State
from ..curve import plot_profiles
from ..loop import Batch, Optimisation, Task
from ..prior import grid, numbers, signed
from .loss import PriorChain, corrector_loss, runs_loss, trace
from .rollouts import Rollouts

TUNED = Optimisation(steps=4000, lr=3e-3, ema=0.995, validate_every=500)
OBJECTIVES = ("sampled", "paper", "runs", "released")
MIXED = ("mild", "medium", "heavy", "severe")
JUDGED = 64  # validation pictures that figures come from
TIMES = midpoint_timesteps(STEPS, 10)  # steps at which they are taken


@dataclass(frozen=True)
class CorrectorRecipe(Settings):
    """The network, what its conditions come from, and what it learns. Lists are written as 1,2,4."""

    size: int = option(
        SMALL.image_size, "Side of the pictures; others are cropped to a square and resized", low=8, high=1024
    )
    channels: str = option("luma", "What of the pictures is learnt", choices=("luma", "rgb"))
    scale: int = option(
        8, "Enlargement that bicubic pictures are trained for; degraded ones serve any", low=2, high=64
    )
    degradation: str = option(
        "bicubic",
        "What lowers the pictures: bicubic reduction, or a face degradation; mix: one of several",
        choices=("bicubic", *FACE_LEVELS, "mix"),
    )
    k: int = option(2, "Every k-th row and column carries conditions", low=2, high=64)
    objective: str = option(
        "sampled",
        "paper: both terms of Eq. 18; sampled: one of them, drawn by its weight, at half the cost; runs: "
        "the gap is that of real runs of the "
        "prior; released: the published code's",
        choices=OBJECTIVES,
    )
    omega: str = option(
        "constant",
        "How the weight of true conditions against the corrector's own falls along the sampling",
        choices=OMEGAS,
    )
    omega_level: float = option(0.5, "That weight where it is constant", low=0, high=1)
    prior: str = option(
        "",
        "Weights of a prior that noises the true conditions (none: the closed form), or whose runs are "
        "followed (runs)",
    )
    start: str = option("", "Weights of a corrector to go on from; none: new ones")
    unshuffle: int = option(
        SMALL.unshuffle, "The network sees blocks of so many pixels squared as channels", low=1, high=8
    )
    width: int = option(
        SMALL.model_channels, "Channels of a level, times its entry in --mult", low=32, high=512
    )
    mult: str = option(
        ",".join(map(str, SMALL.channel_mult)), "Width of each level, in --width; each level halves the size"
    )
    blocks: int = option(SMALL.num_res_blocks, "Residual blocks a level", low=1, high=8)
    attention: str = option(
        ",".join(map(str, SMALL.attention_factors)),
        "Downsampling factors, inside the network, of the levels with attention",
    )
    batch: int = option(16, "Pictures a step and process", low=1, high=65536)
    flip: bool = option(True, "Mirror half of the pictures")

    def config(self) -> ADMConfig:
        """The network's settings. Raises ValueError when they do not fit together or to the pictures."""
        colours = 1 if self.channels == "luma" else 3
        check_grid((self.size, self.size), self.k)
        if self.degradation == "bicubic" and (self.size % self.scale or self.scale < self.k):
            raise ValueError(
                f"scale {self.scale} must divide the size {self.size} and be at least k {self.k}: change "
                "one of them"
            )
        config = replace(
            SMALL,
            image_size=self.size,
            in_channels=colours,
            out_channels=colours,
            model_channels=self.width,
            num_res_blocks=self.blocks,
            channel_mult=numbers(self.mult),
            attention_factors=numbers(self.attention),
            unshuffle=self.unshuffle,
        )
        if self.size % config.reduction:
            raise ValueError(
                f"size {self.size} is no multiple of {config.reduction}, which unshuffle and mult ask for: "
                "change one of them"
            )
        return config

    def degradations(self) -> Recipe:
        """The face degradation, or one of several with even chances."""
        return face_damage(self.degradation)


def face_damage(name: str) -> Recipe:
    """The face degradation of a level, or for `mix` one of several with even chances."""
    steps = tuple(Chain(PRESETS[f"dpi-{level}"]().steps) for level in (MIXED if name == "mix" else (name,)))
    return Recipe(name, (OneOf(steps, (1 / len(steps),) * len(steps)),))


def low_resolution_of(images: Tensor, recipe: CorrectorRecipe, seeds: Sequence[int]) -> tuple[Tensor, int]:
    """The pictures that inference would be given for uint8 images N C S S, N C h w in 0..1, and their scale;
    seeds draw degradations.

    Degraded faces keep their size and are then made as small as the grid.
    """
    faces = images / 255
    if recipe.degradation == "bicubic":
        return reduced(faces, recipe.scale), recipe.scale
    return reduced(degrade(faces, recipe.degradations(), seeds)[0], recipe.k), recipe.k


def conditions(images: Tensor, recipe: CorrectorRecipe, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Truth N C S S and base conditions N C S/k S/k of uint8 images, both in -1..1."""
    return signed(images), grid_condition(*low_resolution_of(images, recipe, seeds), recipe.k, recipe.k)[0]


def check(recipe: CorrectorRecipe, settings: Optimisation) -> None:
    """Raises ValueError when the training cannot give a corrector that sampling takes."""
    recipe.config()
    start_of(recipe)
    if recipe.objective == "runs" and not recipe.prior:
        raise ValueError("objective runs follows runs of a prior: name one with --prior, such as face64")
    if recipe.objective == "runs" and recipe.batch < 2:
        raise ValueError(
            "objective runs halves the batch between noised truth and runs: give a batch of 2 or more"
        )
    if frozen_prior(recipe) and recipe.objective == "released":
        raise ValueError(
            "objective released shows the corrector nothing that a prior could noise: leave out the prior, "
            "or choose another objective"
        )
    if not settings.ema:
        raise ValueError(
            "ema 0 leaves the weights as they jump about, which no sampling takes: give 0.9 to 0.9999"
        )


def frozen_prior(recipe: CorrectorRecipe) -> Prior | None:
    """The prior of the recipe, if it has one. Raises ValueError when it is for other pictures."""
    if not recipe.prior:
        return None
    prior, colours = load_prior(recipe.prior), recipe.config().in_channels
    if prior.channels != colours or recipe.size % prior.multiple:
        raise ValueError(
            f"{recipe.prior} is for {prior.channels} channels and sides that are multiples of "
            f"{prior.multiple}, the recipe for {colours} channels "
            f"and a side of {recipe.size}: choose another prior, or change channels or size"
        )
    return prior


def start_of(recipe: CorrectorRecipe) -> State | None:
    """The first weights, if the recipe names a file of them.

    Raises ValueError for a network of other settings.
    """
    if not recipe.start:
        return None
    network = load_corrector(recipe.start).network
    wanted = recipe.config()
    if network.config != wanted:
        differing = ", ".join(
            f.name for f in fields(wanted) if getattr(network.config, f.name) != getattr(wanted, f.name)
        )
        raise ValueError(
            f"{recipe.start} is a corrector of another {differing}: repeat the settings it was trained "
            "with, or begin anew"
        )
    return network.float().state_dict()


def task(recipe: CorrectorRecipe, images: Tensor, validation: Tensor, seed: int = 0) -> Task:
    """Train on uint8 images N C S S, judging by the errors on the grid at every noise level on
    `validation`.
    """
    torch.manual_seed(seed)
    network = CorrectorUNet(recipe.config()).to(memory_format=torch.channels_last)
    if (state := start_of(recipe)) is not None:
        network.load_state_dict(state)
    prior = frozen_prior(recipe)
    runs = Rollouts(recipe, prior, images) if recipe.objective == "runs" else None
    chain = PriorChain.of(prior) if prior and not runs else None
    count = recipe.batch // 2 if runs else recipe.batch
    judged = validation[:JUDGED]
    truth, base = conditions(judged, recipe, range(len(judged)))

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw = {"generator": batch.generator}
        x = images[torch.randint(len(images), (count,), **draw)]
        if recipe.flip:
            x = torch.where(torch.randint(2, (count, 1, 1, 1), **draw) > 0, x.flip(3), x)
        seeds = torch.randint(2**62, (count,), **draw).tolist()
        clean, low = (z.to(batch.device) for z in conditions(x, recipe, seeds))
        t = torch.randint(STEPS, (1 if chain else count,), **draw).expand(count)
        if runs:
            seen = runs(net, batch, recipe.batch - count)
        with batch.autocast():
            if runs:
                return runs_loss(net, recipe, clean, low, t, Noise(seeds), seen)
            return corrector_loss(net, recipe, chain, clean, low, t, Noise(seeds))

    def validate(net: nn.Module) -> dict[str, float]:
        figures = {
            "base": float(grid_error(sparse(base, recipe.k), truth, recipe.k).mean()),
            "prior": 0.0,
            "gap": 0.0,
        }
        for t, *answers in trace(net, truth, base, TIMES, recipe.k):
            for name, answer in zip(("prior", "gap"), answers, strict=True):
                figures[f"{name}@{t}"] = error = float(grid_error(answer, truth, recipe.k).mean())
                figures[name] += error / len(TIMES)
        return {**figures, "runs": runs.error(net, truth, base)} if runs else figures

    def show(net: nn.Module, run: Path) -> None:
        plot_profiles(run / "log.jsonl", run / "error.png")
        few = slice(8)
        shown = [answer for _, _, answer in trace(net, truth[few], base[few], TIMES, recipe.k)]
        columns = [base[few], *(on_grid(x, recipe.k) for x in (*shown, truth[few]))]
        strip = grid(torch.stack(columns, 1).flatten(0, 1).clamp(-1, 1) / 2 + 0.5, len(columns))
        write(Picture(strip), run / "conditions.png", overwrite=True)

    return Task(network, loss, validate, lambda net: net, {**asdict(recipe), "images": len(images)}, show)


def metadata(recipe: CorrectorRecipe, settings: Optimisation) -> dict[str, object]:
    """What the weight file says of itself: for which conditions it is, and how it is built and trained."""
    return {
        "kind": "corrector",
        "scale": recipe.scale if recipe.degradation == "bicubic" else "any",
        "k": recipe.k,
        "ema": settings.ema,
        "degradation": recipe.degradation,
        "settings": json.dumps(asdict(recipe.config())),
        "training": to_json(recipe, settings),
    }
