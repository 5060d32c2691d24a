"""docs/card.md: what runs of each method take of a card's memory at the released sizes, counted on the meta
device, where nothing is computed: python docs/make_card.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from priorsr.methods.diffsr.method import DiffSRSettings
from priorsr.methods.diffsr.upscaler import DiffSRUpscaler
from priorsr.methods.dps.sampling import DPSSettings
from priorsr.methods.dps.upscaler import PosteriorUpscaler
from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.memory import peak_bytes, show_bytes
from priorsr.methods.method import Upscaler
from priorsr.methods.nets.adm_released import RELEASED, build_adm
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.nets.codeformer import CodeFormer
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.sd_vae import VAE
from priorsr.methods.nets.spade import SFT, residual_blocks
from priorsr.methods.nets.struct_encoder import StructEncoder
from priorsr.methods.precision import cast
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.load import load_prior
from priorsr.methods.stablesr.layers import StableSRLayers
from priorsr.methods.stablesr.method import StableSR, StableSRSettings
from priorsr.methods.stablesr.prior import diffusion_prior
from priorsr.methods.stablesr.upscaler import StableSRUpscaler

PAGE = Path(__file__).resolve().parent / "card.md"
CARDS = (4, 6, 8, 10, 12, 16, 24)  # GB that cards have
SPARE = 1.5 * 2**30  # of the driver, the desktop, and what the allocator leaves unused
HEAD = """# What fits my card

Made by `python docs/make_card.py`. **Counted, not measured**: each network is run on torch's meta device at
its released size in half precision, and what lives at the same time is added up
([how](performance.md#memory)). *Card* is the smallest usual size that holds weights, run and 1.5 GB for
driver, desktop and allocator.

"""
TAIL = """
- A run tells its own figure before it begins, and keeps to what is free: tiles become smaller by themselves,
  which is said. `--memory 6GB` sets a limit.
- StableSR's memory grows with the picture only by the picture itself; smaller tiles (`--vae-tile 512`) take
  less. Its text encoder is used before the run and leaves.
- SRCNN, the cleaner, DPI, SRDG and the face priors that ship need no card.
- An autoencoder that overflows in half precision is repeated in float32 for that tile, which takes twice its
  memory.
"""


@dataclass(frozen=True)
class Run:
    """A row: bytes of the weights and of what a run takes beside them."""

    name: str
    weights: int
    run: int

    def cells(self) -> tuple[str, ...]:
        whole = self.weights + self.run
        card = next((f"{size} GB" for size in CARDS if whole + SPARE <= size * 2**30), "more than 24 GB")
        return self.name, show_bytes(self.weights), show_bytes(self.run), card


def rows() -> Iterator[Run]:
    model = stablesr()
    context = torch.empty(1, 77, SDConfig().context_dim, device="meta")
    for side, settings in ((512, {}), (2048, {}), (2048, {"vae_tile": 512}), (4096, {})):
        upscaler = StableSRUpscaler(model, context, StableSRSettings(**settings))
        told = "".join(f", {name} {value}" for name, value in settings.items())
        yield planned(f"stablesr to {side} x {side}{told}", upscaler, side)
    prior = ADMPrior(half(build_adm, RELEASED["ffhq_10m"]))
    yield planned(
        "dps with ffhq_10m to 256 x 256", PosteriorUpscaler(prior, DPSSettings(), TileSettings()), 256
    )
    former = half(CodeFormer)
    face = torch.empty(1, 3, 512, 512, dtype=torch.float16, device="meta")
    yield Run("codeformer, a face of 512 x 512", bytes_of(former), peak_bytes(lambda: former(face)))
    small = DiffSRUpscaler(load_prior("face128"), DiffSRSettings(), TileSettings())
    yield planned("diffsr with face128 to 128 x 128, float32", small, 128)


def half(make, *arguments) -> nn.Module:
    """A network in float16 without numbers."""
    with torch.device("meta"):
        return cast(make(*arguments), torch.float16).eval().requires_grad_(False)


def stablesr() -> StableSR:
    unet = half(SDUNet, SDConfig())
    encoder, vae, cfw = half(StructEncoder), half(VAE), half(CFW)
    sft = half(SFT, residual_blocks(unet), encoder.config.out_channels)
    return StableSR(diffusion_prior(unet), StableSRLayers(encoder, sft), vae, cfw)


def planned(name: str, upscaler: Upscaler, side: int) -> Run:
    plan = upscaler.plan((side // 4, side // 4), 4.0)
    return Run(name, sum(map(bytes_of, upscaler.networks)), plan.bytes)


def bytes_of(network: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


def page() -> str:
    lines = ["| run | weights | beside them | card |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row.cells())} |" for row in rows()]
    return HEAD + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
