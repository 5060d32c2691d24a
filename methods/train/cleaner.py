"""Training of the blind cleaner on photographs that the two-order degradations damage at two strengths."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clean.method import KIND
from ..degrade import PRESETS, Recipe, recipe_named
from ..degrade.steps import OneOf, Resample
from ..degrade.steps import Sequence as Chain
from ..device import device_of
from ..imaging.images import Picture, write
from ..imaging.resize import resize
from ..nets.cleaner import MULTIPLE, SCALES, Cleaner, CleanerConfig
from ..settings import Settings, option, to_json
from .init import begin_from, init_option
from .loop import Batch, Optimisation, Task, channels_last
from .pairs import Crops, Pairs
from .prior import grid

TUNED = Optimisation(
    steps=20_000, lr=1e-3, warmup=100, ema=0.998, precision="bf16", exact_tail=0.0, validate_every=500
)
JUDGED = 32  # validation crops of each scale that figures come from
SHOWN = 6  # of them are shown
MIX = "mix"
SHARES = {"real-world": 0.45, "real-world-mild": 0.45, "bicubic": 0.1}  # the last: what is clean stays so


@dataclass(frozen=True)
class CleanerRecipe(Settings):
    """The network, and the crops it is shown: damaged much, mildly, or not at all, at one and two times the
    size.
    """

    size: int = option(96, "Side of the crops", low=16, high=1024)
    crops: str = option("1,0.75,0.5", "Scales of the photographs, of which one is drawn for each crop")
    width: int = option(48, "Channels at half of the size; twice as many at a quarter", low=4, high=512)
    blocks: int = option(2, "Residual blocks at half of the size, on each way", low=1, high=32)
    deep: int = option(4, "Residual blocks at a quarter of the size", low=1, high=64)
    batch: int = option(16, "Crops a step and process", low=1, high=4096)
    workers: int = option(1, "Crops that are read and damaged at once, each on a thread", low=1, high=256)
    degradation: str = option(
        MIX,
        f"What damages the crops; {MIX}: the two-order pipelines at full and a third of their strength, and "
        "a tenth of the crops only reduced; or a preset of `priorsr degrade`, or a recipe's JSON file",
    )
    init: str = init_option("they must be of the same sizes")

    def config(self) -> CleanerConfig:
        """The network's settings. Raises ValueError when they do not fit the crops."""
        if self.size % (MULTIPLE * max(SCALES)):
            raise ValueError(
                f"size {self.size} is no multiple of {MULTIPLE * max(SCALES)}, which the network asks "
                f"for: change it"
            )
        return CleanerConfig(self.width, self.blocks, self.deep)


def damage(scale: int, name: str = MIX) -> Recipe:
    """One of the degradations by its share, or the preset or recipe of that name, which ends at the size
    divided by `scale`. Raises as `recipe_named`.
    """
    if name != MIX:
        recipe = recipe_named(name, float(scale))
        return Recipe(recipe.name, (*recipe.steps, Resample(1 / scale, of_input=True)))
    steps = tuple(Chain(PRESETS[name](float(scale)).steps) for name in SHARES)
    return Recipe(f"cleaner x{scale}", (OneOf(steps, tuple(SHARES.values())),))


def build(recipe: CleanerRecipe, seed: int = 0) -> Cleaner:
    """A new network, or one with the weights to go on from. Raises ValueError for those of another one."""
    torch.manual_seed(seed)
    damage(max(SCALES), recipe.degradation)  # known, and readable
    network = channels_last(Cleaner(recipe.config()))
    begin_from(network, recipe.init, KIND)
    return network


def task(recipe: CleanerRecipe, network: Cleaner, crops: Crops, validation: Crops) -> Task:
    """Train a network of `build`, judging by PSNR on damaged crops of `validation` at each scale, against
    bicubic's.
    """
    drawn = {scale: Pairs(crops, damage(scale, recipe.degradation), recipe.workers) for scale in SCALES}
    judged = {
        scale: Pairs(validation, damage(scale, recipe.degradation), recipe.workers)(
            range(JUDGED), in_order=True
        )
        for scale in SCALES
    }

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw: dict[str, Any] = {"generator": batch.generator}
        scale = SCALES[int(torch.randint(len(SCALES), (1,), **draw))]
        seeds = torch.randint(2**62, (recipe.batch,), **draw).tolist()
        truth, low = (x.to(batch.device) / 255 for x in drawn[scale](seeds))
        with batch.autocast():
            change = net(low.contiguous(memory_format=torch.channels_last), scale)
        return F.l1_loss(change.float(), truth - enlarged(low, scale))

    @torch.no_grad()
    def validate(net: Cleaner) -> dict[str, float]:
        figures = {}
        for scale, (truth, low) in judged.items():
            made, plain, truth = *pictures(net, low, scale), truth / 255
            # of all crops together: of those that nothing damaged alone it is endless
            before, after = (float(-10 * (x - truth).square().mean().log10()) for x in (plain, made))
            figures |= {f"psnr@{scale}": after, f"gain@{scale}": after - before}
        return {"psnr": sum(figures[f"psnr@{s}"] for s in SCALES) / len(SCALES), **figures}

    @torch.no_grad()
    def show(net: Cleaner, run: Path) -> None:
        for scale, (truth, low) in judged.items():
            made, plain = pictures(net, low[:SHOWN], scale)
            strip = torch.stack([plain, made, truth[:SHOWN] / 255], 1).flatten(0, 1)
            write(Picture(grid(strip, 3)), run / f"cleaned_x{scale}.png", overwrite=True)

    identity = {**asdict(recipe), "images": len(crops)}
    identity.pop("workers")  # which changes no result
    return Task(network, loss, validate, lambda net: net.eval(), identity, show)


def enlarged(low: Tensor, scale: int) -> Tensor:
    """B 3 h w as what the network's answer is added to."""
    return low if scale == 1 else resize(low, (low.shape[-2] * scale, low.shape[-1] * scale))


def pictures(network: Cleaner, low: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """uint8 B 3 h w cleaned, and enlarged only, both on the CPU in 0..1."""
    low = low.to(device_of(network)) / 255
    plain = enlarged(low, scale)
    return (plain + network(low, scale)).clamp(0, 1).cpu(), plain.clamp(0, 1).cpu()


def metadata(network: Cleaner, recipe: CleanerRecipe, settings: Optimisation) -> dict[str, str]:
    """What the weight file says of itself: how the network is built and trained."""
    return {
        "kind": KIND,
        "settings": json.dumps(asdict(network.config)),
        "training": to_json(recipe, settings),
    }
