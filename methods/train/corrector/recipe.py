"""What a corrector is trained for: its network, the conditions it is shown, and what it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...degrade import Recipe, degrade
from ...degrade.faces import face_damage
from ...degrade.presets import FACE_LEVELS
from ...dpi.masks import check_grid
from ...dpi.method import grid_condition
from ...dpi.objective import OMEGAS
from ...metrics.faces import reduced
from ...nets.adm_config import ADMConfig
from ...nets.corrector import SMALL
from ...settings import Settings, option
from ..channels import Coloured
from ..init import init_option
from ..prior import check_side, numbers, signed

OBJECTIVES = ("sampled", "paper", "runs", "released")


@dataclass(frozen=True)
class CorrectorRecipe(Coloured, Settings):
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
        f"What lowers the pictures: bicubic reduction, or a face degradation ({', '.join(FACE_LEVELS)}); "
        "mix: one of several; relative: mild or medium, its pixels counted on a face of 512 "
        "whatever the size "
        "here; or another preset of `priorsr degrade`, or a recipe's JSON file",
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
    init: str = init_option("they must be of the same sizes")
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
        colours = self.colours
        check_grid((self.size, self.size), self.k)
        if self.degradation == "bicubic" and (self.size % self.scale or self.scale < self.k):
            raise ValueError(
                f"scale {self.scale} must divide the size {self.size} and be at least k {self.k}: change "
                "one of them"
            )
        if self.degradation != "bicubic":
            self.degradations()  # known, and readable
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
        check_side(config)
        return config

    def degradations(self) -> Recipe:
        """The face degradation, or one of several with even chances."""
        return face_damage(self.degradation, self.size)


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
