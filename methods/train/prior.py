"""Training of unconditional ADM priors on square pictures (Ho et al. 2020, Eq. 14; v of Salimans and Ho
2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...samplers.noise import Noise
from ...samplers.schedule import BETAS, DiscreteSchedule
from ..imaging.color import grey
from ..imaging.images import Picture, check_pixels, to_uint8, write
from ..imaging.resize import resize
from ..nets.adm_config import ADMConfig
from ..nets.adm_released import build_adm
from ..priors.adm import ADMPrior
from ..priors.calibration import Calibration, eps_mse, midpoint_timesteps
from ..priors.unconditional import samples
from ..settings import Settings, option
from .loop import Batch, Optimisation, Task

TUNED = Optimisation(steps=20_000, lr=1e-3, precision="bf16", exact_tail=0.0)
TARGETS = ("v", "eps")
JUDGED = 128  # validation pictures that figures in the log and in the file come from


@dataclass(frozen=True)
class PriorRecipe(Settings):
    """The network, its noise and its batches. Lists are written as 1,2,4."""

    size: int = option(
        64, "Side of the pictures; others are cropped to a square and resized", low=8, high=1024
    )
    channels: str = option("luma", "What of the pictures is learnt", choices=("luma", "rgb"))
    unshuffle: int = option(
        2,
        "The network sees blocks of so many pixels squared as channels, which is cheap at large sizes",
        low=1,
        high=8,
    )
    width: int = option(32, "Channels of a level, times its entry in --mult", low=32, high=512)
    mult: str = option("1,2,4", "Width of each level, in --width; each level halves the size")
    blocks: int = option(2, "Residual blocks a level", low=1, high=8)
    attention: str = option(
        "4",
        "Downsampling factors, inside the network, of the levels with attention; the coarsest always has it",
    )
    groups: int = option(
        8,
        "Groups of each group norm; one channel a group would hide brightness from the network",
        low=1,
        high=64,
    )
    dropout: float = option(
        0.0, "Share of feature values dropped in training, against overfitting", low=0, high=0.9
    )
    schedule: str = option("cosine", "Noise schedule", choices=tuple(BETAS))
    train_steps: int = option(1000, "Steps of that schedule", low=2, high=100_000)
    target: str = option(
        "v", "What the network predicts; v stays stable at the noisiest steps", choices=TARGETS
    )
    batch: int = option(32, "Pictures a step and process", low=1, high=65536)
    flip: bool = option(True, "Mirror half of the pictures")

    def config(self) -> ADMConfig:
        """The network's settings. Raises ValueError when they do not fit together."""
        colours = 1 if self.channels == "luma" else 3
        config = ADMConfig(
            image_size=self.size,
            in_channels=colours,
            out_channels=colours,
            model_channels=self.width,
            num_res_blocks=self.blocks,
            channel_mult=numbers(self.mult),
            attention_factors=numbers(self.attention),
            num_head_channels=32,
            resblock_updown=False,
            dropout=self.dropout,
            groups=self.groups,
            unshuffle=self.unshuffle,
        )
        if self.size % config.reduction:
            raise ValueError(
                f"size {self.size} is no multiple of {config.reduction}, which unshuffle and mult ask for: "
                "change one of them"
            )
        return config


