"""Training of ADM's upsampler, which sees the small picture beside the noisy one, and perhaps the class
(Dhariwal and Nichol 2021; the loss is the hybrid of Nichol and Dhariwal 2021).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...samplers.denoiser import Cond
from ...samplers.noise import Noise
from ...samplers.schedule import BETAS, DiscreteSchedule
from ..device import device_of
from ..imaging.images import Picture, write
from ..nets.adm_config import ADMConfig
from ..nets.adm_released import build_adm
from ..priors.adm import ADMPrior
from ..priors.calibration import midpoint_timesteps
from ..settings import Settings, option, to_json
from ..visionrefine.guided import NATIVE, GuidedSettings, guided_upsample
from .channels import Coloured
from .init import begin_from, init_option
from .labels import Attribute, Labelled
from .loop import Batch, Optimisation, Task, channels_last
from .prior import check_side, grid, mirrored, numbers, signed
from .variance import Variational

TUNED = Optimisation(
    steps=500_000,
    lr=1e-4,
    final_lr=1.0,
    warmup=0,
    ema=0.9999,
    clip=1e6,  # none is clipped
    checkpoint_every=1000,
    validate_every=5000,
)
JUDGED = 16  # validation pictures that figures come from
SHOWN = 4  # of them are enlarged at every validation
DRAFT = GuidedSettings("ddim", "25")  # how
LEVELS = 8  # of the figures
ONE_CLASS = "attributes {!r} name {} attributes, and a network has one: write species=cat,dog"


def classes_of(attributes: str) -> tuple[Attribute, ...]:
    """The one attribute that a network is told or tells; none where nothing is named. Raises ValueError."""
    found = Attribute.parse(attributes) if attributes else ()
    if len(found) > 1:
        raise ValueError(ONE_CLASS.format(attributes, len(found)))
    return found


def groups_option() -> Any:
    """The field `groups` of the recipe of a large ADM network."""
    return option(
        32,
        "Groups of each group norm; one channel a group would hide brightness from a small network: 8 for "
        "--width 32",
        low=1,
        high=64,
    )


@dataclass(frozen=True)
class UpsamplerRecipe(Coloured, Settings):
    """The network, its noise and its batches; the defaults are those of the released one from 64 to 256
    pixels. Lists are written as 1,2,4.
    """

    attributes: str = option(
        "",
        "The class that the network is told: COLUMN=CLASS:VALUE,CLASS:VALUE of --labels, in the "
        "order of their "
        "numbers, which `upscale guided --label` takes; none: it is told none",
    )
    size: int = option(
        256, "Side of the large pictures, of which the small ones are a quarter", low=16, high=1024
    )
    channels: str = option("rgb", "What of the pictures is learnt", choices=("luma", "rgb"))
    width: int = option(192, "Channels of a level, times its entry in --mult", low=32, high=512)
    mult: str = option("1,1,2,2,4,4", "Width of each level, in --width; each level halves the size")
    blocks: int = option(2, "Residual blocks a level", low=1, high=8)
    attention: str = option("8,16,32", "Downsampling factors of the levels with attention")
    heads: int = option(4, "Attention heads", low=1, high=64)
    groups: int = groups_option()
    dropout: float = option(0.0, "Share of feature values dropped in training", low=0, high=0.9)
    learned: bool = option(True, "The network also learns the variance of each step")
    schedule: str = option("linear", "Noise schedule", choices=tuple(BETAS))
    train_steps: int = option(1000, "Steps of that schedule", low=25, high=100_000)
    batch: int = option(256, "Pictures a step and process", low=1, high=65536)
    flip: bool = option(True, "Mirror half of the pictures")
    init: str = init_option("they must be of the same form")

    def config(self) -> ADMConfig:
        """The network's settings. Raises ValueError when they do not fit together."""
        told = classes_of(self.attributes)
        config = ADMConfig(
            image_size=self.size,
            in_channels=self.colours,
            out_channels=self.colours * (2 if self.learned else 1),
            model_channels=self.width,
            num_res_blocks=self.blocks,
            channel_mult=numbers(self.mult),
            attention_factors=numbers(self.attention),
            num_classes=len(told[0].classes) if told else None,
            num_heads=self.heads,
            num_head_channels=None,
            dropout=self.dropout,
            superres=True,
            groups=self.groups,
        )
        check_side(config)
        if self.size % NATIVE:
            raise ValueError(f"size {self.size} is no multiple of {NATIVE}, by which it enlarges: change it")
        return config


