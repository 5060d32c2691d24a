"""Training of ADM's classifier of noisy pictures, which guides the upsampler and any other prior (Dhariwal
and Nichol 2021, section 4).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...samplers.noise import Noise
from ...samplers.schedule import BETAS, DiscreteSchedule
from ..device import device_of
from ..nets.adm_config import ADMConfig, Pool
from ..nets.adm_released import build_adm
from ..priors.calibration import midpoint_timesteps
from ..settings import Settings, option, to_json
from .balance import drawn_of, groups_of
from .channels import Coloured
from .curve import plot_profiles
from .init import begin_from, init_option
from .labels import JUDGED, UNKNOWN, Labelled
from .loop import Batch, Optimisation, Task, channels_last
from .prior import check_side, mirrored, numbers, signed
from .upsampler import classes_of, groups_option
from .variance import Variational

TUNED = Optimisation(
    steps=500_000,
    lr=3e-4,
    final_lr=0.0,
    warmup=0,
    ema=0.9999,
    clip=1e6,  # none is clipped
    checkpoint_every=1000,
    validate_every=5000,
)
LEVELS = 8  # at which it is judged


@dataclass(frozen=True)
class NoiseClassifierRecipe(Coloured, Settings):
    """The classes, the network and its batches; the defaults are those of the released one for 256 pixels.

    Lists are written as 1,2,4.
    """

    attributes: str = option(
        "",
        "What is told: COLUMN=CLASS:VALUE,CLASS:VALUE of --labels, in the order of their numbers, which "
        "`--label` takes; needed",
    )
    size: int = option(
        256, "Side of the pictures; others are cropped to a square and resized", low=8, high=1024
    )
    channels: str = option("rgb", "What of the pictures is judged", choices=("luma", "rgb"))
    width: int = option(128, "Channels of a level, times its entry in --mult", low=32, high=512)
    mult: str = option("1,1,2,2,4,4", "Width of each level, in --width; each level halves the size")
    blocks: int = option(2, "Residual blocks a level", low=1, high=8)
    attention: str = option("8,16,32", "Downsampling factors of the levels with attention")
    head_channels: int = option(64, "Channels of an attention head", low=8, high=512)
    groups: int = groups_option()
    pool: str = option(
        "attention",
        "How it ends; attention ties it to --size, the others take pictures of any size",
        choices=get_args(Pool),
    )
    schedule: str = option("linear", "Noise schedule, that of the upsampler it guides", choices=tuple(BETAS))
    train_steps: int = option(1000, "Steps of that schedule", low=25, high=100_000)
    batch: int = option(256, "Pictures a step and process", low=2, high=65536)
    flip: bool = option(True, "Mirror half of the pictures")
    balanced: bool = option(True, "Every class is drawn as often as any other, however many pictures it has")
    init: str = init_option("they must be of the same form")

    def classes(self) -> tuple[str, ...]:
        """Names, in the order of their numbers. Raises ValueError for none."""
        found = classes_of(self.attributes)
        if not found:
            raise ValueError("the classifier needs --attributes, such as species=cat,dog, and --labels")
        return found[0].classes

    def config(self) -> ADMConfig:
        """The network's settings. Raises ValueError when they do not fit together."""
        config = ADMConfig(
            image_size=self.size,
            in_channels=self.colours,
            out_channels=len(self.classes()),
            model_channels=self.width,
            num_res_blocks=self.blocks,
            channel_mult=numbers(self.mult),
            attention_factors=numbers(self.attention),
            num_head_channels=self.head_channels,
            groups=self.groups,
            pool=self.pool,  # type: ignore[arg-type]  # one of its choices
        )
        check_side(config)
        return config


def build(recipe: NoiseClassifierRecipe, seed: int = 0) -> nn.Module:
    """A new network, or one with the weights to go on from. Raises ValueError for those of another form."""
    torch.manual_seed(seed)
    network = build_adm(recipe.config())
    begin_from(network, recipe.init, "adm-classifier")
    return channels_last(network)


def task(recipe: NoiseClassifierRecipe, network: nn.Module, data: Labelled, validation: Labelled) -> Task:
    """Train a network of `build` on labelled pictures at every step of the schedule, judging by the mean
    of the classes' accuracies at LEVELS of them.
    """
    schedule = DiscreteSchedule.named(recipe.schedule, recipe.train_steps)
    hybrid = Variational(schedule)
    (labels,) = data.labels.values()
    groups = groups_of(labels, recipe.balanced)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        chosen = drawn_of(groups, recipe.batch, batch.generator)
        x0 = signed(data.images[chosen])
        if recipe.flip:
            x0 = mirrored(x0, batch.generator)
        t, eps = hybrid.drawn(x0, batch.generator)
        x0, eps, t, wanted = (z.to(batch.device) for z in (x0, eps, t, labels[chosen]))
        xt = hybrid.noised(x0, eps, t).contiguous(memory_format=torch.channels_last)
        with batch.autocast():
            answer = net(xt, t.float())
        return F.cross_entropy(answer.float(), wanted)

    def validate(net: nn.Module) -> dict[str, float]:
        figures = accuracies(net, validation, schedule)
        mean = sum(figures.values()) / len(figures)
        return {"accuracy": mean, **{f"accuracy@{t:g}": value for t, value in figures.items()}}

    def show(net: nn.Module, run: Path) -> None:
        plot_profiles(run / "log.jsonl", run / "accuracy.png")

    identity = {**asdict(recipe), "images": len(data.images)}
    return Task(network, loss, validate, lambda net: net, identity, show)


@torch.no_grad()
def accuracies(net: nn.Module, data: Labelled, schedule: DiscreteSchedule) -> dict[float, float]:
    """By step as a share of the schedule: how often the classifier is right, the mean of its accuracies on
    each class. Picture i has the noise of seed i.
    """
    net.eval()
    device, steps = device_of(net), len(schedule.table)
    (labels,) = data.labels.values()
    chosen = (labels != UNKNOWN).nonzero()[:JUDGED, 0]
    labels, x0 = labels[chosen], signed(data.images[chosen])
    noise = Noise(chosen.tolist())(x0.shape)
    found = {}
    for i in midpoint_timesteps(steps, LEVELS):
        at, right = schedule.table[i], []
        for clean, eps in zip(x0.split(64), noise.split(64), strict=True):
            x = (at.alpha * clean + at.sigma * eps).to(device)
            right.append(net(x, torch.full((len(x),), at.t, device=device)).argmax(1).cpu())
        correct = torch.cat(right) == labels
        shares = [correct[labels == k].float().mean() for k in labels.unique()]
        found[(i + 0.5) / steps] = float(torch.stack(shares).mean())
    return found


def metadata(recipe: NoiseClassifierRecipe, settings: Optimisation) -> dict[str, str]:
    """What the weight file says of itself: how the network is built and trained, and its classes."""
    return {
        "kind": "adm-classifier",
        "settings": json.dumps(asdict(recipe.config())),
        "chain": json.dumps({"schedule": recipe.schedule, "train_steps": recipe.train_steps}),
        "classes": ",".join(recipe.classes()),
        "training": to_json(recipe, settings),
    }
