"""Training of CodeFormer in its three stages (Zhou et al. 2022, section 3): codebook, code prediction,
feature fusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ... import weights
from ...degrade import Recipe, degrade
from ...degrade.faces import face_damage
from ...degrade.presets import FACE_LEVELS
from ...device import device_of
from ...faces.codeformer import from_network
from ...imaging.images import Picture, write
from ...nets.codeformer import CodeFormer, CodeFormerConfig
from ...nets.codeformer_vqgan import VQGAN, VQGANConfig
from ...nets.face_released import settings_text
from ...settings import Settings, option, to_json
from ..init import begin_from, init_option
from ..loop import Batch, Optimisation, Task
from ..perceptual import used
from ..prior import drawn, grid, numbers, signed
from .loss import Fusion, Prediction, Reconstruction

TUNED = Optimisation(steps=200_000, lr=8e-5, ema=0.995, final_lr=0.1, warmup=1000)
RELEASED = VQGANConfig()
JUDGED = 16  # validation pictures that figures in the log come from
STAGES = ("codebook", "prediction", "fusion")


@dataclass(frozen=True)
class CodeFormerRecipe(Settings):
    """Which stage, the networks, and what lowers the pictures.

    Lists are written as 1,2,4; stages after the first take sizes from files.
    """

    stage: str = option(
        "codebook",
        "codebook: the autoencoder; prediction: the transformer on it; fusion: the controllable module",
        choices=STAGES,
    )
    codebook: str = option("", "Weight file of the first stage, which the other two need")
    start: str = option("", "Weight file of the second stage, which fusion starts from")
    init: str = init_option("they must be of this stage")
    size: int = option(
        RELEASED.image_size,
        "Side of the pictures; others are cropped to a square and resized",
        low=16,
        high=1024,
    )
    width: int = option(
        RELEASED.width, "Channels of a level, times its entry in --mult; a multiple of 32", low=32, high=512
    )
    mult: str = option(
        ",".join(map(str, RELEASED.multipliers)),
        "Width of each level, in --width; each level halves the size",
    )
    blocks: int = option(RELEASED.res_blocks, "Residual blocks a level", low=1, high=8)
    attention: str = option(",".join(map(str, RELEASED.attention)), "Sides of the maps with attention")
    codes: int = option(RELEASED.codes, "Rows of the codebook", low=2, high=65536)
    code_channels: int = option(RELEASED.code_channels, "Numbers in a row", low=1, high=4096)
    channels: int = option(CodeFormerConfig.channels, "Width of the transformer", low=8, high=4096)
    heads: int = option(CodeFormerConfig.heads, "Its heads, which divide the width", low=1, high=64)
    layers: int = option(CodeFormerConfig.layers, "Its layers", low=1, high=48)
    fused: str = option(
        ",".join(map(str, CodeFormerConfig.fused)), "Sides of the maps that the last stage fuses"
    )
    degradation: str = option(
        "mix",
        f"The face degradation that lowers the pictures ({', '.join(FACE_LEVELS)}); mix: one of mild to "
        "severe; or another preset of `priorsr degrade`, or a recipe's JSON file",
    )
    perceptual: float = option(
        1.0,
        "Weight of LPIPS (VGG) of stages one and three, left out where its weights are not installed; 0 "
        "leaves it out",
        low=0,
        high=100,
    )
    adversarial: float = option(
        0.8, "Weight of the discriminator of stages one and three; 0 leaves it out", low=0, high=10
    )
    after: int = option(30_000, "Step of this run after which the discriminator counts", low=0)
    batch: int = option(4, "Pictures a step and process", low=1, high=4096)
    flip: bool = option(True, "Mirror half of the pictures")

    def vqgan(self) -> VQGANConfig:
        """The autoencoder's settings. Raises ValueError when they do not fit together."""
        levels = numbers(self.mult)
        if not levels or self.size % (1 << len(levels) - 1) or self.width % 32:
            raise ValueError(
                f"size {self.size} must halve {len(levels) - 1} times and width {self.width} be a multiple "
                "of 32: change one"
            )
        return VQGANConfig(
            self.size,
            self.width,
            levels,
            self.blocks,
            numbers(self.attention),
            self.codes,
            self.code_channels,
        )


