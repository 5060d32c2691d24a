"""Training of StableSR's encoder and modulation layers on a Stable Diffusion that stays as it is (Wang et al.
2024, sections 3.1, 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....samplers.noise import Noise
from ...device import device_of
from ...imaging.images import Picture, write
from ...nets import struct_encoder
from ...nets.adm_config import ADMConfig
from ...nets.sd_unet import SDUNet
from ...nets.spade import SFT, residual_blocks
from ...nets.struct_encoder import StructEncoder
from ...priors.calibration import midpoint_timesteps
from ...settings import option, to_json
from ...stablesr.layers import STRUCT, UNET, StableSRLayers
from ...stablesr.levels import CHAIN
from ...stablesr.load import load_layers
from ...stablesr.method import StableSR, StableSRSettings, restore
from ...stablesr.prior import diffusion_prior
from ..curve import plot_profiles
from ..frozen import Frozen
from ..init import init_option
from ..loop import Batch, Optimisation, Task
from ..pairs import Pairs, enlarged
from ..prior import grid, numbers, signed
from .loss import Modulation, Noised, encoded
from .recipe import PairRecipe, named

# the paper's 117 passes in batches of 192; how many pictures a pass has it does not say, here about 20 000
TUNED = Optimisation(steps=12_500, lr=5e-5, final_lr=1.0, ema=0.0, validate_every=250, checkpoint_every=250)
RELEASED = struct_encoder.RELEASED
JUDGED = 16  # validation pictures that figures come from
SHOWN = 4  # of them are restored at every validation
TIMES = midpoint_timesteps(len(CHAIN.table), 8)  # steps of the chain at which errors are taken
DRAFT = StableSRSettings(
    steps=20, sampler="ddim", start="noise", fidelity=0.0
)  # of the pictures that are shown


@dataclass(frozen=True)
class StableSRRecipe(PairRecipe):
    """The trained layers; the defaults are the released ones' sizes. Lists are written as 1,2,4."""

    init: str = init_option("they decide the sizes")
    width: int = option(
        RELEASED.model_channels,
        "Channels of a level of the encoder, times its entry in --mult",
        low=32,
        high=1024,
    )
    mult: str = option(
        ",".join(map(str, RELEASED.channel_mult)),
        "Width of each level, in --width; as many levels as the UNet has",
    )
    blocks: int = option(RELEASED.num_res_blocks, "Residual blocks a level", low=1, high=8)
    attention: str = option(
        ",".join(map(str, RELEASED.attention_factors)), "Downsampling factors of the levels with attention"
    )
    features: int = option(
        RELEASED.out_channels, "Channels of the maps that modulate the UNet", low=32, high=1024
    )
    time: bool = option(True, "The encoder is told the time; no: the paper's Table 3 (a)")
    sft: bool = option(True, "Features scale and shift the UNet's; no: they are added to them, as in Fig. 12")
    batch: int = option(192, "Crops a step and process", low=1, high=65536)
    part: int = option(8, "Of these, how many are computed at once: fewer take less memory", low=1, high=4096)

    def config(self) -> ADMConfig:
        """The encoder's settings. Raises ValueError when they do not fit together."""
        mult, attention = numbers(self.mult), numbers(self.attention)
        sizes = {"model_channels": self.width, "out_channels": self.features, "num_res_blocks": self.blocks}
        return replace(RELEASED, **sizes, channel_mult=mult, attention_factors=attention)

    def layers_for(self, unet: SDUNet) -> StableSRLayers:
        """New layers for a UNet, or those of the file to go on from."""
        if self.init:
            return load_layers(self.init)
        config = replace(self.config(), in_channels=unet.config.in_channels)
        if len(config.channel_mult) != len(unet.config.channel_mult):
            raise ValueError(
                f"mult {self.mult!r} gives {len(config.channel_mult)} levels, the UNet has "
                f"{len(unet.config.channel_mult)}: give as many"
            )
        sft = SFT(residual_blocks(unet), config.out_channels, self.sft)
        return StableSRLayers(StructEncoder(config, self.time), sft)