def numbers(text: str) -> tuple[int, ...]:
    """A list written as 1,2,4. Raises ValueError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in parts):
        raise ValueError(f"{text!r} is no list of whole numbers such as 1,2,4")
    return tuple(map(int, parts))


def squares(pictures: Sequence[Tensor], size: int, channels: int) -> Tensor:
    """Pictures C H W in 0..1 as uint8 N channels size size: the middle square, resized where it must be, luma
    or RGB.
    """
    return torch.stack([_square(p, size, channels) for p in pictures])


def _square(picture: Tensor, size: int, channels: int) -> Tensor:
    side = min(picture.shape[-2:])
    top, left = ((n - side) // 2 for n in picture.shape[-2:])
    x = check_pixels(picture[None, :3, top : top + side, left : left + side], "a training picture")
    if side != size:
        x = resize(x, (size, size))
    return to_uint8(grey(x) if channels == 1 else x.expand(-1, 3, -1, -1))[0]


def signed(x: Tensor) -> Tensor:
    """uint8 to -1..1."""
    return x.float() / 127.5 - 1


def task(recipe: PriorRecipe, images: Tensor, validation: Tensor, seed: int = 0) -> Task:
    """Train on uint8 images N C size size, judging by the error on `validation`."""
    torch.manual_seed(seed)
    network = build_adm(recipe.config()).to(memory_format=torch.channels_last)
    schedule = DiscreteSchedule.named(recipe.schedule, recipe.train_steps)
    alphas, sigmas = schedule.alphas_cumprod.sqrt().float(), (1 - schedule.alphas_cumprod).sqrt().float()
    judged = signed(validation[:JUDGED])

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw = {"generator": batch.generator}
        x0 = images[torch.randint(len(images), (recipe.batch,), **draw)]
        if recipe.flip:
            x0 = torch.where(torch.randint(2, (recipe.batch, 1, 1, 1), **draw) > 0, x0.flip(3), x0)
        x0 = signed(x0)
        seeds, t = (
            torch.randint(2**62, (recipe.batch,), **draw),
            torch.randint(recipe.train_steps, (recipe.batch,), **draw),
        )
        eps = Noise(seeds.tolist())(x0.shape)
        x0, eps, t = x0.to(batch.device), eps.to(batch.device), t.to(batch.device)
        alpha, sigma = (table.to(batch.device)[t].view(-1, 1, 1, 1) for table in (alphas, sigmas))
        target = eps if recipe.target == "eps" else alpha * eps - sigma * x0
        with batch.autocast():
            answer = net((alpha * x0 + sigma * eps).contiguous(memory_format=torch.channels_last), t.float())
        return nn.functional.mse_loss(answer.float(), target)

    def prior(net: nn.Module) -> ADMPrior:
        return ADMPrior(net, schedule, recipe.target)

    def validate(net: nn.Module) -> dict[str, float]:
        net.eval()
        levels = [schedule.table[i] for i in midpoint_timesteps(recipe.train_steps, 8)]
        return {"eps_mse": sum(eps_mse(prior(net), judged.to(_device(net)), levels)) / len(levels)}

    def show(net: nn.Module, run_folder: Path) -> None:
        net.eval()
        write(Picture(grid(samples(prior(net), 16, 40))), run_folder / "samples.png", overwrite=True)

    return Task(network, loss, validate, lambda net: net, {**asdict(recipe), "images": len(images)}, show)


def grid(images: Tensor, columns: int = 0) -> Tensor:
    """N C H W as one picture of so many columns, by default about square."""
    columns = columns or max(1, round(len(images) ** 0.5))
    rows = [torch.cat(list(part), 2) for part in images.split(columns)]
    blank = images.new_ones(images.shape[1], images.shape[2], rows[0].shape[2])
    rows[-1] = torch.cat([rows[-1], blank[..., rows[-1].shape[2] :]], 2)
    return torch.cat(rows, 1)[None]


def metadata(
    network: nn.Module, recipe: PriorRecipe, settings: Optimisation, validation: Tensor
) -> dict[str, str]:
    """What the weight file says of itself: how the network is built and trained, and its error E_t on
    `validation`.
    """
    schedule = DiscreteSchedule.named(recipe.schedule, recipe.train_steps)
    points = midpoint_timesteps(recipe.train_steps, 25)
    judged = signed(validation[:JUDGED]).to(_device(network))
    errors = eps_mse(ADMPrior(network, schedule, recipe.target), judged, [schedule.table[i] for i in points])
    return {
        "kind": "prior",
        "settings": json.dumps(asdict(recipe.config())),
        "chain": json.dumps({k: getattr(recipe, k) for k in ("schedule", "train_steps", "target")}),
        "measured": Calibration(dict(zip(points, errors, strict=True))).to_json(),
        "training": json.dumps({**asdict(recipe), **asdict(settings)}),
    }


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
