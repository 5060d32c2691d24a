"""Training of EDM priors, DDPM++ and NCSN++ networks around which EDM's preconditioning sits, on square
pictures (Karras et al. 2022, section 5 and appendix F).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...samplers.karras import Heun
from ...samplers.noise import Noise
from ...samplers.run import run as sample
from ..device import device_of
from ..imaging.images import Picture, write
from ..nets.edm_precond import EDMPrecond, build_edm
from ..priors.calibration import Calibration, eps_mse, midpoint_timesteps
from ..priors.edm import EDMPrior
from ..priors.load import FRAMES
from ..settings import Settings, option, to_json
from .augment import AXES, augmented
from .channels import Coloured
from .init import begin_from, init_option
from .loop import Batch, Optimisation, Task, channels_last
from .pairs import Crops
from .prior import JUDGED, drawn, grid, numbers, signed

NETWORKS: dict[str, dict[str, Any]] = {  # the two architectures of the paper, by the arguments of SongUNet
    "ddpmpp": {"embedding_type": "positional", "encoder_type": "standard", "resample_filter": [1, 1]},
    "ncsnpp": {
        "embedding_type": "fourier",
        "channel_mult_noise": 2,
        "encoder_type": "residual",
        "resample_filter": [1, 3, 3, 1],
    },
}
UNCLIPPED = 1e6  # EDM's trainings clip no gradient
TUNED = Optimisation(  # 200 million pictures of 64 pixels in batches of 256
    steps=781_250,
    lr=2e-4,
    final_lr=1.0,
    warmup=39_063,
    ema=0.99965,
    clip=UNCLIPPED,
    checkpoint_every=1000,
    validate_every=5000,
)
SHOWN = 16  # pictures that are made of nothing at every validation
PARTS = 8  # levels of the figure


@dataclass(frozen=True)
class EDMRecipe(Coloured, Settings):
    """The network, its noise and its batches; the defaults are those of the paper for faces of 64 pixels.

    Lists are written as 1,2,2.
    """

    size: int = option(
        64, "Side of the pictures; others are cropped to a square and resized", low=8, high=1024
    )
    channels: str = option("rgb", "What of the pictures is learnt", choices=("luma", "rgb"))
    net: str = option("ddpmpp", "DDPM++ or NCSN++", choices=tuple(NETWORKS))
    width: int = option(128, "Channels of a level, times its entry in --mult", low=8, high=512)
    mult: str = option("1,2,2,2", "Width of each level, in --width; each level halves the size")
    blocks: int = option(4, "Residual blocks a level", low=1, high=8)
    attention: str = option("16", "Sides of the maps with attention; the coarsest always has it")
    dropout: float = option(
        0.05, "Share of feature values dropped in training, against overfitting", low=0, high=0.9
    )
    noise_mean: float = option(
        -1.2, "Mean of ln sigma of the noise that is learnt (P_mean)", low=-10, high=10
    )
    noise_std: float = option(1.2, "Its standard deviation (P_std)", low=0.01, high=10)
    sigma_data: float = option(0.5, "Standard deviation of the pictures in -1..1", low=0.01, high=10)
    augment: float = option(
        0.15,
        "Chance of each way in which a picture is moved, turned and stretched, of which the network is told",
        low=0,
        high=1,
    )
    batch: int = option(256, "Pictures a step and process", low=1, high=65536)
    flip: bool = option(True, "Mirror half of the pictures")
    crops: str = option(
        "",
        "Squares are cut at random places from pictures reduced to one of these scales, such as 1,0.75,0.5: "
        "for photographs; none: the middle square of each, for faces",
    )
    frame: str = option(
        "",
        "How the faces are cropped, which the file says: ffhq, the whole head, or tight, from chin to "
        "forehead",
        choices=("", *FRAMES),
    )
    init: str = init_option("they must be of the same shape")

    def network(self) -> dict[str, Any]:
        """What `build_edm` takes. Raises ValueError when the sizes do not fit together."""
        mult = numbers(self.mult)
        if not mult or 0 in mult:
            raise ValueError(f"mult {self.mult!r} gives no levels: write 1,2,2")
        if self.size % 2 ** (len(mult) - 1):
            raise ValueError(
                f"size {self.size} is no multiple of {2 ** (len(mult) - 1)}, which mult asks for: change one"
            )
        widths = [self.width, *(self.width * m for m in mult)]  # a map meets those of its level and the next
        maps = {w + other for i, w in enumerate(widths) for other in (0, *widths[i : i + 2])}
        if odd := [w for w in maps if w % min(32, w // 4)]:
            raise ValueError(
                f"group norms cannot split maps of {min(odd)} channels: choose a --width such as 32, 64 or "
                "128"
            )
        return {
            "model_type": "SongUNet",
            "img_resolution": self.size,
            "img_channels": self.colours,
            "model_channels": self.width,
            "channel_mult": list(mult),
            "num_blocks": self.blocks,
            "attn_resolutions": list(numbers(self.attention)),
            "dropout": self.dropout,
            "augment_dim": len(AXES) if self.augment else 0,
            "sigma_data": self.sigma_data,
            **NETWORKS[self.net],
        }


def build(recipe: EDMRecipe, seed: int = 0) -> EDMPrecond:
    """A new network, or one with the weights to go on from. Raises ValueError for those of another
    network.
    """
    network = build_edm(recipe.network())
    initialise(network, torch.Generator().manual_seed(seed))
    begin_from(network, recipe.init, "edm")
    return channels_last(network)


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights: uniform by both sides of a layer (Glorot), biases of 0; what ends a residual branch
    or the network is next to nothing, so that a block passes on what it gets, and attention begins flat.
    """
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        last = name.rpartition(".")[2]
        silent = last in ("conv1", "proj") or last.endswith("_aux_conv")
        gain = 1e-5 if silent else math.sqrt(0.2) if last == "qkv" else 1.0
        nn.init.xavier_uniform_(layer.weight, gain, generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def edm_loss(net: nn.Module, x0: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None, data: float):
    """lambda(sigma) |D(x0 + sigma n; sigma) - x0|^2, the mean over pixels of each picture (B,), which weighs
    every level as much as at the beginning.

    x0, noise: B C H W; sigma: (B,); labels: what was done to the pictures, B 9. Source: Karras et al. (2022),
    Eq. 2 and table 1.
    """
    s = sigma.view(-1, 1, 1, 1)
    found = net(x0 + s * noise, sigma, augment_labels=labels)
    weight = (s**2 + data**2) / (s * data) ** 2
    return (weight * (found.float() - x0).square()).flatten(1).mean(1)


def task(
    recipe: EDMRecipe, images: Tensor | Crops, validation: Tensor, seed: int, network: EDMPrecond
) -> Task:
    """Train a network of `build` on uint8 images N C size size or on crops, judging by the error of the
    noise on `validation` N C size size.
    """
    torch.manual_seed(seed)  # of dropout
    judged = signed(validation[:JUDGED])

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw: dict[str, Any] = {"generator": batch.generator}
        x0 = signed(drawn(images, recipe.batch, recipe.colours, recipe.flip, batch.generator))
        labels = None
        if recipe.augment:
            x0, labels = augmented(x0, recipe.augment, batch.generator)
            labels = labels.to(batch.device)
        normal = torch.empty(recipe.batch).normal_(**draw)
        sigma = (recipe.noise_mean + recipe.noise_std * normal).exp()
        noise = Noise(torch.randint(2**62, (recipe.batch,), **draw).tolist())(x0.shape)
        given = x0.to(batch.device), sigma.to(batch.device), noise.to(batch.device)
        with batch.autocast():
            return edm_loss(net, *given, labels, recipe.sigma_data).mean()

    def validate(net: EDMPrecond) -> dict[str, float]:
        net.eval()
        prior = EDMPrior(net)
        table = prior.noise_levels()
        levels = [table[i] for i in midpoint_timesteps(len(table), PARTS)]
        return {"eps_mse": sum(eps_mse(prior, judged.to(device_of(net)), levels)) / len(levels)}

    def show(net: EDMPrecond, run: Path) -> None:
        net.eval()
        write(Picture(grid(samples(EDMPrior(net), SHOWN))), run / "samples.png", overwrite=True)

    return Task(network, loss, validate, lambda net: net, {**asdict(recipe), "images": len(images)}, show)


@torch.no_grad()
def samples(prior: EDMPrior, count: int, steps: int = 18) -> Tensor:
    """Unconditional pictures, count C size size in 0..1, picture i of seed i, by Heun's method."""
    levels = prior.levels(steps)
    start = Noise(range(count))((count, prior.channels, prior.size, prior.size)) * levels[0].sigma
    return (sample(prior, start.to(device_of(prior.network)), levels, Heun()) / 2 + 0.5).clamp(0, 1).cpu()


def metadata(
    network: EDMPrecond, recipe: EDMRecipe, settings: Optimisation, validation: Tensor
) -> dict[str, str]:
    """What the weight file says of itself: how the network is built and trained, and its error on
    `validation`.
    """
    prior = EDMPrior(network)
    table = prior.noise_levels()
    points = midpoint_timesteps(len(table), 25)
    judged = signed(validation[:JUDGED]).to(device_of(network))
    errors = eps_mse(prior, judged, [table[i] for i in points])
    return {
        "kind": "edm",
        "settings": json.dumps(recipe.network()),
        "measured": Calibration(dict(zip(points, errors, strict=True))).to_json(),
        "training": to_json(recipe, settings),
        **({"frame": recipe.frame} if recipe.frame else {}),
    }
