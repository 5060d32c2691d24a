"""Training of unconditional ADM priors on square pictures (Ho et al. 2020, Eq. 14; v of Salimans and Ho
2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...samplers.noise import Noise
from ...samplers.schedule import BETAS, DiscreteSchedule
from ..device import device_of
from ..imaging.color import grey
from ..imaging.images import Picture, check_pixels, to_uint8, write
from ..imaging.resize import resize
from ..nets.adm_config import ADMConfig
from ..nets.adm_released import build_adm
from ..priors.adm import ADMPrior
from ..priors.calibration import Calibration, eps_mse, midpoint_timesteps
from ..priors.load import FRAMES, PriorSettings
from ..priors.unconditional import samples
from ..settings import Settings, option, to_json
from .channels import Coloured
from .init import begin_from, init_option
from .loop import Batch, Optimisation, Task, channels_last
from .pairs import Crops

TUNED = Optimisation(steps=20_000, lr=1e-3, precision="bf16", exact_tail=0.0)
TARGETS = ("v", "eps")
CHAIN = ("schedule", "train_steps", "target")  # what a file says of the noise and the network's answer
JUDGED = 128  # validation pictures that figures in the log and in the file come from


@dataclass(frozen=True)
class PriorRecipe(Coloured, Settings):
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
    crops: str = option(
        "",
        "Squares are cut at random places from pictures reduced to one of these scales, such as "
        "1,0.75,0.5: for "
        "photographs; none: the middle square of each, for faces",
    )
    frame: str = option(
        "",
        "How the faces are cropped, which the file says: ffhq, the whole head, or tight, from chin to "
        "forehead",
        choices=("", *FRAMES),
    )
    init: str = init_option("they must be of the same shape, noise and target")

    def config(self) -> ADMConfig:
        """The network's settings. Raises ValueError when they do not fit together."""
        config = ADMConfig(
            image_size=self.size,
            in_channels=self.colours,
            out_channels=self.colours,
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
        check_side(config)
        check_widths(config)
        return config


def check_side(config: ADMConfig) -> None:
    """Raises ValueError for a side that the levels of the network do not halve."""
    if config.image_size % config.reduction:
        raise ValueError(
            f"size {config.image_size} is no multiple of {config.reduction}, which unshuffle and mult ask "
            "for: change one of them"
        )


def scales_of(crops: str) -> tuple[float, ...]:
    """The scales of a list such as 1,0.75,0.5. Raises ValueError."""
    try:
        found = tuple(float(part) for part in crops.split(",") if part.strip())
    except ValueError:
        found = (0.0,)
    if not all(0 < scale <= 1 for scale in found):
        raise ValueError(f"crops {crops!r} are no scales above 0 and up to 1: write 1,0.75,0.5")
    return found


def check_widths(config: ADMConfig) -> None:
    """Raises ValueError for a network that cannot learn: the noise of all channels that unshuffling brings
    must pass its first level.

    48 channels through 32 keep an error of 0.18 for ever, where 16 through 32 fall below 0.05.
    """
    brought, first = config.stem_channels, config.widths[0]
    if first < brought:
        enough = -(-brought // 32) * 32
        raise ValueError(
            f"the first level has {first} channels, unshuffle {config.unshuffle} brings {brought}, which "
            f"cannot pass: "
            f"give --width {enough} or more, or a smaller unshuffle"
        )
    for i, width in enumerate(config.widths):
        if 2**i in config.attention_factors or i == len(config.widths) - 1:
            config.heads(width)


def numbers(text: str) -> tuple[int, ...]:
    """A list written as 1,2,4. Raises ValueError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in parts):
        raise ValueError(f"{text!r} is no list of whole numbers such as 1,2,4")
    return tuple(map(int, parts))


def squares(pictures: Sequence[Tensor], size: int, channels: int) -> Tensor:
    """Pictures C H W in 0..1 as uint8 N channels size size, as `square`."""
    return torch.stack([square(p, size, channels) for p in pictures])


def square(picture: Tensor, size: int, channels: int) -> Tensor:
    """A picture C H W in 0..1 as uint8 channels size size: the middle square, resized where it must be, luma
    or RGB; one that is uint8 already is taken as it is.
    """
    if picture.dtype == torch.uint8:
        return picture
    side = min(picture.shape[-2:])
    top, left = ((n - side) // 2 for n in picture.shape[-2:])
    x = check_pixels(picture[None, :3, top : top + side, left : left + side], "a training picture")
    if side != size:
        x = resize(x, (size, size))
    return to_uint8(grey(x) if channels == 1 else x.expand(-1, 3, -1, -1))[0]


def drawn(
    source: Tensor | Crops, count: int, channels: int, flip: bool, generator: torch.Generator
) -> Tensor:
    """uint8 N channels S S, any of the pictures or of the crops, half of them mirrored."""
    draw: dict[str, Any] = {"generator": generator}
    if not isinstance(source, Tensor):
        seeds = torch.randint(2**62, (count,), **draw).tolist()
        return coloured(torch.stack([source(seed) for seed in seeds]), channels)
    x = source[torch.randint(len(source), (count,), **draw)]
    return mirrored(x, generator) if flip else x


def mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    """N C H W, about half of them mirrored."""
    draw: dict[str, Any] = {"generator": generator}
    return torch.where(torch.randint(2, (len(x), 1, 1, 1), **draw) > 0, x.flip(3), x)


def coloured(x: Tensor, channels: int) -> Tensor:
    """RGB N 3 H W in 0..1 as uint8, in luma where a network has one channel."""
    return to_uint8(grey(x) if channels == 1 else x)


def signed(x: Tensor) -> Tensor:
    """uint8 to -1..1."""
    return x.float() / 127.5 - 1


def build(recipe: PriorRecipe, seed: int = 0) -> nn.Module:
    """A new network, or one with the weights to go on from.

    Raises ValueError for those of another network, schedule or target.
    """
    config = recipe.config()
    torch.manual_seed(seed)
    network = channels_last(build_adm(config))
    if found := begin_from(network, recipe.init, "adm"):
        wanted = {k: getattr(recipe, k) for k in CHAIN}
        own = asdict(PriorSettings().resolved(config, found.json("chain")))
        differing = [f"{k} {own[k]}" for k in wanted if own[k] != wanted[k]]
        if differing:
            raise ValueError(
                f"{recipe.init} was trained with other noise or target ({', '.join(differing)}): repeat "
                f"them, or "
                "leave --init out"
            )
    return network


def task(
    recipe: PriorRecipe,
    images: Tensor | Crops,
    validation: Tensor,
    seed: int = 0,
    network: nn.Module | None = None,
) -> Task:
    """Train a network of `build` on uint8 images N C size size or on crops, judging by the error on
    `validation` N C size size.
    """
    network, channels = network or build(recipe, seed), recipe.config().in_channels
    torch.manual_seed(seed)
    schedule = DiscreteSchedule.named(recipe.schedule, recipe.train_steps)
    alphas, sigmas = schedule.alphas_cumprod.sqrt().float(), (1 - schedule.alphas_cumprod).sqrt().float()
    judged = signed(validation[:JUDGED])

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw: dict[str, Any] = {"generator": batch.generator}
        x0 = signed(drawn(images, recipe.batch, channels, recipe.flip, batch.generator))
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
        return {"eps_mse": sum(eps_mse(prior(net), judged.to(device_of(net)), levels)) / len(levels)}

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
    judged = signed(validation[:JUDGED]).to(device_of(network))
    errors = eps_mse(ADMPrior(network, schedule, recipe.target), judged, [schedule.table[i] for i in points])
    return {
        "kind": "prior",
        "settings": json.dumps(asdict(recipe.config())),
        "chain": json.dumps({k: getattr(recipe, k) for k in CHAIN}),
        "measured": Calibration(dict(zip(points, errors, strict=True))).to_json(),
        "training": to_json(recipe, settings),
        **({"frame": recipe.frame} if recipe.frame else {}),
    }