def build(recipe: UpsamplerRecipe, seed: int = 0) -> nn.Module:
    """A new network, or one with the weights to go on from. Raises ValueError for those of another form."""
    torch.manual_seed(seed)
    network = build_adm(recipe.config())
    begin_from(network, recipe.init, "adm")
    return channels_last(network)


def reduced(x: Tensor) -> Tensor:
    """What the network is shown of pictures: the mean of each block of 4 x 4 pixels."""
    return F.avg_pool2d(x, NATIVE)


def task(
    recipe: UpsamplerRecipe,
    network: nn.Module,
    data: Labelled,
    validation: Labelled,
) -> Task:
    """Train a network of `build` on uint8 pictures N C S S and their classes, where they have some,
    judging by the error of the noise.
    """
    images, labels = data.images, next(iter(data.labels.values()), None)
    judged = signed(validation.images[:JUDGED]), next(iter(validation.labels.values()), None)
    schedule = DiscreteSchedule.named(recipe.schedule, recipe.train_steps)
    hybrid = Variational(schedule)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        chosen = torch.randint(len(images), (recipe.batch,), generator=batch.generator)
        x0 = signed(images[chosen])
        if recipe.flip:
            x0 = mirrored(x0, batch.generator)
        t, eps = hybrid.drawn(x0, batch.generator)
        x0, eps, t = (z.to(batch.device) for z in (x0, eps, t))
        told = {} if labels is None else {"label": labels[chosen].to(batch.device)}
        xt = hybrid.noised(x0, eps, t).contiguous(memory_format=torch.channels_last)
        with batch.autocast():
            answer = net(xt, t.float(), low_res=reduced(x0), **told)
        return hybrid.loss(answer.float(), x0, xt, eps, t)

    def conditions(labels: Tensor | None, count: int, device: torch.device) -> dict[str, Tensor]:
        return {} if labels is None else {"label": labels[:count].to(device)}

    @torch.no_grad()
    def validate(net: nn.Module) -> dict[str, float]:
        net.eval()
        device, prior = device_of(net), ADMPrior(net, schedule)
        x0 = judged[0].to(device)
        cond = Cond({"low_res": reduced(x0)}, conditions(judged[1], len(x0), device))
        eps = Noise(range(len(x0)))(x0.shape).to(device)
        levels = [schedule.table[i] for i in midpoint_timesteps(recipe.train_steps, LEVELS)]
        errors = [
            float((prior(at.alpha * x0 + at.sigma * eps, at, cond).eps - eps).square().mean())
            for at in levels
        ]
        return {"eps_mse": math.fsum(errors) / len(errors)}

    @torch.no_grad()
    def show(net: nn.Module, run: Path) -> None:
        net.eval()
        prior, x0 = ADMPrior(net, schedule), judged[0][:SHOWN]
        low, device = reduced(x0), device_of(net)
        told = torch.zeros(len(x0), dtype=torch.long) if judged[1] is None else judged[1][: len(x0)]
        size = recipe.size, recipe.size
        noise = Noise(range(len(x0)))
        large = guided_upsample(prior, None, low.to(device), told, size, DRAFT, noise).cpu()
        seen = F.interpolate(low, size, mode="nearest")
        rows = torch.stack([seen, large, x0], 1).flatten(0, 1)
        write(Picture(grid((rows / 2 + 0.5).clamp(0, 1), 3)), run / "samples.png", overwrite=True)

    return Task(network, loss, validate, lambda net: net, {**asdict(recipe), "images": len(images)}, show)


def metadata(recipe: UpsamplerRecipe, settings: Optimisation) -> dict[str, str]:
    """What the weight file says of itself: how the network is built and trained, and its classes."""
    told = classes_of(recipe.attributes)
    return {
        "kind": "adm",
        "settings": json.dumps(asdict(recipe.config())),
        "chain": json.dumps(
            {"schedule": recipe.schedule, "train_steps": recipe.train_steps, "target": "eps"}
        ),
        "training": to_json(recipe, settings),
        **({"classes": ",".join(told[0].classes)} if told else {}),
    }
