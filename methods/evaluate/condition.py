"""How strongly StableSR's condition moves the features of Stable Diffusion (Wang et al. 2024, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...samplers.denoiser import Cond
from ...samplers.noise import Noise
from ..imaging.resize import resize, size_of
from ..metrics.faces import reduced
from ..nets.spade import SPADE
from ..priors.calibration import midpoint_timesteps
from ..stablesr.autoencoder import Autoencoder
from ..stablesr.levels import CHAIN
from ..stablesr.method import StableSR
from ..stablesr.prior import CONTEXT, LR, modulated


@torch.no_grad()
def strengths(
    model: StableSR, context: Tensor, pictures: Sequence[Tensor], scale: float, size: int, levels: int = 20
) -> list[dict]:
    """A row for each of `levels` steps of the chain: its signal-to-noise ratio, and the cosine similarity of
    the UNet's features before and after their modulation, mean over layers and pictures; less is a stronger
    condition.

    pictures: true ones C H W in 0..1, of which the centre of `size` pixels is taken; picture i has the noise
    of seed i. context: the empty prompt's tokens 1 L D. Raises ValueError for smaller pictures.
    """
    device = next(model.prior.network.parameters()).device
    autoencoder, denoiser = Autoencoder(model.vae), modulated(model.prior, model.layers)
    heard: list[float] = []

    def hear(module: torch.nn.Module, inputs: tuple, output: Tensor) -> None:
        before = inputs[0].float().flatten(1)
        heard.append(float(F.cosine_similarity(before, output.float().flatten(1)).mean()))

    found: dict[int, list[float]] = {step: [] for step in midpoint_timesteps(len(CHAIN.table), levels)}
    layers = [module for module in model.layers.sft.modules() if isinstance(module, SPADE)]
    handles = [layer.register_forward_hook(hear) for layer in layers]
    try:
        for seed, picture in enumerate(pictures):
            truth = _centre(picture, size)[None].to(device)
            low = resize(reduced(truth.cpu(), scale).to(device), size_of(truth)).clamp(0, 1)
            noise = Noise([seed])
            latent, lr = (autoencoder.encode(x * 2 - 1) for x in (truth, low))
            eps = noise(latent.shape).to(latent)
            for step in found:
                level = CHAIN.table[step]
                heard.clear()
                denoiser(level.alpha * latent + level.sigma * eps, level, Cond({LR: lr}, {CONTEXT: context}))
                found[step].append(sum(heard) / len(heard))
    finally:
        for handle in handles:
            handle.remove()
    return [
        {
            "t": step,
            "snr": float(f"{(CHAIN.table[step].alpha / CHAIN.table[step].sigma) ** 2:.4g}"),
            "similarity": round(sum(values) / len(values), 5),
        }
        for step, values in found.items()
    ]


def condition_plot(rows: Sequence[dict], out: Path) -> None:
    """The similarity over the signal-to-noise ratio, as PNG; a file of that name is replaced."""
    from matplotlib.figure import Figure

    from ..imaging.replacing import replacing

    figure = Figure(figsize=(5, 3), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.semilogx([row["snr"] for row in rows], [row["similarity"] for row in rows], ".-", color="black")
    axes.axvline(0.05, ls="--", color="tab:blue", label="SNR 0.05, the paper's strongest")
    axes.set_xlabel("signal-to-noise ratio")
    axes.set_ylabel("similarity before and after")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    with replacing(out, True) as partial:
        figure.savefig(partial, format="png")


def _centre(x: Tensor, size: int) -> Tensor:
    """3 size size of C H W. Raises ValueError where that is more than there is."""
    height, width = x.shape[-2:]
    if min(height, width) < size:
        raise ValueError(f"a picture of {width}x{height} has no centre of {size} pixels: give --size")
    top, left = (height - size) // 2, (width - size) // 2
    return x[:3, top : top + size, left : left + size].expand(3, -1, -1)