def build(recipe: CodeFormerRecipe, seed: int = 0) -> VQGAN | CodeFormer:
    """The network that a stage trains, with the weights of the stages before.

    Raises ValueError for a missing or unfitting file.
    """
    torch.manual_seed(seed)
    if recipe.stage == "codebook":
        network = VQGAN(recipe.vqgan())
        begin_from(network, recipe.init, "vqgan")
        return network
    if not recipe.codebook:
        raise ValueError(f"stage {recipe.stage} needs --codebook FILE, which stage codebook writes")
    first = teacher(recipe)
    if recipe.stage == "fusion":
        start = recipe.init or recipe.start
        if not start:
            raise ValueError("stage fusion needs --start FILE, which stage prediction writes")
        found = weights.load(weights.locate(start), "codeformer").network
        if found.config != first.config:
            raise ValueError(f"{start} was not trained on {recipe.codebook}: their sizes differ")
        return found.requires_grad_(True)
    if recipe.channels % recipe.heads:
        raise ValueError(
            f"{recipe.heads} heads do not divide a width of {recipe.channels}: change one of them"
        )
    network = CodeFormer(
        CodeFormerConfig(first.config, recipe.channels, recipe.heads, recipe.layers, numbers(recipe.fused))
    )
    for part in ("encoder", "quantize", "generator"):
        getattr(network, part).load_state_dict(getattr(first, part).state_dict())
    begin_from(network, recipe.init, "codeformer")
    return network


def teacher(recipe: CodeFormerRecipe) -> VQGAN:
    """The first stage's network, which knows the codes of undamaged pictures."""
    return weights.load(weights.locate(recipe.codebook), "vqgan").network


def check(recipe: CodeFormerRecipe, settings: Optimisation) -> None:
    """Raises ValueError for what no stage can be trained with, and as `face_damage`."""
    face_damage(recipe.degradation, recipe.size)
    if settings.muon and recipe.stage != "codebook":
        raise ValueError(
            f"muon {settings.muon:g} would move weights that stage {recipe.stage} keeps: train with --muon 0"
        )


def task(recipe: CodeFormerRecipe, network: VQGAN | CodeFormer, images: Tensor, validation: Tensor) -> Task:
    """Train a network of `build` on uint8 images N 3 S S, judging by reconstructions or restorations of
    `validation`.
    """
    size, first = network.config.image_size, recipe.stage == "codebook"
    damage = face_damage(recipe.degradation, size)
    if tuple(images.shape[1:]) != (3, size, size):
        raise ValueError(
            f"the network is for RGB pictures of {size} pixels, not {tuple(images.shape[1:])}: give --size "
            f"{size}"
        )
    judged = validation[:JUDGED]
    truth = signed(judged)
    seen = truth if first else low_resolution_of(judged, damage, range(len(judged)))
    trained: Any  # its stage decides which
    if first:
        trained = Reconstruction(network, recipe.adversarial, recipe.after, recipe.perceptual)
    elif recipe.stage == "prediction":
        trained = Prediction(cast(CodeFormer, network), teacher(recipe))
    else:
        trained = Fusion(
            cast(CodeFormer, network), teacher(recipe), recipe.adversarial, recipe.after, recipe.perceptual
        )

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw: dict[str, Any] = {"generator": batch.generator}
        x = drawn(images, recipe.batch, images.shape[1], recipe.flip, batch.generator)
        low = (
            signed(x)
            if first
            else low_resolution_of(x, damage, torch.randint(2**62, (recipe.batch,), **draw).tolist())
        )
        with batch.autocast():
            return net(signed(x).to(batch.device), low.to(batch.device))

    @torch.no_grad()
    def validate(net: VQGAN | CodeFormer) -> dict[str, float]:
        device = device_of(net)
        return trained.figures(net, truth.to(device), seen.to(device))

    @torch.no_grad()
    def show(net: VQGAN | CodeFormer, run: Path) -> None:
        answer = net(seen[:4].to(device_of(net)))
        columns = [seen[:4], (answer[0] if first else answer).cpu(), truth[:4]]
        write(
            Picture(grid(from_network(torch.stack(columns, 1).flatten(0, 1)), len(columns))),
            run / "faces.png",
            overwrite=True,
        )

    return Task(
        trained,
        loss,
        validate,
        lambda net: net.network,
        {**asdict(recipe), "images": len(images), "lpips": used(recipe.perceptual)},
        show,
    )


def low_resolution_of(images: Tensor, damage: Recipe, seeds: Sequence[int]) -> Tensor:
    """Damaged faces in -1..1 of uint8 images N 3 S S, at their size."""
    return degrade(images / 255, damage, seeds)[0].clamp(0, 1) * 2 - 1


def metadata(
    network: VQGAN | CodeFormer, recipe: CodeFormerRecipe, settings: Optimisation
) -> dict[str, object]:
    """What the weight file says of itself: how it is built and trained."""
    codebook = not isinstance(network, CodeFormer)
    return {
        "kind": "vqgan" if codebook else "codeformer",
        "settings": settings_text(network.config if codebook else network.sizes),
        "training": to_json(recipe, settings),
    }
