"""Training of StableSR's controllable feature wrapping on latents that were sampled before (Wang et al. 2024,
sections 3.2 and 4.1).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...device import device_of
from ...imaging.images import Picture, write
from ...metrics.fidelity import psnr
from ...nets.cfw import CFW, GROWTH, RELEASED
from ...nets.sd_vae import VAE
from ...settings import option, to_json
from ...stablesr.levels import CHAIN, STARTS
from ...stablesr.load import load_cfw, load_layers, load_vae
from ...stablesr.method import StableSRSettings
from ..adversary import Adversary
from ..init import init_option
from ..latents import Latents, Sampler
from ..loop import Batch, Optimisation, Task, this_process
from ..pairs import enlarged
from ..perceptual import Perceptual, used
from ..prior import grid, signed
from .cfw_loss import DISTANCES, Wrapping
from .recipe import PairRecipe, named

log = logging.getLogger("priorsr")

TUNED = Optimisation(
    steps=300_000, lr=5e-5, final_lr=1.0, ema=0.0, validate_every=1000, checkpoint_every=1000
)
BETAS = (0.5, 0.9)  # Adam's, of both sides, as released
JUDGED = 16  # validation pairs that figures come from
SHOWN = 4  # of them are shown


@dataclass(frozen=True)
class CFWRecipe(PairRecipe):
    """How the latents are sampled, the fusion blocks, and what they learn from them."""

    layers: str = option("", "StableSR's layers (or a full file), which the latents are sampled with; needed")
    latents: str = option(
        "", "Folder of sampled latents, which is made or completed before the training; needed"
    )
    pairs: int = option(100_000, "How many are sampled", low=1, high=10_000_000)
    sampling: int = option(200, "DDPM steps of each", low=1, high=len(CHAIN.table))
    begin: str = option(
        "lr",
        "Sampling begins with the noised picture (lr), as the released script, or with noise",
        choices=STARTS,
    )
    part: int = option(8, "How many are sampled at once", low=1, high=4096)
    init: str = init_option("they decide the sizes")
    blocks: int = option(2, "Dense blocks (RRDB) of each fusion", low=1, high=8)
    growth: int = option(GROWTH, "Channels that each of their convolutions adds", low=1, high=256)
    distance: str = option("l1", "Of the pixels: mean absolute or squared error", choices=tuple(DISTANCES))
    perceptual: float = option(
        1.0,
        "Weight of LPIPS (VGG), which is left out where its weights are not installed; 0 leaves it out",
        low=0,
        high=100,
    )
    adversarial: float = option(
        0.025, "Weight of the discriminator, as published fixed; 0 leaves it out", low=0, high=10
    )
    after: int = option(500, "Step of this run after which the discriminator counts", low=0)
    batch: int = option(4, "Pairs a step and process", low=1, high=4096)

    def check(self) -> None:
        super().check()
        for name, what in (
            ("layers", "FILE, which `priorsr train stablesr` writes"),
            ("latents", "FOLDER, where sampled latents are kept"),
        ):
            if not getattr(self, name):
                raise ValueError(f"the training needs --{name} {what}")

    def folders(self) -> tuple[Latents, Latents]:
        """Where latents for training and validation are."""
        names = ("base", "layers", "context", "target", "size", "scale", "flip", "sampling", "begin")
        names += ("degradation", "sharpen", "undamaged", "enlargement")
        made_with = {name: getattr(self, name) for name in names}
        folder = Path(self.latents)
        return (
            Latents(folder / "training", self.pairs, made_with),
            Latents(folder / "validation", JUDGED, made_with),
        )


def synthesise(
    recipe: CFWRecipe,
    settings: Optimisation,
    data: Sequence[str],
    validation: Sequence[str],
    device: str,
    progress: bool = True,
) -> tuple[Latents, Latents]:
    """The latents of training and validation; those that are missing are sampled now, by all processes
    together.

    Raises ValueError where files or sizes do not fit, before the first is sampled.
    """
    recipe.check()
    sets = recipe.folders()
    absent = [each.missing() for each in sets]
    process = this_process(torch.device(device))
    process.wait_for_everyone()  # all have seen the same
    if any(absent):
        model, context = recipe.opened(lambda unet: load_layers(recipe.layers))
        drawn = [recipe.drawn_from(paths) for paths in (data, validation)]
        sampling = StableSRSettings(
            steps=recipe.sampling, start=recipe.begin, tile=recipe.size, overlap=0, fidelity=0.0
        )
        half = settings.precision == "bf16"
        sampler = Sampler(model, context, sampling, process.device, half, recipe.enlargement)
        log.info(
            "sampling %d latents in %d steps each; those in %s stay when this is interrupted",
            sum(map(len, absent)),
            recipe.sampling,
            recipe.latents,
        )
        for each, numbers, pairs in zip(sets, absent, drawn, strict=True):
            own = numbers[process.process_index :: process.num_processes]
            each.make(own, pairs, sampler, recipe.part, progress and process.is_main_process)
        process.wait_for_everyone()
    return sets


def build(recipe: CFWRecipe, seed: int = 0) -> tuple[CFW, VAE]:
    """New fusion blocks, or those to go on from, and the autoencoder.

    Raises ValueError for missing or unfitting files.
    """
    recipe.check()
    vae = load_vae(recipe.base)
    torch.manual_seed(seed)
    if recipe.init:
        cfw = load_cfw(recipe.init)
    elif len(vae.config.widths) <= max(RELEASED):
        raise ValueError(
            f"the autoencoder in {recipe.base} has {len(vae.config.widths)} levels and CFW works on "
            f"{len(RELEASED)} coarser ones: choose another"
        )
    else:
        cfw = CFW({level: vae.config.widths[level] for level in RELEASED}, recipe.blocks, recipe.growth)
    cfw.check(vae)
    return cfw, vae


def task(recipe: CFWRecipe, cfw: CFW, vae: VAE, latents: Latents, validation: Latents) -> Task:
    """Train the fusion blocks of `build` on latents of `synthesise`, judging by how close decoded ones of
    `validation` are to the truth.
    """
    adversary = Adversary(recipe.adversarial, recipe.after, recipe.size, balanced=False)
    trained = Wrapping(cfw, vae, recipe.distance, Perceptual(recipe.perceptual), adversary)

    def read(latents: Latents, numbers: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        truth, low, latent = latents.read(numbers, recipe.workers)
        shown = enlarged(low, recipe.size, recipe.enlargement)
        return latent.to(device), shown.to(device), signed(truth.to(device))

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        numbers = torch.randint(latents.count, (recipe.batch,), generator=batch.generator).tolist()
        given = read(latents, numbers, batch.device)
        with batch.autocast():
            return net(*given)

    @torch.no_grad()
    def validate(net: Wrapping) -> dict[str, float]:
        device, figures = device_of(net), {}
        for i in range(0, validation.count, recipe.batch):
            latent, low, truth = read(validation, range(i, min(i + recipe.batch, validation.count)), device)
            wrapped, plain = net.decode(latent, low), net.decode(latent, low, 0.0)
            found = {
                "psnr": psnr(_shown(wrapped), _shown(truth)),
                "psnr_plain": psnr(_shown(plain), _shown(truth)),
            }
            if net.perceptual.network:
                found["lpips"] = net.perceptual.distance(wrapped, truth)
            for name, values in found.items():
                figures[name] = figures.get(name, 0.0) + float(values.sum()) / validation.count
        return figures

    @torch.no_grad()
    def show(net: Wrapping, run: Path) -> None:
        latent, low, truth = read(validation, range(min(SHOWN, validation.count)), device_of(net))
        columns = [low, net.decode(latent, low, 0.0), net.decode(latent, low), truth]
        write(
            Picture(grid(_shown(torch.stack(columns, 1).flatten(0, 1)).cpu(), len(columns))),
            run / "decoded.png",
            overwrite=True,
        )

    return Task(
        trained,
        loss,
        validate,
        lambda net: net,
        {**recipe.identity(), "lpips": used(recipe.perceptual)},
        show,
        BETAS,
        Wrapping.sides,
    )


def metadata(recipe: CFWRecipe, settings: Optimisation) -> dict[str, object]:
    """What the weight file says of itself: how it is trained. Its sizes are those of its tensors."""
    return {
        "kind": "cfw",
        "lpips": used(recipe.perceptual),
        "training": to_json(recipe, settings),
    }


def files(network: Wrapping, said: dict, out: Path) -> Iterator[tuple[Path, nn.Module, dict]]:
    """One file of the fusion blocks alone, under their published names."""
    yield out, named({"decoder.": network.cfw}), said


def _shown(x: Tensor) -> Tensor:
    """-1..1, clipped, to 0..1."""
    return x.clamp(-1, 1) / 2 + 0.5