def build(recipe: StableSRRecipe, seed: int = 0) -> tuple[StableSR, Tensor]:
    """The networks, with new layers or those to go on from, and the prompt's tokens.

    Raises ValueError for missing or unfitting files.
    """
    recipe.check()
    recipe.config()
    torch.manual_seed(seed)
    return recipe.opened(recipe.layers_for)


def task(recipe: StableSRRecipe, model: StableSR, context: Tensor, pairs: Pairs, validation: Pairs) -> Task:
    """Train the layers of a model of `build`, judging by the error at steps of equal distance on crops of
    `validation`.
    """
    trained = Modulation(model.layers, model.prior.network, recipe.part)
    vae, size = Frozen(model.vae), recipe.size
    judged, kernel = validation.apart(range(JUDGED), in_order=True), recipe.enlargement

    def noised(latents: tuple[Tensor, Tensor], t: Tensor, seeds: Sequence[int]) -> Noised:
        z0, lr = latents
        eps = Noise(seeds)(z0.shape).to(z0)
        return Noised.of(z0, t.to(z0.device), lr, context.to(z0), eps, recipe.target)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        draw: dict[str, Any] = {"generator": batch.generator}
        seeds = torch.randint(2**62, (recipe.batch,), **draw).tolist()
        t = torch.randint(len(CHAIN.table), (recipe.batch,), **draw)
        crops, low = pairs.apart(seeds)
        truth = crops.to(batch.device)
        with batch.autocast():
            latents = encoded(vae.beside(truth), truth, low, seeds, recipe.part, kernel)
            return net(*noised(latents, t, seeds)).mean()

    @torch.no_grad()
    def validate(net: Modulation) -> dict[str, float]:
        seeds, errors = range(JUDGED), {}  # picture i has the noise of seed i at every step of the chain
        truth = judged[0].to(device_of(net))
        latents = encoded(vae.beside(truth), truth, judged[1], seeds, recipe.part, kernel)
        for t in TIMES:
            errors[f"error@{t}"] = float(net(*noised(latents, torch.full((JUDGED,), t), seeds)).mean())
        return {"error": sum(errors.values()) / len(errors), **errors}

    @torch.no_grad()
    def show(net: Modulation, run: Path) -> None:
        plot_profiles(run / "log.jsonl", run / "error.png")
        truth, low = signed(judged[0][:SHOWN]), enlarged(judged[1][:SHOWN], size, kernel)
        device = device_of(net)
        here = StableSR(
            diffusion_prior(net.unet.beside(device), recipe.target), net.layers, vae.beside(device)
        )
        settings = replace(DRAFT, tile=size, overlap=0)
        restored = restore(
            here, low.to(device), context.to(device), settings, noise=Noise(range(SHOWN))
        ).image.cpu()
        strip = torch.stack([low, restored, truth], 1).flatten(0, 1)
        write(Picture(grid(strip.clamp(-1, 1) / 2 + 0.5, 3)), run / "restored.png", overwrite=True)

    return Task(
        trained,
        loss,
        validate,
        lambda net: net,
        {**recipe.identity(), "images": len(pairs.crops.files)},
        show,
    )


def metadata(
    recipe: StableSRRecipe, settings: Optimisation, layers: StableSRLayers | Modulation
) -> dict[str, object]:
    """What the weight file says of itself: what UNet it is for, what its layers lack, and how it is trained.

    Its sizes are those of its tensors.
    """
    return {
        "kind": "stablesr",
        "target": recipe.target,
        "time": _said(layers.encoder.timed),
        "sft": _said(layers.sft.modulates),
        "training": to_json(recipe, settings),
    }


def files(network: Modulation, said: dict, out: Path) -> Iterator[tuple[Path, nn.Module, dict]]:
    """One file, whose tensors have their published names."""
    yield out, named({UNET: network.sft, STRUCT: network.encoder}), said


def _said(has: bool) -> str:
    return "yes" if has else "no"
