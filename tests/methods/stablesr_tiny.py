"""Small networks of StableSR's form, filled by name."""

from __future__ import annotations

from functools import cache

import torch
from fill import fill_, tensor
from safetensors.torch import save_file

from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.sd_vae import VAE, VAEConfig
from priorsr.methods.nets.spade import SFT, residual_blocks
from priorsr.methods.nets.struct_encoder import StructEncoder
from priorsr.methods.stablesr.layers import UNET as UNET_PREFIX
from priorsr.methods.stablesr.layers import Layers
from priorsr.methods.stablesr.load import AUTOENCODER
from priorsr.methods.stablesr.method import StableSR
from priorsr.methods.stablesr.prior import diffusion_prior

UNET = SDConfig(
    model_channels=64, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(1,), context_dim=24
)
STRUCT = ADMConfig(
    image_size=96,
    in_channels=4,
    out_channels=32,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(1,),
    num_head_channels=None,
    scale_shift=False,
    resblock_updown=False,
)
COARSE = VAEConfig(channels=32, channel_mult=(1, 1, 2, 2), num_res_blocks=1)


def filled(network):
    fill_(network)
    return network.eval().requires_grad_(False)


@cache
def tiny() -> StableSR:
    unet = filled(SDUNet(UNET))
    layers = Layers(filled(StructEncoder(STRUCT)), filled(SFT(residual_blocks(unet), STRUCT.out_channels)))
    return StableSR(
        diffusion_prior(unet), layers, filled(VAE(COARSE)), filled(CFW({1: 32, 2: 64}, blocks=1, growth=8))
    )


def context(batch: int = 1, name: str = "context") -> torch.Tensor:
    return tensor(name, (batch, 5, UNET.context_dim))


def base_file(path, more=None) -> None:
    """A file such as Stable Diffusion's, with the UNet and the autoencoder."""
    model = tiny()
    parts = {UNET_PREFIX: model.prior.network, AUTOENCODER: model.vae}
    state = {
        f"{prefix}{key}": value for prefix, part in parts.items() for key, value in part.state_dict().items()
    }
    save_file({**state, **(more or {})}, path)


def pictures(folder, count: int = 6, size: tuple[int, int] = (40, 48)) -> None:
    """Pictures of soft discs and bars in colours, to train on."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, n) for n in size), indexing="ij")
    for i in range(count):
        x, y, angle, *colours = torch.rand(9, generator=generator).tolist()
        disc = torch.sigmoid(20 * (0.3 - ((rows - x) ** 2 + (columns - y) ** 2).sqrt()))
        bars = torch.sin(20 * (rows * angle + columns * (1 - angle))) / 2 + 0.5
        mixed = torch.stack(
            [a * disc + b * bars * (1 - disc) for a, b in zip(colours[:3], colours[3:], strict=True)]
        )
        write(Picture(mixed.clamp(0, 1)[None]), folder / f"{i}.png")
